// Package policy parses and evaluates IAM policy documents, and translates the permissions that they grant on a
// bucket into a bucket policy that the S3 server enforces.
//
// The S3 server supports bucket policies and accounts, but no roles. Each role is therefore an account there, and
// its inline policies become statements of the bucket policies. A statement that cannot be translated exactly or
// cannot be evaluated is rejected: a policy that is not enforced here must not appear to work.
package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

type Document struct {
	Version   string     `json:"Version"`
	ID        string     `json:"Id,omitempty"`
	Statement Statements `json:"Statement"`
}

// Statements accepts a single statement in place of a list.
type Statements []Statement

type Statement struct {
	Sid          string    `json:"Sid,omitempty"`
	Effect       string    `json:"Effect"`
	Principal    Principal `json:"Principal,omitempty"`
	NotPrincipal Principal `json:"NotPrincipal,omitempty"`
	Action       Strings   `json:"Action,omitempty"`
	NotAction    Strings   `json:"NotAction,omitempty"`
	Resource     Strings   `json:"Resource,omitempty"`
	NotResource  Strings   `json:"NotResource,omitempty"`
	Condition    Condition `json:"Condition,omitempty"`
}

// Principal lists principals by kind: AWS, Service, Federated, CanonicalUser. "*" means everyone and is stored as
// {"AWS": "*"}.
type Principal map[string]Strings

// Strings accepts a single value in place of a list, and booleans and numbers in place of strings, as IAM does for
// condition values.
type Strings []string

// parse decodes a document and validates each statement with check. It rejects elements that IAM does not define.
func parse(text string, check func(s Statement) error) (Document, error) {
	var document Document
	if err := unmarshalStrict([]byte(text), &document); err != nil {
		return Document{}, fmt.Errorf("the policy is not a valid JSON policy document: %w", err)
	}
	if !slices.Contains([]string{"", "2012-10-17", "2008-10-17"}, document.Version) {
		return Document{}, fmt.Errorf("the policy has Version %q: write \"2012-10-17\"", document.Version)
	}
	if len(document.Statement) == 0 {
		return Document{}, errors.New("the policy has no Statement")
	}
	for i, s := range document.Statement {
		err := check(s)
		if s.Effect != "Allow" && s.Effect != "Deny" {
			err = fmt.Errorf("has Effect %q: write Allow or Deny", s.Effect)
		}
		if err != nil {
			return Document{}, fmt.Errorf("%s %w", s.name(i), err)
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
	return unmarshalStrict(asList(data), (*[]Statement)(s))
}

// UnmarshalJSON accepts "*" or an object of lists.
func (p *Principal) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		return json.Unmarshal(data, (*map[string]Strings)(p))
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	if text != "*" {
		return fmt.Errorf(`principal %q: write "*" or an object such as {"AWS": "arn:..."}`, text)
	}
	*p = Principal{"AWS": {text}}
	return nil
}

// UnmarshalJSON accepts one value or a list.
func (s *Strings) UnmarshalJSON(data []byte) error {
	var values []any
	if err := json.Unmarshal(asList(data), &values); err != nil {
		return err
	}
	*s = make(Strings, 0, len(values))
	for _, v := range values {
		switch v.(type) {
		case string, bool, float64:
			*s = append(*s, fmt.Sprint(v))
		default:
			return fmt.Errorf("%s is not a string or a list of strings", data)
		}
	}
	return nil
}

func asList(data []byte) []byte {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("[")) {
		return data
	}
	return slices.Concat([]byte("["), data, []byte("]"))
}

// unmarshalStrict rejects unknown fields. It is needed at every level, because a decoder's DisallowUnknownFields
// does not apply below a type with its own UnmarshalJSON.
func unmarshalStrict(data []byte, target any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(target); err != nil {
		return err
	}
	if decoder.More() {
		return errors.New("unexpected text after the document")
	}
	return nil
}
