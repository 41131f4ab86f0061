package server

import (
	"errors"
	"regexp"
	"strings"
)

// bare matches a value that needs no quotes in server.env.
var bare = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,=-]*$`)

// quoted quotes a value for server.env so that all readers of the file agree on it. In single quotes everything is
// literal, except that Compose treats a backslash as an escape, and only shells can escape a single quote. A value
// with a single quote gets double quotes, in which "$" and "`" are not literal.
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
	return "", errors.New("no quoting works for all readers if there is a control character, a backslash, or a ' " +
		"together with one of \" $ `")
}

// EnvironmentTakes reports whether server.env can represent a value.
func EnvironmentTakes(value string) bool {
	_, err := quoted(value)
	return err == nil
}
