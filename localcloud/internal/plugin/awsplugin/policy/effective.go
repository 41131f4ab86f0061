package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Identity is a role as the policies of buckets see it.
type Identity struct {
	RoleARN string
	// AccessKeyID names the role's account at the S3 server, and is empty
	// while there is none: then nobody can act as the role.
	AccessKeyID string
	Policies    []Document
}

// effectiveStatement is a statement in the S3 server's dialect, whose
// principals are access key ids.
type effectiveStatement struct {
	Effect    string    `json:"Effect"`
	Principal any       `json:"Principal"`
	Action    []string  `json:"Action"`
	Resource  []string  `json:"Resource"`
	Condition Condition `json:"Condition,omitempty"`
}

// Effective merges a bucket's own policy, which may be nil, with what the
// policies of roles say about the bucket. It returns the document for the S3
// server, or "" when there is nothing to say.
func Effective(bucket string, own *Document, identities []Identity) (string, error) {
	var statements []effectiveStatement
	if own != nil {
		for _, s := range own.Statement {
			if principals := translate(s, identities); principals != nil {
				statements = append(statements, effectiveStatement{s.Effect, principals, s.Action, s.Resource, s.Condition})
			}
		}
	}
	for _, identity := range identities {
		if identity.AccessKeyID == "" {
			continue
		}
		for _, document := range identity.Policies {
			for _, s := range document.Statement {
				statements = append(statements, onBucket(s, bucket, identity.AccessKeyID)...)
			}
		}
	}
	if len(statements) == 0 {
		return "", nil
	}
	document, err := json.Marshal(struct {
		Version   string
		Statement []effectiveStatement
	}{"2012-10-17", statements})
	if err != nil {
		return "", fmt.Errorf("encode the policy of bucket %q: %w", bucket, err)
	}
	return string(document), nil
}

// CheckPrincipals refuses, as S3 does, a bucket policy for a role that does not
// exist. A role that is deleted later does no harm: nobody can be it.
func (d Document) CheckPrincipals(accountID string, identities []Identity) error {
	for i, s := range d.Statement {
		for _, arn := range s.Principal.Kinds["AWS"] {
			switch {
			case arn == "*":
			case isAccount(arn, accountID):
				if s.Effect == "Deny" {
					return fmt.Errorf("%s denies the whole account, which would shut out everybody: localcloud does not support it", s.name(i))
				}
			case !slices.ContainsFunc(identities, func(i Identity) bool { return i.RoleARN == arn }):
				return fmt.Errorf("%s: %w: %q", s.name(i), ErrInvalidPrincipal, arn)
			}
		}
	}
	return nil
}

// translate returns the principals of a bucket policy's statement, or nil when
// the statement concerns nobody. The account as a principal delegates to the
// policies of its roles, which are merged in any case.
func translate(s Statement, identities []Identity) any {
	if s.Principal.isEverybody() {
		return "*"
	}
	var keys []string
	for _, identity := range identities {
		if identity.AccessKeyID != "" && slices.Contains(s.Principal.Kinds["AWS"], identity.RoleARN) {
			keys = append(keys, identity.AccessKeyID)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	return map[string][]string{"AWS": keys}
}

func isAccount(principal, accountID string) bool {
	return principal == accountID || principal == "arn:aws:iam::"+accountID+":root"
}

// onBucket restricts a role's statement to one bucket. Actions on the bucket
// and actions on its objects become statements of their own, since the S3
// server, unlike IAM, refuses an action beside a resource of the other kind.
func onBucket(s Statement, bucket, accessKeyID string) []effectiveStatement {
	var buckets, objects []string
	for _, resource := range s.Resource {
		name, key, hasKey := strings.Cut(strings.TrimPrefix(resource, s3Prefix), "/")
		switch {
		case hasKey && wildcard(name, bucket):
			objects = append(objects, s3Prefix+bucket+"/"+key)
		case !hasKey && wildcard(name, bucket):
			buckets = append(buckets, s3Prefix+bucket)
		}
		// A pattern that ends in * goes on over the slash.
		if prefix, open := strings.CutSuffix(name, "*"); !hasKey && open && wildcard(prefix+"*", bucket) {
			objects = append(objects, s3Prefix+bucket+"/*")
		}
	}
	principal := map[string][]string{"AWS": {accessKeyID}}
	var statements []effectiveStatement
	if actions := expand(s.Action, bucketActions()); len(actions) > 0 && len(buckets) > 0 {
		statements = append(statements, effectiveStatement{s.Effect, principal, actions, buckets, s.Condition})
	}
	if actions := expand(s.Action, objectActions()); len(actions) > 0 && len(objects) > 0 {
		statements = append(statements, effectiveStatement{s.Effect, principal, actions, objects, s.Condition})
	}
	return statements
}
