package readiness

import (
	"net/netip"
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

var (
	addressLike = regexp.MustCompile(`[0-9A-Fa-f]*(?:\.[0-9]+){3}|[0-9A-Fa-f]*(?::[0-9A-Fa-f]*){2,}(?:\.[0-9]+)*`)
	query       = regexp.MustCompile(`\?[^\s"'?]+`)
)

// anonymous takes away the addresses of visitors, and the queries of what they asked for, which may have tokens: the
// output of a provisioning is public where the repository is. Addresses of the server's own networks stay.
func anonymous(line string) string {
	return addressLike.ReplaceAllStringFunc(query.ReplaceAllString(line, "?..."), func(text string) string {
		address, err := netip.ParseAddr(text)
		if err != nil || !address.Unmap().IsGlobalUnicast() || address.Unmap().IsPrivate() {
			return text
		}
		return "[address]"
	})
}
