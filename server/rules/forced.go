package rules

import "strings"

// Forced reports whether a forced rule, such as /old /new 301!, matches the path of a URL,
// percent-decoded: it may apply even if the site has a file there.
func (r Rules) Forced(path string) bool {
	for _, rule := range r.redirects {
		// Most rules begin differently, and an expression takes long to compile.
		if rule.force && strings.HasPrefix(path, rule.from.prefix()) && rule.from.matches(path) {
			return true
		}
	}
	return false
}

// prefix begins every path that the pattern matches.
func (p pattern) prefix() string {
	first := p.parts[0]
	return strings.TrimSuffix(first.literal, "/")
}
