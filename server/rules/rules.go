// Package rules parses a site's rules for headers and redirects: the files _headers and _redirects in its root, in
// the syntax that Netlify and Cloudflare Pages document. The build validates them, and the agent on a server renders
// them as the nginx configuration of a release.
package rules

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Names of the files in a site's root. They are part of a release, but are not served.
const (
	HeadersFile   = "_headers"
	RedirectsFile = "_redirects"
)

// Limits of the two files, from Cloudflare Pages. Lengths are in bytes.
const (
	maxStaticRedirects  = 2000
	maxDynamicRedirects = 100
	maxRedirectLine     = 1000
	maxHeaderRules      = 100
	maxHeaderLine       = 2000
	// maxFile exceeds the size of any file within the other limits; parsing a file of this size takes seconds.
	maxFile = 4 << 20
)

// Rules are the rules of a site. The zero value has none.
type Rules struct {
	headers   []headerRule
	redirects []redirect
}

// Parse parses the text of _headers and of _redirects; nil means that the file is missing. The error lists every
// problem: the file, the line, what is wrong and what to write.
func Parse(headers, redirects []byte) (Rules, error) {
	var r Rules
	var headerProblems, redirectProblems problems
	headerProblems.file = HeadersFile
	redirectProblems.file = RedirectsFile
	for name, text := range map[string][]byte{HeadersFile: headers, RedirectsFile: redirects} {
		if len(text) > maxFile {
			return Rules{}, fmt.Errorf("%s has %d bytes; at most %d are allowed", name, len(text), maxFile)
		}
	}
	r.headers = parseHeaders(headers, &headerProblems)
	r.redirects = parseRedirects(redirects, &redirectProblems)
	if err := errors.Join(append(headerProblems.errs, redirectProblems.errs...)...); err != nil {
		return Rules{}, err
	}
	return r, nil
}

type problems struct {
	file string
	errs []error
}

func (p *problems) add(line int, format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf("%s line %d: %w", p.file, line, fmt.Errorf(format, args...)))
}

// line is a line of a file that is neither empty nor a comment.
type line struct {
	number int
	text   string
}

// lines splits a file into lines, and drops comments, empty lines and surrounding space. Lines that cannot be part of a
// rule are problems.
func lines(text []byte, limit int, p *problems) []line {
	var found []line
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	for i, bare := range strings.Split(string(text), "\n") {
		bare = strings.TrimSpace(bare)
		switch {
		case bare == "" || bare[0] == '#':
		case len(bare) > limit:
			p.add(i+1, "the line has %d bytes; at most %d are allowed", len(bare), limit)
		case !utf8.ValidString(bare):
			p.add(i+1, "the line is not UTF-8; save the file as UTF-8")
		case strings.ContainsFunc(bare, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			p.add(i+1, "the line has a control character; remove it")
		default:
			found = append(found, line{i + 1, bare})
		}
	}
	return found
}
