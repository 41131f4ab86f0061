package policy

import (
	_ "embed"
	"regexp"
	"slices"
	"strings"
)

// Request is a call of one of AWS's services.
type Request struct {
	Action string // such as ec2:RunInstances
	// Resource is the ARN of what the action is about. For a resource that is yet
	// to get its id, the id is *; "*" alone is for actions that are about none.
	Resource string
	// Keys are the condition keys that the request has, in lower case.
	Keys map[string]string
}

// Decision is what policies say about a request.
type Decision int

const (
	// NotAllowed is a request that no statement is about.
	NotAllowed Decision = iota
	Allowed
	// Denied is a request that a statement denies, whatever others allow.
	Denied
)

// Evaluate says what the documents together decide. Principals are not looked
// at: the documents must be of the one who asks, or speak of them.
func Evaluate(documents []Document, request Request) Decision {
	decision := NotAllowed
	for _, document := range documents {
		for _, s := range document.Statement {
			if !s.isAbout(request) {
				continue
			}
			if s.Effect == "Deny" {
				return Denied
			}
			decision = Allowed
		}
	}
	return decision
}

func (s Statement) isAbout(request Request) bool {
	return s.coversAction(request.Action) && s.Condition.holds(request.Keys) &&
		covers(s.Resource, s.NotResource, "s")(request.Resource)
}

func (s Statement) coversAction(action string) bool { return len(s.covered([]string{action})) > 0 }

// covered lists the actions that a statement is about, without regard to case, as IAM does.
func (s Statement) covered(actions []string) []string {
	about := covers(s.Action, s.NotAction, "i")
	return slices.DeleteFunc(slices.Clone(actions), func(action string) bool { return !about(action) })
}

// covers reports of a text whether one of the patterns, or none of those in not, matches it.
func covers(patterns, not Strings, flags string) func(text string) bool {
	if len(not) == 0 {
		return expression(patterns, flags).MatchString
	}
	excluded := expression(not, flags)
	return func(text string) bool { return !excluded.MatchString(text) }
}

func wildcard(pattern, text string) bool { return expression([]string{pattern}, "s").MatchString(text) }

// expression matches what one of IAM's patterns matches: * is any text, ? any one character.
func expression(patterns []string, flags string) *regexp.Regexp {
	alternatives := make([]string, len(patterns))
	for i, pattern := range patterns {
		alternatives[i] = strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern))
	}
	return regexp.MustCompile("(?" + flags + ")^(?:" + strings.Join(alternatives, "|") + ")$")
}

// s3List has the actions of S3 (Service Authorization Reference, "Actions, resources, and condition
// keys for Amazon S3"). Those of kind object and bucket are the ones that the S3 server checks in
// bucket policies, by the kind of resource that they apply to. It has no use for the others: it does
// not know what they are about, or no bucket policy can permit them. The aws plugin asks whether a
// role may do some of them.
//
//go:embed s3actions.txt
var s3List string

// s3Actions lists the actions of S3 of some kinds: object, bucket, other.
func s3Actions(kinds ...string) (actions []string) {
	for line := range strings.Lines(s3List) {
		kind, names, _ := strings.Cut(line, ":")
		for name := range strings.FieldsSeq(names) {
			if slices.Contains(kinds, kind) {
				actions = append(actions, "s3:"+name)
			}
		}
	}
	return actions
}

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
		return present && expression(values, "s").MatchString(value)
	case "Bool":
		return present && slices.ContainsFunc(values, func(wanted string) bool { return strings.EqualFold(wanted, value) })
	}
	return false // check lets no other operator pass
}

// residual is what is left of a condition for the S3 server to check, which knows
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
