package server

import (
	"errors"
	"regexp"
	"strings"
)

// bare matches a value that needs no quotes in server.env.
var bare = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,=-]*$`)

// quoted is a value of server.env in the form that all its readers take for the same: in single
// quotes everything is literal. Compose takes a backslash in them for an escape, and only a shell
// has a way to write a single quote there; a value with one stands in double quotes, where "$" and
// "`" are not literal.
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
	return "", errors.New("the value has a control character, a backslash, or a ' beside one of \" $ `, which no form of quotes protects from every reader")
}

// EnvironmentTakes reports whether server.env can hold a value.
func EnvironmentTakes(value string) bool {
	_, err := quoted(value)
	return err == nil
}
