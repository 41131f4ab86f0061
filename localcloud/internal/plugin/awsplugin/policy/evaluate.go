package policy

import (
	_ "embed"
	"regexp"
	"slices"
	"strings"
)

// Request is a request to an AWS service.
type Request struct {
	Action string // such as ec2:RunInstances
	// Resource is the ARN of the resource that the action applies to. The id is * for a resource that does not exist
	// yet. "*" alone is for actions without a resource.
	Resource string
	// Keys maps the condition keys of the request, in lower case, to their values.
	Keys map[string]string
}

// Decision is the result of evaluating policies for a request.
type Decision int

const (
	// NotAllowed means that no statement applies to the request (an implicit deny).
	NotAllowed Decision = iota
	Allowed
	// Denied means that a statement explicitly denies the request, which overrides any Allow.
	Denied
)

// Evaluate evaluates a request against all documents. It ignores principals, so all documents must apply to the
// caller.
func Evaluate(documents []Document, request Request) Decision {
	decision := NotAllowed
	for _, document := range documents {
		for _, s := range document.Statement {
			if !s.appliesTo(request) {
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

func (s Statement) appliesTo(request Request) bool {
	return s.matchesAction(request.Action) && s.Condition.holds(request.Keys) &&
		matcher(s.Resource, s.NotResource, "s")(request.Resource)
}

func (s Statement) matchesAction(action string) bool {
	return len(s.matchedActions([]string{action})) > 0
}

// matchedActions returns the actions that a statement applies to. Like IAM, it ignores case.
func (s Statement) matchedActions(actions []string) []string {
	matches := matcher(s.Action, s.NotAction, "i")
	return slices.DeleteFunc(slices.Clone(actions), func(action string) bool { return !matches(action) })
}

// matcher returns a function that reports whether a text matches one of the patterns. If not is given, the
// function reports whether the text matches none of those instead. flags are regexp flags.
func matcher(patterns, not Strings, flags string) func(text string) bool {
	if len(not) == 0 {
		return compileWildcards(patterns, flags).MatchString
	}
	excluded := compileWildcards(not, flags)
	return func(text string) bool { return !excluded.MatchString(text) }
}

func matchWildcard(pattern, text string) bool {
	return compileWildcards([]string{pattern}, "s").MatchString(text)
}

// compileWildcards returns an expression for IAM's patterns: * matches any text, ? any single character.
func compileWildcards(patterns []string, flags string) *regexp.Regexp {
	alternatives := make([]string, len(patterns))
	for i, pattern := range patterns {
		alternatives[i] = strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern))
	}
	return regexp.MustCompile("(?" + flags + ")^(?:" + strings.Join(alternatives, "|") + ")$")
}

// s3List lists the S3 actions (Service Authorization Reference, "Actions, resources, and condition keys for Amazon
// S3"). The S3 server checks those of kind object and bucket in bucket policies, by the kind of resource that they
// apply to. It does not use the others, either because it does not support the feature or because no bucket policy
// can allow them. The AWS plugin itself checks whether a role has permission for some of them.
//
//go:embed s3actions.txt
var s3List string

// s3Actions returns the S3 actions of the given kinds: object, bucket, other.
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

// Condition maps operators to keys to values. All comparisons must hold.
type Condition map[string]map[string]Strings

// operators lists the condition operators that localcloud supports.
func operators() []string {
	return []string{
		"StringEquals", "StringEqualsIfExists", "StringNotEquals", "StringLike", "ArnEquals", "ArnLike", "Bool",
		"ForAllValues:StringLike",
	}
}

func (c Condition) holds(keys map[string]string) bool {
	_, satisfiable := c.residual(nil, keys)
	return satisfiable
}

// compare applies an operator to the value of a key. present is false if the request does not have the key, which
// then equals no value.
func compare(operator string, values []string, value string, present bool) bool {
	switch operator {
	case "StringEquals":
		return present && slices.Contains(values, value)
	case "StringEqualsIfExists":
		return !present || slices.Contains(values, value)
	case "StringNotEquals":
		return !present || !slices.Contains(values, value)
	case "ForAllValues:StringLike": // here, each key has at most one value
		return !present || compare("StringLike", values, value, present)
	case "StringLike", "ArnEquals", "ArnLike":
		return present && compileWildcards(values, "s").MatchString(value)
	case "Bool":
		return present && slices.ContainsFunc(values, func(wanted string) bool { return strings.EqualFold(wanted, value) })
	}
	return false // checkCondition rejects all other operators
}

// residual evaluates a condition partially. It returns the part on the known keys, for the S3 server to check. It
// evaluates the rest with the values in keys, and treats all other keys as absent from the request. satisfiable is
// false if the condition cannot hold. known and keys are in lower case.
func (c Condition) residual(known []string, keys map[string]string) (rest Condition, satisfiable bool) {
	rest = Condition{}
	for operator, compared := range c {
		for key, values := range compared {
			value, present := keys[strings.ToLower(key)]
			switch {
			case slices.Contains(known, strings.ToLower(key)):
				if rest[operator] == nil {
					rest[operator] = map[string]Strings{}
				}
				rest[operator][key] = values
			case !compare(operator, values, value, present):
				return nil, false
			}
		}
	}
	return rest, true
}

// hasKey reports whether the condition compares one of the keys, given in lower case.
func (c Condition) hasKey(keys ...string) bool {
	for _, compared := range c {
		for key := range compared {
			if slices.Contains(keys, strings.ToLower(key)) {
				return true
			}
		}
	}
	return false
}
