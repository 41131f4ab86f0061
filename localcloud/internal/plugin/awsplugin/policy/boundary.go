package policy

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

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

// checkBounded refuses a bucket policy's allowance for a role with a permissions
// boundary, which would limit that, too.
func (s Statement) checkBounded(identities []Identity) error {
	for _, identity := range identities {
		if s.Effect == "Allow" && identity.Boundary != nil && slices.Contains(s.Principal.Kinds["AWS"], identity.RoleARN) {
			return fmt.Errorf(
				"the bucket policy allows something to %s, which has a permissions boundary: localcloud cannot enforce it",
				identity.RoleARN)
		}
	}
	return nil
}
