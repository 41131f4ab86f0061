// Package policy reads IAM policy documents, decides by them, and turns what
// they grant on a bucket into one bucket policy that the S3 server enforces.
//
// The S3 server knows bucket policies and accounts, not roles. So each role is
// an account there, and its inline policies become statements of the bucket
// policies. A statement that cannot be carried over exactly, or that cannot be
// decided by, is refused: what is not enforced here must not seem to work.
package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Document is a policy document.
type Document struct {
	Version   string     `json:"Version"`
	ID        string     `json:"Id,omitempty"`
	Statement Statements `json:"Statement"`
}

// Statements accepts a single statement in place of a list.
type Statements []Statement

// Statement is one statement of a document.
type Statement struct {
	Sid          string     `json:"Sid,omitempty"`
	Effect       string     `json:"Effect"`
	Principal    *Principal `json:"Principal,omitempty"`
	NotPrincipal *Principal `json:"NotPrincipal,omitempty"`
	Action       Strings    `json:"Action,omitempty"`
	NotAction    Strings    `json:"NotAction,omitempty"`
	Resource     Strings    `json:"Resource,omitempty"`
	NotResource  Strings    `json:"NotResource,omitempty"`
	Condition    Condition  `json:"Condition,omitempty"`
}

// Principal is everybody, or lists by kind: AWS, Service, Federated, CanonicalUser.
type Principal struct {
	Everybody bool
	Kinds     map[string]Strings
}

// Strings accepts a single value in place of a list, and booleans and numbers
// in place of their text, as condition values may be written.
type Strings []string

// parse decodes a document and refuses elements that IAM does not know.
func parse(text string) (Document, error) {
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.DisallowUnknownFields()
	var document Document
	if err := decoder.Decode(&document); err != nil {
		return Document{}, fmt.Errorf("the policy is not a valid JSON policy document: %w", err)
	}
	if decoder.More() {
		return Document{}, errors.New("the policy has text after its end")
	}
	if document.Version != "" && document.Version != "2012-10-17" && document.Version != "2008-10-17" {
		return Document{}, fmt.Errorf("the policy has Version %q: write \"2012-10-17\"", document.Version)
	}
	if len(document.Statement) == 0 {
		return Document{}, errors.New("the policy has no Statement")
	}
	for i, s := range document.Statement {
		if s.Effect != "Allow" && s.Effect != "Deny" {
			return Document{}, fmt.Errorf("%s has Effect %q: write Allow or Deny", s.name(i), s.Effect)
		}
	}
	return document, nil
}

func (s Statement) name(index int) string {
	if s.Sid != "" {
		return fmt.Sprintf("statement %q", s.Sid)
	}
	return fmt.Sprintf("statement %d", index+1)
}

// UnmarshalJSON accepts one statement or a list.
func (s *Statements) UnmarshalJSON(data []byte) error {
	var list []Statement
	if isList(data) {
		if err := strict(data, &list); err != nil {
			return err
		}
	} else {
		list = make([]Statement, 1)
		if err := strict(data, &list[0]); err != nil {
			return err
		}
	}
	*s = list
	return nil
}

// UnmarshalJSON accepts "*" or an object of lists.
func (p *Principal) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		return json.Unmarshal(data, &p.Kinds)
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	if text != "*" {
		return fmt.Errorf(`principal %q: write "*" or an object such as {"AWS": "arn:..."}`, text)
	}
	p.Everybody = true
	return nil
}

// UnmarshalJSON accepts one value or a list.
func (s *Strings) UnmarshalJSON(data []byte) error {
	values := make([]any, 1)
	if isList(data) {
		if err := json.Unmarshal(data, &values); err != nil {
			return err
		}
	} else if err := json.Unmarshal(data, &values[0]); err != nil {
		return err
	}
	list := make(Strings, 0, len(values))
	for _, v := range values {
		switch v := v.(type) {
		case string:
			list = append(list, v)
		case bool, float64:
			list = append(list, fmt.Sprint(v))
		default:
			return fmt.Errorf("%s is not a string or a list of strings", data)
		}
	}
	*s = list
	return nil
}

func isList(data []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(data), []byte("["))
}

// strict is needed because a decoder's DisallowUnknownFields does not reach
// below a type with its own UnmarshalJSON.
func strict(data []byte, target any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	return decoder.Decode(target)
}
