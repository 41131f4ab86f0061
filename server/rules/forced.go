package rules

// Forced reports whether a rule answers for the path of a URL, not escaped, even where the site has a
// file there.
func (r Rules) Forced(path string) bool { return false }
