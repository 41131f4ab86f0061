package rules

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// maxCaptures is the maximum number of splats and placeholders in a rule.
const maxCaptures = 9

// part is a literal, a splat or a placeholder.
type part struct {
	literal string
	// capture is the number of a splat or a placeholder, from 1; 0 is a literal.
	capture int
	splat   bool
}

// pattern matches the path of a request. Its literals are percent-decoded.
type pattern struct {
	parts []part
	names []string
	// exact is set if a trailing slash is significant.
	exact bool
	// matcher is compiled once, because each rule is compared with all earlier ones.
	matcher *regexp.Regexp
}

// parsePattern parses a path with at most one splat `*` and with placeholders `:name`.
func parsePattern(text string) (pattern, error) {
	var p pattern
	if lower := strings.ToLower(text); strings.HasPrefix(lower, "http://") || strings.HasPrefix(lower, "https://") {
		return p, fmt.Errorf("%s names a host, but every request reaches the site under its one domain; write the path alone",
			text)
	}
	if !strings.HasPrefix(text, "/") {
		return p, fmt.Errorf("%s is not a path; begin it with a slash", text)
	}
	if strings.ContainsAny(text, "?#") {
		return p, fmt.Errorf("%s has a query or a fragment, which no rule can match; write the path alone, with %%3F or "+
			"%%23 for a ? or # in a file's name", text)
	}
	shape := ""
	for rest := text; rest != ""; {
		name, after := nextCapture(rest)
		switch {
		case rest[0] == '*':
			name, after = "splat", rest[1:]
		case name == "":
			end := 1
			for end < len(rest) && rest[end] != '*' && !startsCapture(rest[end:]) {
				end++
			}
			literal := decode(rest[:end])
			p.parts = append(p.parts, part{literal: literal})
			shape += literal
			rest = rest[end:]
			continue
		}
		for _, other := range p.names {
			if other == name {
				return p, fmt.Errorf("%s has :%s or the splat * twice; use each once", text, name)
			}
		}
		p.names = append(p.names, name)
		p.parts = append(p.parts, part{capture: len(p.names), splat: rest[0] == '*'})
		shape += "x"
		rest = after
	}
	switch {
	case len(p.names) > maxCaptures:
		return p, fmt.Errorf("%s has more than %d placeholders", text, maxCaptures)
	case strings.ContainsFunc(shape, isControl):
		return p, errors.New("the path has an encoded control character; remove it")
	case strings.Contains(shape, "//") || strings.Contains(shape+"/", "/./") || strings.Contains(shape+"/", "/../"):
		return p, fmt.Errorf("%s never matches: a request's path has no empty, . or .. parts; write it without them", text)
	}
	return p, nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// startsCapture reports whether text starts with a placeholder: a colon and a letter.
func startsCapture(text string) bool {
	return len(text) > 1 && text[0] == ':' && isLetter(text[1])
}

// nextCapture returns the name of the placeholder that text starts with, and the text after it.
func nextCapture(text string) (name, after string) {
	if !startsCapture(text) {
		return "", text
	}
	end := 2
	for end < len(text) && (isLetter(text[end]) || text[end] >= '0' && text[end] <= '9' || text[end] == '_') {
		end++
	}
	return text[1:end], text[end:]
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// template splits text at the pattern's placeholders. Other placeholders are literals; unknown is the first of them.
func (p pattern) template(text string) (parts []part, unknown string) {
	literal := ""
	for rest := text; rest != ""; {
		name, after := nextCapture(rest)
		capture := 0
		for i, known := range p.names {
			if known == name {
				capture = i + 1
			}
		}
		if capture == 0 {
			if name != "" && unknown == "" {
				unknown = name
			}
			literal += rest[:1]
			rest = rest[1:]
			continue
		}
		if literal != "" {
			parts = append(parts, part{literal: literal})
			literal = ""
		}
		parts = append(parts, part{capture: capture})
		rest = after
	}
	if literal != "" {
		parts = append(parts, part{literal: literal})
	}
	return parts, unknown
}

// static returns the single path that a pattern without captures matches.
func (p pattern) static() (path string, ok bool) {
	for _, part := range p.parts {
		path += part.literal
	}
	return path, len(p.names) == 0
}

// otherSlash returns the path with a trailing slash added or removed.
func otherSlash(path string) string {
	if strings.HasSuffix(path, "/") {
		return strings.TrimSuffix(path, "/")
	}
	return path + "/"
}

// endsInSplat reports whether the last part is a splat, which matches any continuation.
func (p pattern) endsInSplat() bool { return p.parts[len(p.parts)-1].splat }

// tail returns the regular expression for an optional trailing slash, or "".
func (p pattern) tail() string {
	if p.exact || p.endsInSplat() {
		return ""
	}
	return "/?"
}

// withoutSlash returns the parts without a trailing slash if the slash is optional.
func (p pattern) withoutSlash() []part {
	if p.tail() == "" {
		return p.parts
	}
	parts := append([]part(nil), p.parts...)
	parts[len(parts)-1].literal = strings.TrimSuffix(parts[len(parts)-1].literal, "/")
	return parts
}

// decodedExpression returns a PCRE for percent-decoded paths, without anchors.
func (p pattern) decodedExpression() string {
	var e strings.Builder
	for _, part := range p.withoutSlash() {
		switch {
		case part.capture == 0:
			e.WriteString(quoteExpression(part.literal))
		case part.splat:
			fmt.Fprintf(&e, "(?<%s>(?s:.*))", captureName(part.capture))
		default:
			fmt.Fprintf(&e, "(?<%s>[^/]+)", captureName(part.capture))
		}
	}
	return e.String() + p.tail()
}

// rawExpression returns a PCRE for paths as they are in a request, without anchors. It captures only printable ASCII,
// so that no capture can end a header line.
func (p pattern) rawExpression() string {
	var e strings.Builder
	for _, part := range p.withoutSlash() {
		switch {
		case part.capture == 0:
			e.WriteString(rawLiteral(part.literal))
		case part.splat:
			fmt.Fprintf(&e, "(?<%s>[!-~]*)", captureName(part.capture))
		default:
			// Browsers treat a backslash as a slash.
			fmt.Fprintf(&e, `(?<%s>[!-.0-\[\]-~]+)`, captureName(part.capture))
		}
	}
	return e.String() + p.tail()
}

// rawLiteral returns a PCRE for a literal, percent-encoded or, where clients may send it so, unencoded.
func rawLiteral(literal string) string {
	var e strings.Builder
	for i := 0; i < len(literal); {
		c := literal[i]
		end := i + 1
		switch {
		case c == '/' || isUnreserved(c):
			e.WriteString(quoteExpression(literal[i:end]))
		case c >= 0x80:
			for end < len(literal) && literal[end] >= 0x80 {
				end++
			}
			fmt.Fprintf(&e, "(?:(?i:%s)|%s)", percent(literal[i:end]), literal[i:end])
		case strings.IndexByte(" %?#", c) >= 0:
			fmt.Fprintf(&e, "(?i:%s)", percent(literal[i:end]))
		default:
			fmt.Fprintf(&e, "(?:(?i:%s)|%s)", percent(literal[i:end]), quoteExpression(literal[i:end]))
		}
		i = end
	}
	return e.String()
}

// compile must run before matches, once the pattern is complete.
func (p *pattern) compile() {
	var e strings.Builder
	e.WriteString(`^(?s:`)
	for _, part := range p.withoutSlash() {
		switch {
		case part.capture == 0:
			e.WriteString(regexp.QuoteMeta(latin1(part.literal)))
		case part.splat:
			e.WriteString(".*")
		default:
			e.WriteString("[^/]+")
		}
	}
	p.matcher = regexp.MustCompile(e.String() + p.tail() + ")$")
}

// matches reports whether the pattern matches a percent-decoded path.
func (p pattern) matches(path string) bool { return p.matcher.MatchString(latin1(path)) }

// latin1 maps each byte to a character, because a path may be invalid UTF-8.
func latin1(text string) string {
	runes := make([]rune, len(text))
	for i := range len(text) {
		runes[i] = rune(text[i])
	}
	return string(runes)
}

func captureName(capture int) string { return fmt.Sprintf("site_%d", capture) }

// quoteExpression returns a PCRE for a literal.
func quoteExpression(literal string) string {
	var e strings.Builder
	for i := range len(literal) {
		if c := literal[i]; c < 0x80 && !isLetter(c) && (c < '0' || c > '9') && c != '_' && c != '/' {
			e.WriteByte('\\')
		}
		e.WriteByte(literal[i])
	}
	return e.String()
}

func isUnreserved(c byte) bool {
	return isLetter(c) || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }

// percent encodes every byte as %XX.
func percent(text string) string {
	var e strings.Builder
	for i := range len(text) {
		fmt.Fprintf(&e, "%%%02X", text[i])
	}
	return e.String()
}

// decode decodes percent-encoded bytes. A percent sign without two hexadecimal digits is a literal.
func decode(text string) string {
	var d strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) && isHex(text[i+1]) && isHex(text[i+2]) {
			c, _ := strconv.ParseUint(text[i+1:i+3], 16, 8)
			d.WriteByte(byte(c))
			i += 2
		} else {
			d.WriteByte(text[i])
		}
	}
	return d.String()
}

// encode makes a part of a URL well-formed: it keeps encoded characters, and encodes those that must be encoded.
func encode(text string) string {
	var e strings.Builder
	for i := range len(text) {
		c := text[i]
		encoded := c == '%' && i+2 < len(text) && isHex(text[i+1]) && isHex(text[i+2])
		if encoded || isUnreserved(c) || strings.IndexByte("!$&'()*+,;=:@/?", c) >= 0 {
			e.WriteByte(c)
		} else {
			e.WriteString(percent(text[i : i+1]))
		}
	}
	return e.String()
}
