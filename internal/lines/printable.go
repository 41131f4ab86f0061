package lines

import (
	"strings"
	"unicode"
)

// Printable is foreign text of at most limit bytes, with "..." if it was longer. Characters that are not printable,
// which a terminal or a workflow may obey, become spaces.
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
