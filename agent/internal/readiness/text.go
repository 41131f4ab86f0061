package readiness

import (
	"regexp"
	"strings"
	"unicode"
)

// oneLine joins the lines of a text into one.
func oneLine(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, printable(line))
		}
	}
	return strings.Join(lines, "; ")
}

// escapeSequence matches a control sequence for terminals, as defined by ECMA-48.
var escapeSequence = regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]`)

// printable removes characters that would control a terminal: logs contain untrusted text.
func printable(line string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, escapeSequence.ReplaceAllString(strings.ToValidUTF8(line, "\uFFFD"), ""))
}
