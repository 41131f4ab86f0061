package lines

import (
	"strings"
	"unicode"
)

// Printable makes untrusted text safe to print. It truncates the text to limit bytes, followed by "...", and replaces
// unprintable characters, which a terminal or a workflow may interpret, by spaces.
func Printable(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "..."
	}
	return text
}
