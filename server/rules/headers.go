package rules

import "strings"

// headerRule is a path in _headers with the lines below it.
type headerRule struct {
	path  pattern
	lines []headerLine
}

// headerLine sets a header, or removes the values that earlier lines and the server's defaults set.
type headerLine struct {
	// name is in lower case; written is the site's spelling.
	name, written string
	value         []part
	detach        bool
}

// reserved has the headers that belong to the connection or to the server, with additional text for the error.
var reserved = map[string]string{
	"accept-ranges": "", "age": "", "allow": "", "alt-svc": "", "connection": "", "content-encoding": "",
	"content-length": "", "content-range": "", "date": "", "etag": "", "keep-alive": "", "last-modified": "",
	"proxy-authenticate": "", "proxy-connection": "", "server": "", "te": "", "trailer": "", "transfer-encoding": "",
	"upgrade":    "",
	"location":   "; write a rule in " + RedirectsFile,
	"set-cookie": "; set a cookie in a PHP page",
	"basic-auth": "; there is no protection by password, and the header would publish it",
}

func parseHeaders(text []byte, p *problems) []headerRule {
	var found []headerRule
	// broken is set for lines below an invalid path.
	broken := false
	empty := 0
	endRule := func() {
		if empty > 0 {
			p.add(empty, "the path has no headers; write them below it, as Name: value")
		}
		empty = 0
	}
	for _, l := range lines(text, maxHeaderLine, p) {
		lower := strings.ToLower(l.text)
		if l.text[0] == '/' || strings.HasPrefix(lower, "http://") || strings.HasPrefix(lower, "https://") {
			endRule()
			path, err := parsePattern(l.text)
			if broken = err != nil; broken {
				p.add(l.number, "%w", err)
				continue
			}
			path.exact = true
			if strings.ContainsAny(l.text, " \t") {
				broken = true
				p.add(l.number, "the path has a space; write it as %%20, and each header on a line of its own")
				continue
			}
			found = append(found, headerRule{path: path})
			empty = l.number
			if len(found) == maxHeaderRules+1 {
				p.add(l.number, "more than %d paths; merge rules by a splat", maxHeaderRules)
				// Do not spend time on the remaining lines.
				return found
			}
			continue
		}
		if broken {
			continue
		}
		if len(found) == 0 {
			p.add(l.number, "a header without a path before it; write a line such as /* first")
			continue
		}
		rule := &found[len(found)-1]
		empty = 0
		var h headerLine
		if l.text[0] == '!' {
			h.detach = true
			h.written = strings.Trim(l.text[1:], " \t")
		} else {
			name, value, colon := strings.Cut(l.text, ":")
			h.written = strings.TrimRight(name, " \t")
			value = strings.Trim(value, " \t")
			if !colon {
				p.add(l.number, "%q is neither a path nor a header; write Name: value, or ! Name", l.text)
				continue
			}
			if value == "" {
				p.add(l.number, "the header has no value; write ! %s to remove it", h.written)
				continue
			}
			h.value, _ = rule.path.template(value)
		}
		h.name = strings.ToLower(h.written)
		why, isReserved := reserved[h.name]
		switch {
		case !isToken(h.written):
			p.add(l.number, "%q is not the name of a header; use letters, digits and hyphens", h.written)
		case isReserved:
			p.add(l.number, "%s is the server's to set%s; remove the line", h.written, why)
		case h.name == "content-type" && h.detach:
			p.add(l.number, "a response needs a type; write Content-Type: application/octet-stream")
		case tooLong(h.valueText()):
			p.add(l.number, "the value is too long for nginx; shorten it")
		default:
			rule.lines = append(rule.lines, h)
		}
	}
	endRule()
	for i, rule := range found {
		if tooLong(headerKey(rule.path)) || tooLong(capturingKey(rule.path)) {
			p.add(0, "path %d is too long for nginx; shorten it", i+1)
		}
	}
	return found
}

// isToken reports whether text can be the name of a header. Names with characters other than letters, digits, hyphens
// and underscores are legal, but neither common nor safe in nginx's variables.
func isToken(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return r >= 0x80 || !isLetter(byte(r)) && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}
