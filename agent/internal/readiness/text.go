package readiness

import (
	"regexp"
	"strings"
	"unicode"
)

// oneLine joins the lines of a text, for a place that has room for one.
func oneLine(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, printable(line))
		}
	}
	return strings.Join(lines, "; ")
}

// escapeSequence is a terminal's control sequence, as ECMA-48 defines them.
var escapeSequence = regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]`)

// printable takes away what a terminal would obey: logs contain what strangers
// sent.
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
