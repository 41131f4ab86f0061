package rules

import "strings"

// Forced reports whether a forced rule, such as /old /new 301!, matches a percent-decoded URL path. Such a rule applies
// even if the site has a file there.
func (r Rules) Forced(path string) bool {
	for _, rule := range r.redirects {
		// The prefix rules out most rules, which is faster than matching the expression.
		if rule.force && strings.HasPrefix(path, rule.from.prefix()) && rule.from.matches(path) {
			return true
		}
	}
	return false
}

// prefix returns a prefix of every path that the pattern matches.
func (p pattern) prefix() string {
	first := p.parts[0]
	return strings.TrimSuffix(first.literal, "/")
}
