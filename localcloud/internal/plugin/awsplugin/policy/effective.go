package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Identity is a role with its policies, as needed for bucket policies.
type Identity struct {
	RoleARN string
	// AccessKeyID identifies the role's account at the S3 server. It is empty if the role has no account yet, in
	// which case no caller can act as the role.
	AccessKeyID string
	Policies    []Document
	// Boundary is the role's permissions boundary, or nil.
	Boundary *Document
}

// Merge adds the statements of the roles' policies that concern a bucket to the bucket's current policy, which may
// be empty. They replace the statements that an earlier Merge added. It returns the document for the S3 server, or
// "" if it would have no statements.
func Merge(bucket, current string, identities []Identity) (string, error) {
	document := struct{ Version, Statement json.RawMessage }{json.RawMessage(`"2012-10-17"`), json.RawMessage("[]")}
	var others []json.RawMessage
	err := json.Unmarshal([]byte(cmp.Or(current, "{}")), &document)
	if err == nil {
		err = json.Unmarshal(asList(document.Statement), &others)
	}
	if err != nil {
		return "", fmt.Errorf("cannot parse the policy of bucket %q: %w", bucket, err)
	}
	var statements []any
	for _, statement := range others {
		var named struct{ Sid string }
		if err := json.Unmarshal(statement, &named); err != nil {
			return "", fmt.Errorf("cannot parse the policy of bucket %q: %w", bucket, err)
		}
		if !strings.HasPrefix(named.Sid, mergedSidPrefix) {
			statements = append(statements, statement)
		}
	}
	roles, err := roleStatements(bucket, identities)
	if err != nil {
		return "", err
	}
	for i, statement := range roles {
		statement.Sid = fmt.Sprintf("%s%d", mergedSidPrefix, i+1)
		statements = append(statements, statement)
	}
	if len(statements) == 0 {
		return "", nil
	}
	merged, err := json.Marshal(map[string]any{"Version": document.Version, "Statement": statements})
	if err != nil {
		return "", fmt.Errorf("cannot encode the policy of bucket %q: %w", bucket, err)
	}
	return string(merged), nil
}

// mergedSidPrefix marks the statements that Merge adds.
const mergedSidPrefix = "LocalcloudRole"

// roleStatements returns the statements of the roles' policies for a bucket, limited by the roles' permissions
// boundaries.
func roleStatements(bucket string, identities []Identity) ([]Statement, error) {
	var statements []Statement
	for _, identity := range identities {
		if identity.AccessKeyID == "" {
			continue
		}
		own := restrictToBucket(bucket, identity.Policies...)
		if identity.Boundary != nil {
			var err error
			if own, err = applyBoundary(own, restrictToBucket(bucket, *identity.Boundary)); err != nil {
				return nil, fmt.Errorf("permissions boundary of %s: %w", identity.RoleARN, err)
			}
		}
		for _, statement := range own {
			statements = addStatement(statements, statement, identity.AccessKeyID)
		}
	}
	return statements, nil
}

// addStatement adds a role's statement. If another role has an equal statement, it adds the role to that
// statement's principals instead, to save space: the S3 server stores a policy in an extended attribute of a
// directory, whose attributes share 4 KiB.
func addStatement(statements []Statement, added Statement, accessKeyID string) []Statement {
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

// restrictToBucket restricts the statements of a role's policies to one bucket.
func restrictToBucket(bucket string, policies ...Document) []Statement {
	var statements []Statement
	for _, document := range policies {
		for _, s := range document.Statement {
			statements = append(statements, s.restrictToBucket(bucket)...)
		}
	}
	return statements
}

// restrictToBucket restricts a statement to one bucket. Bucket actions and object actions become separate
// statements, because the S3 server, unlike IAM, rejects a statement that combines an action with a resource of
// the other kind.
func (s Statement) restrictToBucket(bucket string) []Statement {
	var buckets, objects []string
	for _, resource := range s.Resource {
		name, key, hasKey := strings.Cut(strings.TrimPrefix(resource, s3Prefix), "/")
		switch {
		case hasKey && matchWildcard(name, bucket):
			objects = append(objects, s3Prefix+bucket+"/"+key)
		case !hasKey && matchWildcard(name, bucket):
			buckets = append(buckets, s3Prefix+bucket)
		}
		// A pattern that ends in * also matches past the slash.
		if !hasKey && strings.HasSuffix(name, "*") && matchWildcard(name, bucket) {
			objects = append(objects, s3Prefix+bucket+"/*")
		}
	}
	// The S3 server does not know these keys. Their values are the same in every request, as it has only one region.
	constants := map[string]string{"aws:requestedregion": "us-east-1"}
	var statements []Statement
	add := func(actions, resources []string, keys ...string) {
		condition, satisfiable := s.Condition.residual(keys, constants)
		if satisfiable && len(actions) > 0 && len(resources) > 0 {
			statements = append(statements, Statement{
				Effect: s.Effect, Action: actions, Resource: resources, Condition: condition,
			})
		}
	}
	listing, other := s.matchedActions(s3Actions("bucket")), []string(nil)
	if s.Condition.hasKey("s3:prefix", "s3:delimiter", "s3:max-keys") {
		// Only list requests have these keys.
		lists := []string{"s3:ListBucket", "s3:ListBucketVersions"}
		other = slices.DeleteFunc(slices.Clone(listing), func(action string) bool { return slices.Contains(lists, action) })
		listing = s.matchedActions(lists)
	}
	add(listing, buckets, serverKeys()...)
	add(other, buckets, "aws:securetransport")
	add(s.matchedActions(s3Actions("object")), objects, "aws:securetransport")
	return statements
}

// applyBoundary limits a role's statements on one bucket to those of its permissions boundary. The S3 server does
// not support boundaries, so each Allow statement is replaced by its intersections with the boundary's Allow
// statements. The Deny statements of both are kept.
func applyBoundary(own, boundary []Statement) ([]Statement, error) {
	var statements []Statement
	for _, s := range own {
		for _, limit := range boundary {
			if s.Effect == "Deny" || limit.Effect == "Deny" {
				continue
			}
			common, err := s.intersect(limit)
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

func (s Statement) intersect(limit Statement) (common Statement, err error) {
	outside := func(action string) bool { return !slices.Contains(limit.Action, action) }
	common = Statement{Effect: s.Effect, Action: slices.DeleteFunc(slices.Clone(s.Action), outside)}
	if len(common.Action) == 0 {
		return common, nil
	}
	for _, own := range s.Resource {
		for _, other := range limit.Resource {
			resource, err := intersectPatterns(own, other)
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

// intersectPatterns returns a pattern for the strings that both patterns match, or "" if there are none. It
// returns an error if it cannot find such a pattern.
func intersectPatterns(a, b string) (string, error) {
	prefixA, _, wildcardA := strings.Cut(a, "*")
	prefixB, _, wildcardB := strings.Cut(b, "*")
	compatible := strings.HasPrefix(prefixA, prefixB) || strings.HasPrefix(prefixB, prefixA)
	switch {
	// One pattern must not match a ? in the other as literal text.
	case a != b && strings.Contains(a+b, "?"):
	case matchWildcard(a, b):
		return b, nil
	case matchWildcard(b, a):
		return a, nil
	case !wildcardA || !wildcardB || !compatible:
		return "", nil
	}
	return "", fmt.Errorf("localcloud cannot enforce the intersection of %q and %q", a, b)
}

// and returns a condition that holds if both conditions hold.
func (c Condition) and(other Condition) (Condition, error) {
	both := Condition{}
	for _, condition := range []Condition{c, other} {
		for operator, compared := range condition {
			if both[operator] == nil {
				both[operator] = map[string]Strings{}
			}
			for key, values := range compared {
				if known, ok := both[operator][key]; ok && !reflect.DeepEqual(known, values) {
					return nil, fmt.Errorf("localcloud cannot enforce two different %s conditions on %q", operator, key)
				}
				both[operator][key] = values
			}
		}
	}
	return both, nil
}
