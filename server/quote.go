package server

import (
	"errors"
	"regexp"
	"strings"
)

// bare matches a value that needs no quotes in server.env.
var bare = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,=-]*$`)

// quoted quotes a value of server.env so that all its readers agree. In single quotes everything is literal, except
// that Compose takes a backslash for an escape, and only shells can escape a single quote. A value with a single quote
// is in double quotes, where "$" and "`" are not literal.
func quoted(value string) (string, error) {
	printable := !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f })
	switch {
	case bare.MatchString(value):
		return value, nil
	case printable && !strings.ContainsAny(value, `'\`):
		return "'" + value + "'", nil
	case printable && !strings.ContainsAny(value, "\"$`\\"):
		return `"` + value + `"`, nil
	}
	return "", errors.New("no quoting protects a control character, a backslash, or a ' beside one of \" $ ` from every " +
		"reader")
}

// EnvironmentTakes reports whether server.env can hold a value.
func EnvironmentTakes(value string) bool {
	_, err := quoted(value)
	return err == nil
}
