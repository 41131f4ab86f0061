package policy

import (
	"slices"
	"strings"
)

// Request is what somebody asks one of AWS's services to do.
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

// For returns the statements of a bucket's policy that speak of a role by name,
// or of everybody.
func (d Document) For(roleARN string) Document {
	d.Statement = slices.DeleteFunc(slices.Clone(d.Statement), func(s Statement) bool {
		return !s.Principal.isEverybody() && !slices.Contains(s.Principal.Kinds["AWS"], roleARN)
	})
	return d
}

func (s Statement) isAbout(request Request) bool {
	return s.coversAction(request.Action) && s.coversResource(request.Resource) && s.Condition.holds(request.Keys)
}

// coversAction compares without regard to case, as IAM does.
func (s Statement) coversAction(action string) bool {
	return covers(s.Action, s.NotAction, strings.ToLower(action), strings.ToLower)
}

func (s Statement) coversResource(resource string) bool {
	return covers(s.Resource, s.NotResource, resource, strings.Clone)
}

// covers reports whether one of the patterns, or none of those in not, matches a text.
func covers(patterns, not Strings, text string, form func(string) string) bool {
	matches := func(pattern string) bool { return wildcard(form(pattern), text) }
	if len(not) > 0 {
		return !slices.ContainsFunc(not, matches)
	}
	return slices.ContainsFunc(patterns, matches)
}
