package policy

import (
	"slices"
	"strings"
)

// Condition maps operators to keys to values. All of them must hold.
type Condition map[string]map[string]Strings

// operators are the ways to compare that localcloud knows.
func operators() []string {
	return []string{
		"StringEquals", "StringEqualsIfExists", "StringNotEquals", "StringLike", "ArnEquals", "ArnLike", "Bool",
		"ForAllValues:StringLike",
	}
}

func (c Condition) holds(keys map[string]string) bool {
	_, possible := c.residual(nil, keys)
	return possible
}

// compare is one operator on one key. A key that the request does not have is
// equal to nothing.
func compare(operator string, values []string, value string, present bool) bool {
	switch operator {
	case "StringEquals":
		return present && slices.Contains(values, value)
	case "StringEqualsIfExists":
		return !present || slices.Contains(values, value)
	case "StringNotEquals":
		return !present || !slices.Contains(values, value)
	case "ForAllValues:StringLike": // each key here has one value, or none
		return !present || compare("StringLike", values, value, present)
	case "StringLike", "ArnEquals", "ArnLike":
		return present && slices.ContainsFunc(values, func(pattern string) bool { return wildcard(pattern, value) })
	case "Bool":
		return present && slices.ContainsFunc(values, func(wanted string) bool { return strings.EqualFold(wanted, value) })
	}
	return false // check lets no other operator pass
}

// residual is what is left of a condition for the S3 server to look at, which knows
// some keys, in lower case, when the others have the given values, or none. It is false
// when the condition cannot hold.
func (c Condition) residual(known []string, keys map[string]string) (Condition, bool) {
	left := Condition{}
	for operator, compared := range c {
		for key, values := range compared {
			value, present := keys[strings.ToLower(key)]
			switch {
			case slices.Contains(known, strings.ToLower(key)):
				if left[operator] == nil {
					left[operator] = map[string]Strings{}
				}
				left[operator][key] = values
			case !compare(operator, values, value, present):
				return nil, false
			}
		}
	}
	return left, true
}

// names says whether the condition is about one of the keys, given in lower case.
func (c Condition) names(keys ...string) bool {
	for _, compared := range c {
		for key := range compared {
			if slices.Contains(keys, strings.ToLower(key)) {
				return true
			}
		}
	}
	return false
}
