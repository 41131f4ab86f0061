package rules

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Server is the part of a release's configuration that depends on the server.
type Server struct {
	// Root is the directory of the release's files, such as /srv/site/releases/0123456789abcdef/site.
	Root string
	// HSTS is the value of Strict-Transport-Security, or "" for none.
	HSTS string
}

// maxToken is below nginx's limit for one word of its configuration, 4096 bytes.
const maxToken = 4000

// NGINX renders the rules as two files that nginx.conf includes, by name: http.conf in the context http, and
// server.conf in the context server. The text depends only on the rules and the arguments.
func (r Rules) NGINX(server Server) map[string]string {
	var http, site strings.Builder
	http.WriteString(commonMaps)
	fmt.Fprintf(&site, "root %s;\n", value(server.Root))
	fmt.Fprintf(&site, "location = /.well-known/release {\n    alias %s;\n    default_type application/json;\n}\n",
		value(path.Join(path.Dir(server.Root), "release.json")))
	r.renderHeaders(&http, &site, server)
	r.renderRedirects(&http, &site)
	return map[string]string{"http.conf": http.String(), "server.conf": site.String()}
}

// commonMaps extract the parts of a request that rules match. A request target has no control characters and no spaces:
// nginx rejects requests that do.
const commonMaps = `geo $site_dollar {
    default "$";
}
map $request_uri $site_raw_path {
    default "/";
    "~^(?<site_raw>/[^?#]*)" $site_raw;
}
map $args $site_query {
    default "";
    "~^[!-\"$-~]+$" "?$args";
}
map $args $site_more_query {
    default "";
    "~^[!-\"$-~]+$" "&$args";
}
# Responses whose type and lifetime a site's rules do not set.
map "$status $site_path" $site_failed {
    default "";
    "~^[45]" 1;
    "~^\d* /\.well-known/(?:release|server)$" 1;
}
# A file with a hash in its name never changes. Other files may change with any release, and a
# mistake in a redirect must not stay for good.
map "$status $uri" $site_cache_of_file {
    default no-cache;
    "~ /\.well-known/(?:release|server)$" no-store;
    "~^30[18] " "max-age=3600";
    "~^(?:200|206|304) /.+-[0-9a-f]{16}\.(?!php$)[0-9a-z]+$" "public, max-age=31536000, immutable";
}
map $upstream_http_content_type $site_own_type {
    default $upstream_http_content_type;
    "" $sent_http_content_type;
}
map $request_uri $site_with_slash {
    default "";
    "~^/[/\\\\]*(?<site_bare>[!-\"$->@-~]+)(?:\?.*)?$" "/$site_bare/$site_query";
}
map $request_uri $site_without_slash {
    default "";
    "~^/[/\\\\]*(?<site_bare>[!-\"$->@-~]*?)/+(?:\?.*)?$" "/$site_bare$site_query";
}
# Where the page may be if the request has a slash too many or too few. _headers is a file, so nothing is below it.
map $uri $site_index {
    volatile;
    default "$uri/index";
    "~/$" /_headers/none;
}
map $uri $site_page_without_slash {
    volatile;
    default /_headers/none;
    "~^(?<site_directory>.*[^/])/$" "$site_directory.html";
}
map $uri $site_index_php {
    volatile;
    default /_headers/none;
    "~/$" "${uri}index.php";
}
`

// ruleMaps extract the parts of $site_rule, which has the form 301:/target. A target on this site starts with exactly
// one slash, whatever is captured: two would redirect to another host. A page is always within the site.
const ruleMaps = `map $site_rule $site_to {
    default "";
    "~^...!?:[/\\\\]+(.*)$" "/$1";
    "~^...!?:(.*)$" "$1";
}
map $site_rule $site_show {
    default "/_headers/none";
    "~(?s)^200!?:(?!.*/\.\.?(?:/|$))(.+)$" "$1";
}
map $site_rule $site_error_page {
    default "/404.html";
    "~(?s)^(?:404|410|451)!?:(?!.*/\.\.?(?:/|$))(.+)$" "$1";
}
`

// serverStart remembers the path before internal redirects change it.
const serverStart = `if ($site_path = "") {
    set $site_path $uri;
    set $site_done "";
}
# Probes use these paths before and after the server gets visitors.
if ($uri ~ "^/\.well-known/(?:release|server)$") {
    set $site_done done;
}
error_page 400 404 =404 $site_error_page;
error_page 410 451 $site_error_page;
`

// missingStart handles paths without a file: first pages whose URL has a slash too many or too few, then the rules.
// If a rule shows a page that has no file either, the request gets here again.
const missingStart = `location @missing {
    set $site_page "";
    if (-f $document_root$site_index.html) {
        set $site_page slash;
    }
    if (-f $document_root$site_index.php) {
        set $site_page slash;
    }
    if (-f $document_root$site_page_without_slash) {
        set $site_page bare;
    }
    if (-f $document_root$site_index_php) {
        rewrite ^ $site_index_php last;
    }
    set $site_moved "$site_page$site_done:$site_with_slash";
    if ($site_moved ~ "^slash:.") {
        return 301 $site_with_slash;
    }
    if ($site_page = slash) {
        rewrite ^ $uri/ last;
    }
    set $site_moved "$site_page$site_done:$site_without_slash";
    if ($site_moved ~ "^bare:.") {
        return 301 $site_without_slash;
    }
    if ($site_page = bare) {
        rewrite ^ $site_page_without_slash last;
    }
`

// escape escapes text for double quotes in nginx's configuration.
func escape(text string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text)
}

// word quotes text as one word of nginx's configuration in which nginx expands no variables.
func word(text string) string { return `"` + escape(text) + `"` }

// value quotes text as one word in which nginx would expand variables; the text itself is literal.
func value(text string) string { return `"` + valueOf([]part{{literal: text}}) + `"` }

// valueOf returns the text of parts, with variables for captures, escaped for double quotes.
func valueOf(parts []part) string {
	text := ""
	for _, part := range parts {
		if part.capture > 0 {
			text += "${" + captureName(part.capture) + "}"
		} else {
			text += strings.ReplaceAll(escape(part.literal), "$", "${site_dollar}")
		}
	}
	return text
}

// tooLong reports whether nginx would reject a word because of its length.
func tooLong(word string) bool { return len(word) > maxToken }

// writeMap writes a map block; entries are pairs of a word and a value.
func writeMap(to *strings.Builder, source, variable string, entries ...string) {
	fmt.Fprintf(to, "map %s %s {\n", source, variable)
	for i := 0; i < len(entries); i += 2 {
		fmt.Fprintf(to, "    %s %s;\n", entries[i], entries[i+1])
	}
	to.WriteString("}\n")
}

// defaultHeaders returns the headers that apply if neither the site nor PHP sets them.
func defaultHeaders(server Server) [][2]string {
	headers := [][2]string{
		{"Cache-Control", "$site_cache_of_file"},
		{"X-Content-Type-Options", "nosniff"},
		{"Referrer-Policy", "strict-origin-when-cross-origin"},
	}
	if server.HSTS != "" {
		headers = append(headers, [2]string{"Strict-Transport-Security", value(server.HSTS)})
	}
	return headers
}

// headerKey returns the word that matches a percent-decoded path with a path of _headers.
func headerKey(p pattern) string { return word("~^" + p.decodedExpression() + `\z`) }

// capturingKey returns the word that matches the condition under which a line applies, and captures from the raw path.
func capturingKey(p pattern) string { return word("~^1:: " + p.rawExpression() + "$") }

func (h headerLine) valueText() string { return `"` + valueOf(h.value) + `"` }

// captures reports whether the value contains a part of the path.
func (h headerLine) captures() bool {
	return slices.ContainsFunc(h.value, func(part part) bool { return part.capture > 0 })
}

// operation is a header line with the number of its rule.
type operation struct {
	headerLine
	rule int
}

func ruleVariable(rule int) string { return fmt.Sprintf("${site_header_rule_%d}", rule) }

// renderHeaders renders one variable for each path and one for each line. The latter is empty if the line does not
// apply: nginx sends no header with an empty value.
func (r Rules) renderHeaders(http, site *strings.Builder, server Server) {
	var names []string
	operations := map[string][]operation{}
	for i, rule := range r.headers {
		writeMap(http, "$site_path", fmt.Sprintf("$site_header_rule_%d", i), "default", `""`, headerKey(rule.path), "1")
		for _, line := range rule.lines {
			if operations[line.name] == nil {
				names = append(names, line.name)
			}
			operations[line.name] = append(operations[line.name], operation{line, i})
		}
	}

	for _, header := range defaultHeaders(server) {
		name := strings.ToLower(header[0])
		if operations[name] == nil {
			names = append(names, name)
		}
		variable := "$site_default_" + strings.ReplaceAll(name, "-", "_")
		matched := rulesOf(operations[name])
		if name == "cache-control" {
			// The default also applies to failed requests that a rule matches: errors must not be cached as long as pages.
			writeMap(http, `"`+matched+":"+upstream(name)+`:$site_failed"`, variable, "default", `""`, `"::"`, header[1],
				`"~^1*::1$"`, header[1])
		} else {
			writeMap(http, `"`+matched+":"+upstream(name)+`"`, variable, "default", `""`, `":"`, header[1])
		}
		fmt.Fprintf(site, "add_header %s %s always;\n", header[0], variable)
	}

	number := 0
	for _, name := range names {
		all := operations[name]
		previous := "$site_own_type"
		for i, op := range all {
			if op.detach {
				continue
			}
			var later []operation
			for _, other := range all[i+1:] {
				if other.detach {
					later = append(later, other)
				}
			}
			number++
			variable := fmt.Sprintf("$site_header_%d", number)
			source := ruleVariable(op.rule) + ":" + rulesOf(later) + ":" + upstream(name)
			otherwise := `""`
			switch name {
			case "cache-control":
				source += "$site_failed"
			case "content-type":
				source += "$site_failed"
				otherwise, previous = previous, variable
			}
			if op.captures() {
				writeMap(http, `"`+source+` $site_raw_path"`, variable, "default", otherwise, capturingKey(r.headers[op.rule].path),
					op.valueText())
			} else {
				writeMap(http, `"`+source+`"`, variable, "default", otherwise, `"1::"`, op.valueText())
			}
			if name != "content-type" {
				fmt.Fprintf(site, "add_header %s %s always;\n", op.written, variable)
			}
		}
		if name == "content-type" {
			fmt.Fprintf(site, "more_set_headers \"Content-Type: %s\";\n", previous)
		}
	}
}

// rulesOf returns the variables of the operations' rules, without duplicates.
func rulesOf(operations []operation) string {
	text := ""
	for i, op := range operations {
		if i == 0 || operations[i-1].rule != op.rule {
			text += ruleVariable(op.rule)
		}
	}
	return text
}

// upstream returns the variable that holds PHP's value of a header.
func upstream(name string) string {
	return "${upstream_http_" + strings.ReplaceAll(name, "-", "_") + "}"
}

// key returns the word that matches "raw-path decoded-path". Captures for a Location are still percent-encoded, those
// for the path of a file are not.
func (r redirect) key() string {
	if r.moves() {
		return word("~^" + r.from.rawExpression() + " ")
	}
	return word("~^[^ ]* " + r.from.decodedExpression() + `\z`)
}

// value returns the rule's action, such as 301:/target or 410!:/page.html, in double quotes.
func (r redirect) value() string { return `"` + r.valueText() + `"` }

func (r redirect) valueText() string {
	text := fmt.Sprint(r.status)
	if r.force {
		text += "!"
	}
	text += ":" + valueOf([]part{{literal: r.base}}) + valueOf(r.path)
	if r.moves() {
		if r.hasQuery {
			text += "?" + valueOf(r.query) + "${site_more_query}"
		} else {
			text += "${site_query}"
		}
		if len(r.fragment) > 0 {
			text += "#" + valueOf(r.fragment)
		}
	}
	return text
}

// candidate returns the value of a rule together with its path, which nginx then compares again, because it matches the
// words of a map case-insensitively.
func (r redirect) candidate(path string) string {
	return `"` + valueOf([]part{{literal: path}}) + `\n` + r.valueText() + `"`
}

// lowerASCII lower-cases text as nginx does for the words of a map.
func lowerASCII(text string) string {
	lower := []byte(text)
	for i, c := range lower {
		if c >= 'A' && c <= 'Z' {
			lower[i] = c | 0x20
		}
	}
	return string(lower)
}

// renderRedirects renders the lookup of a path's first matching rule: rules without captures are in a hash table, whose
// cost does not depend on their number; the others are tried one after the other.
func (r Rules) renderRedirects(http, site *strings.Builder) {
	static := []string{"default", `""`}
	// The server's own paths, which catch-all rules must not override.
	dynamic := []string{"default", `""`, word(`~^[^ ]* /\.well-known/(?:release|server)\z`), `""`}
	taken := map[string]bool{}
	var before []redirect
	hidden := func(path string) bool {
		return slices.ContainsFunc(before, func(earlier redirect) bool { return earlier.from.matches(path) })
	}
	for _, rule := range r.redirects {
		if path, ok := rule.from.static(); ok {
			taken[path] = false
		}
	}
	keys := map[string]bool{}
	add := func(rule redirect, path string) {
		if taken[path] || hidden(path) {
			return
		}
		taken[path] = true
		if key := lowerASCII(path); !keys[key] {
			keys[key] = true
			static = append(static, word(key), rule.candidate(path))
		} else {
			dynamic = append(dynamic, word("~^[^ ]* "+quoteExpression(path)+`\z`), rule.value())
		}
	}
	for _, rule := range r.redirects {
		path, ok := rule.from.static()
		if !ok {
			before = append(before, rule)
			dynamic = append(dynamic, rule.key(), rule.value())
			continue
		}
		add(rule, path)
		other := otherSlash(path)
		if _, written := taken[other]; !written && !rule.from.exact && other != "" {
			add(rule, other)
		}
	}
	writeMap(http, `"$site_raw_path $site_path"`, "$site_dynamic_rule", dynamic...)
	writeMap(http, "$site_path", "$site_candidate", static...)
	writeMap(http, `"$site_candidate\n$site_path"`, "$site_rule", "default", "$site_dynamic_rule",
		`"~^([^\n]*)\n(\d\d\d!?:[^\n]*)\n\1\z"`, `"$2"`)
	http.WriteString(ruleMaps)

	var forced, others []int
	for _, rule := range r.redirects {
		if rule.force && !slices.Contains(forced, rule.status) {
			forced = append(forced, rule.status)
		}
		if !rule.force && !slices.Contains(others, rule.status) {
			others = append(others, rule.status)
		}
	}
	site.WriteString(serverStart)
	writeResponses(site, forced, "!", "")
	site.WriteString(missingStart)
	writeResponses(site, others, "", "    ")
	site.WriteString("    return 404;\n}\n")
}

// writeResponses writes the responses of rules with these statuses.
func writeResponses(site *strings.Builder, statuses []int, force, indent string) {
	slices.Sort(statuses)
	if len(statuses) > 0 {
		fmt.Fprintf(site, "%sset $site_now \"$site_done$site_rule\";\n", indent)
	}
	for _, status := range statuses {
		response := fmt.Sprintf("return %d;", status)
		switch {
		case status == 200:
			response = "rewrite ^ $site_show last;"
		case status < 400:
			response = fmt.Sprintf("return %d $site_to;", status)
		}
		fmt.Fprintf(site, "%sif ($site_now ~ \"^%d%s:\") {\n%s    set $site_done done;\n%s    %s\n%s}\n", indent, status,
			force, indent, indent, response, indent)
	}
}
