package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Identity is a role as the policies of buckets see it.
type Identity struct {
	RoleARN string
	// AccessKeyID names the role's account at the S3 server, and is empty
	// while there is none: then no caller can act as the role.
	AccessKeyID string
	Policies    []Document
	// Boundary is the role's permissions boundary, and nil for a role without one.
	Boundary *Document
}

// Merge puts what the policies of roles say about a bucket into a policy of the
// bucket, which may be empty, in place of what Merge put there before. It returns the
// document for the S3 server, or "" when there is nothing to say.
func Merge(bucket, current string, identities []Identity) (string, error) {
	document := struct{ Version, Statement json.RawMessage }{json.RawMessage(`"2012-10-17"`), json.RawMessage("[]")}
	var others []json.RawMessage
	err := json.Unmarshal([]byte(cmp.Or(current, "{}")), &document)
	if err == nil {
		err = json.Unmarshal(asList(document.Statement), &others)
	}
	if err != nil {
		return "", fmt.Errorf("read the policy of bucket %q: %w", bucket, err)
	}
	var statements []any
	for _, statement := range others {
		var named struct{ Sid string }
		if err := json.Unmarshal(statement, &named); err != nil {
			return "", fmt.Errorf("read the policy of bucket %q: %w", bucket, err)
		}
		if !strings.HasPrefix(named.Sid, mergedSid) {
			statements = append(statements, statement)
		}
	}
	roles, err := ofRoles(bucket, identities)
	if err != nil {
		return "", err
	}
	for i, statement := range roles {
		statement.Sid = fmt.Sprintf("%s%d", mergedSid, i+1)
		statements = append(statements, statement)
	}
	if len(statements) == 0 {
		return "", nil
	}
	merged, err := json.Marshal(map[string]any{"Version": document.Version, "Statement": statements})
	if err != nil {
		return "", fmt.Errorf("encode the policy of bucket %q: %w", bucket, err)
	}
	return string(merged), nil
}

// mergedSid begins the ids of the statements that Merge writes.
const mergedSid = "LocalcloudRole"

// ofRoles is what the policies of roles say about a bucket, within the boundaries of the roles.
func ofRoles(bucket string, identities []Identity) ([]Statement, error) {
	var statements []Statement
	for _, identity := range identities {
		if identity.AccessKeyID == "" {
			continue
		}
		own := onBucket(bucket, identity.Policies...)
		if identity.Boundary != nil {
			var err error
			if own, err = within(own, onBucket(bucket, *identity.Boundary)); err != nil {
				return nil, fmt.Errorf("permissions boundary of %s: %w", identity.RoleARN, err)
			}
		}
		for _, statement := range own {
			statements = addTo(statements, statement, identity.AccessKeyID)
		}
	}
	return statements, nil
}

// addTo adds a role's statement, or the role to one that says the same of other roles: the S3
// server keeps a policy in an attribute of a directory, which has 4 KiB for all of them.
func addTo(statements []Statement, added Statement, accessKeyID string) []Statement {
	for _, statement := range statements {
		same := statement
		same.Principal = nil
		if reflect.DeepEqual(same, added) {
			if principals := statement.Principal; !slices.Contains(principals["AWS"], accessKeyID) {
				principals["AWS"] = append(principals["AWS"], accessKeyID)
			}
			return statements
		}
	}
	added.Principal = Principal{"AWS": {accessKeyID}}
	return append(statements, added)
}

// onBucket restricts the statements of a role's policies to one bucket.
func onBucket(bucket string, policies ...Document) []Statement {
	var statements []Statement
	for _, document := range policies {
		for _, s := range document.Statement {
			statements = append(statements, s.onBucket(bucket)...)
		}
	}
	return statements
}

// onBucket restricts a statement to one bucket. Actions on the bucket and actions on its
// objects become statements of their own, since the S3 server, unlike IAM, refuses an
// action beside a resource of the other kind.
func (s Statement) onBucket(bucket string) []Statement {
	var buckets, objects []string
	for _, resource := range s.Resource {
		name, key, hasKey := strings.Cut(strings.TrimPrefix(resource, s3Prefix), "/")
		switch {
		case hasKey && wildcard(name, bucket):
			objects = append(objects, s3Prefix+bucket+"/"+key)
		case !hasKey && wildcard(name, bucket):
			buckets = append(buckets, s3Prefix+bucket)
		}
		// A pattern that ends in * matches across the slash.
		if !hasKey && strings.HasSuffix(name, "*") && wildcard(name, bucket) {
			objects = append(objects, s3Prefix+bucket+"/*")
		}
	}
	// The S3 server does not know the keys that have the same value in every request: it has one region.
	fixed := map[string]string{"aws:requestedregion": "us-east-1"}
	var statements []Statement
	add := func(actions, resources []string, keys ...string) {
		condition, possible := s.Condition.residual(keys, fixed)
		if possible && len(actions) > 0 && len(resources) > 0 {
			statements = append(statements, Statement{
				Effect: s.Effect, Action: actions, Resource: resources, Condition: condition,
			})
		}
	}
	listing, other := s.covered(s3Actions("bucket")), []string(nil)
	if s.Condition.names("s3:prefix", "s3:delimiter", "s3:max-keys") {
		// The requests of other actions do not have these keys.
		lists := []string{"s3:ListBucket", "s3:ListBucketVersions"}
		other = slices.DeleteFunc(slices.Clone(listing), func(action string) bool { return slices.Contains(lists, action) })
		listing = s.covered(lists)
	}
	add(listing, buckets, serverKeys()...)
	add(other, buckets, "aws:securetransport")
	add(s.covered(s3Actions("object")), objects, "aws:securetransport")
	return statements
}

// within returns what a role's statements on one bucket come to within those of its
// permissions boundary. The S3 server knows no boundaries: so each allowance becomes one
// for each statement of the boundary that allows a part of it.
func within(own, boundary []Statement) ([]Statement, error) {
	var statements []Statement
	for _, s := range own {
		for _, limit := range boundary {
			if s.Effect == "Deny" || limit.Effect == "Deny" {
				continue
			}
			common, err := s.within(limit)
			if err != nil {
				return nil, err
			}
			if len(common.Action) > 0 && len(common.Resource) > 0 {
				statements = append(statements, common)
			}
		}
	}
	for _, s := range slices.Concat(own, boundary) {
		if s.Effect == "Deny" {
			statements = append(statements, s)
		}
	}
	return statements, nil
}

func (s Statement) within(limit Statement) (common Statement, err error) {
	outside := func(action string) bool { return !slices.Contains(limit.Action, action) }
	common = Statement{Effect: s.Effect, Action: slices.DeleteFunc(slices.Clone(s.Action), outside)}
	if len(common.Action) == 0 {
		return common, nil
	}
	for _, own := range s.Resource {
		for _, other := range limit.Resource {
			resource, err := overlap(own, other)
			if err != nil {
				return Statement{}, err
			}
			if resource != "" && !slices.Contains(common.Resource, resource) {
				common.Resource = append(common.Resource, resource)
			}
		}
	}
	common.Condition, err = s.Condition.and(limit.Condition)
	return common, err
}

// overlap is the pattern of what two patterns both match, or "" for nothing.
func overlap(a, b string) (string, error) {
	beginA, _, patternA := strings.Cut(a, "*")
	beginB, _, patternB := strings.Cut(b, "*")
	begin := strings.HasPrefix(beginA, beginB) || strings.HasPrefix(beginB, beginA)
	switch {
	// A ? of one pattern must not be taken for text by the other.
	case a != b && strings.Contains(a+b, "?"):
	case wildcard(a, b):
		return b, nil
	case wildcard(b, a):
		return a, nil
	case !patternA || !patternB || !begin:
		return "", nil
	}
	return "", fmt.Errorf("localcloud cannot enforce %q within %q", a, b)
}

// and is a condition that holds where both hold.
func (c Condition) and(other Condition) (Condition, error) {
	both := Condition{}
	for _, condition := range []Condition{c, other} {
		for operator, compared := range condition {
			if both[operator] == nil {
				both[operator] = map[string]Strings{}
			}
			for key, values := range compared {
				if known, ok := both[operator][key]; ok && !reflect.DeepEqual(known, values) {
					return nil, fmt.Errorf("localcloud cannot enforce two conditions %s on %q", operator, key)
				}
				both[operator][key] = values
			}
		}
	}
	return both, nil
}
