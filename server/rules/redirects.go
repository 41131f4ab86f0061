package rules

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// redirect is a rule of _redirects.
type redirect struct {
	line   int
	text   string
	from   pattern
	status int
	// force makes the rule apply even if the site has a file at the path.
	force bool

	// For a 3xx status, these are the parts of the Location, well-formed except for captures. For other statuses, only
	// path is set, to the percent-decoded path of a page.
	base            string
	path, query     []part
	fragment        []part
	hasQuery        bool
	unknownInTarget string
}

// moves reports whether the rule sends visitors to another address.
func (r redirect) moves() bool { return r.status >= 300 && r.status < 400 }

func parseRedirects(text []byte, p *problems) []redirect {
	var found []redirect
	static, dynamic := 0, 0
	for _, l := range lines(text, maxRedirectLine, p) {
		rule, err := parseRedirect(l)
		if err != nil {
			p.add(l.number, "%w", err)
			continue
		}
		if _, ok := rule.from.static(); ok {
			if static++; static == maxStaticRedirects+1 {
				p.add(l.number, "more than %d redirects without * or :placeholder; merge some by a splat", maxStaticRedirects)
				return found
			}
		} else {
			if dynamic++; dynamic == maxDynamicRedirects+1 {
				p.add(l.number, "more than %d redirects with * or :placeholder; remove some", maxDynamicRedirects)
				return found
			}
		}
		found = append(found, rule)
	}
	return found
}

var condition = regexp.MustCompile(`^(Country|Language|Role|Cookie|Conditions|Query)=`)

func parseRedirect(l line) (redirect, error) {
	rule := redirect{line: l.number, text: l.text, status: 301}
	fields := strings.Fields(l.text)
	if comment := slices.IndexFunc(fields, func(field string) bool { return field[0] == '#' }); comment >= 0 {
		fields = fields[:comment]
	}
	for i, field := range fields {
		switch {
		case condition.MatchString(field):
			return rule, fmt.Errorf("%s: conditions are not supported; remove it, or decide in a PHP page", field)
		case i > 0 && !isTarget(field) && strings.Contains(field, "="):
			return rule, fmt.Errorf("%s: query parameters are not supported in a rule; match the path alone, or decide in a "+
				"PHP page", field)
		}
	}
	var err error
	if rule.from, err = parsePattern(fields[0]); err != nil {
		return rule, err
	}
	if path, ok := rule.from.static(); ok && (path == "/.well-known/release" || path == "/.well-known/server") {
		return rule, fmt.Errorf("%s is the server's own; remove the rule", path)
	}
	if len(fields) < 2 || !isTarget(fields[1]) {
		return rule, fmt.Errorf("the target is missing; write from, to and a status, such as /old/ /new/ 301")
	}
	if len(fields) > 3 {
		return rule, fmt.Errorf("%q follows the status; write from, to and a status", fields[3])
	}
	if len(fields) == 3 {
		number, force := strings.CutSuffix(fields[2], "!")
		status, err := strconv.Atoi(number)
		if err != nil || !slices.Contains([]int{200, 301, 302, 303, 307, 308, 404, 410, 451}, status) {
			return rule, fmt.Errorf("status %q is not supported; use 200, 301, 302, 303, 307, 308, 404, 410 or 451", fields[2])
		}
		rule.status, rule.force = status, force
	}
	if err := rule.parseTarget(fields[1]); err != nil {
		return rule, err
	}
	// A rule that only adds or removes a trailing slash would loop if it matched both forms.
	rule.from.exact = rule.moves() &&
		strings.TrimSuffix(rule.from.shape(), "/") == strings.TrimSuffix(shape(rule.path), "/")
	rule.from.compile()
	from, static := rule.from.static()
	if target, ok := rule.page(); ok {
		if rule.moves() && rule.from.matches(target) && (rule.force || static && target == from) {
			return rule, fmt.Errorf("the rule redirects its own target, forever; change one of the two")
		}
	}
	if tooLong(rule.value()) || tooLong(rule.key()) || tooLong(rule.candidate(from)) {
		return rule, fmt.Errorf("the rule is too long for nginx; shorten it")
	}
	return rule, nil
}

// isTarget reports whether a field is a path or a URL.
func isTarget(field string) bool {
	return field[0] == '/' || strings.Contains(field, "://")
}

func (r *redirect) parseTarget(text string) error {
	rest := text
	if !strings.HasPrefix(rest, "/") {
		if !r.moves() {
			return fmt.Errorf("%s with status %d would be a proxy, which is not supported; use 302 to redirect there", text,
				r.status)
		}
		end := strings.Index(rest, "://") + len("://")
		if slash := strings.IndexAny(rest[end:], "/?#"); slash >= 0 {
			end += slash
		} else {
			end = len(rest)
		}
		if err := checkOrigin(rest[:end]); err != nil {
			return err
		}
		r.base, rest = rest[:end], rest[end:]
		if !strings.HasPrefix(rest, "/") {
			rest = "/" + rest
		}
	} else if len(rest) > 1 && (rest[1] == '/' || rest[1] == '\\') {
		return fmt.Errorf("%s leads to another host; begin it with https", text)
	}
	rest, fragment, _ := strings.Cut(rest, "#")
	path, query, hasQuery := strings.Cut(rest, "?")
	if !r.moves() {
		if hasQuery || fragment != "" {
			return fmt.Errorf("%s has a query or a fragment; a page of the site to show is a path alone", text)
		}
		decoded := decode(path)
		if strings.ContainsFunc(decoded, isControl) || strings.Contains(decoded+"/", "/../") ||
			strings.Contains(decoded+"/", "/./") || strings.Contains(decoded, "//") {
			return fmt.Errorf("%s is not the path of a page of the site", text)
		}
		if r.status != 200 && strings.Contains(decoded, "?") {
			return fmt.Errorf("a page for status %d cannot have a ? in its name; rename it", r.status)
		}
	}
	for _, piece := range []struct {
		text  string
		parts *[]part
	}{{path, &r.path}, {query, &r.query}, {fragment, &r.fragment}} {
		parts, unknown := r.from.template(piece.text)
		for i := range parts {
			if r.moves() {
				parts[i].literal = encode(parts[i].literal)
			} else {
				parts[i].literal = decode(parts[i].literal)
			}
		}
		*piece.parts = parts
		if r.unknownInTarget == "" {
			r.unknownInTarget = unknown
		}
	}
	r.hasQuery = query != ""
	return nil
}

var host = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?\.?$`)

// checkOrigin validates the scheme and the host of a target. Neither may depend on the request.
func checkOrigin(text string) error {
	scheme, _, _ := strings.Cut(text, "://")
	if scheme != "http" && scheme != "https" {
		return fmt.Errorf("%s: only http and https are supported; begin it with https", text)
	}
	u, err := url.Parse(text)
	if err != nil || u.User != nil || !host.MatchString(u.Hostname()) {
		return fmt.Errorf("%s is not a host with an optional port; write a name in ASCII (xn--... for others), without "+
			"placeholders", text)
	}
	return nil
}

// shape returns a text that is the same for equivalent patterns and targets.
func shape(parts []part) string {
	text := ""
	for _, part := range parts {
		if part.capture > 0 {
			text += fmt.Sprintf("\x00%d\x00", part.capture)
		} else {
			text += decode(part.literal)
		}
	}
	return text
}

func (p pattern) shape() string { return shape(p.parts) }

// page returns the percent-decoded path on this site that the rule leads to, if it does not depend on captures.
func (r redirect) page() (path string, ok bool) {
	if r.base != "" {
		return "", false
	}
	for _, part := range r.path {
		if part.capture > 0 {
			return "", false
		}
		path += part.literal
	}
	if r.moves() {
		path = decode(path)
	}
	return path, true
}

// Warnings returns a line for each rule that has no effect, such as a redirect from a page that exists, which is served
// instead, or a rule that an earlier one hides. exists reports whether the site has a file at a slash-separated path.
func (r Rules) Warnings(exists func(name string) bool) []string {
	var warnings []string
	for i, rule := range r.redirects {
		warn := func(format string, args ...any) {
			warnings = append(warnings, fmt.Sprintf("%s line %d: %s", RedirectsFile, rule.line, fmt.Sprintf(format, args...)))
		}
		from, static := rule.from.static()
		if static && !rule.force && isPage(from, exists) {
			warn("no effect: the site has a page at %s, which is served instead; remove one, or write %d!", from, rule.status)
		}
		if hider, hidden := r.hiding(i); hidden {
			warn("no effect: line %d matches every path of it first; move this line before it", hider.line)
		}
		if target, ok := rule.page(); ok && !rule.moves() && !isPage(target, exists) {
			warn("no effect: the site has no page at %s to show", target)
		}
		if rule.unknownInTarget != "" {
			warn(":%s in the target is taken as text, since the path has no such placeholder", rule.unknownInTarget)
		}
	}
	return warnings
}

// hiding returns an earlier rule that matches every path that the i-th rule matches.
func (r Rules) hiding(i int) (redirect, bool) {
	later := r.redirects[i].from
	sample := ""
	for _, part := range later.parts {
		switch {
		case part.capture == 0:
			sample += part.literal
		case part.splat:
			// Only another splat matches this.
			sample += "\x01/\x01"
		default:
			sample += "\x01"
		}
	}
	for _, earlier := range r.redirects[:i] {
		if path, static := earlier.from.static(); static && path == sample || !static && earlier.from.matches(sample) {
			return earlier, true
		}
	}
	return redirect{}, false
}

// isPage reports whether the site has a page at a path without any rule.
func isPage(path string, exists func(name string) bool) bool {
	name := strings.TrimPrefix(path, "/")
	bare := strings.TrimSuffix(name, "/")
	if bare != name || name == "" {
		return exists(name+"index.html") || exists(name+"index.php") || bare != "" && exists(bare+".html")
	}
	return exists(name) || exists(name+".html") || exists(name+"/index.html") || exists(name+"/index.php")
}
