// Package rules is what a site says about how it is served: the files _headers and _redirects at
// its top, in the syntax that Netlify and Cloudflare Pages document. The build checks them, and
// the agent on a server renders them as nginx's configuration of one release.
package rules

// Names of the files, at the top of a site. They are part of a release and are not served.
const (
	HeadersFile   = "_headers"
	RedirectsFile = "_redirects"
)

// Rules are the rules of one site. The zero value has none.
type Rules struct{}

// Parse reads the text of _headers and of _redirects; nil stands for a file that is missing. The
// error names every problem: the file, its line, what is wrong and what to write.
func Parse(headers, redirects []byte) (Rules, error) { return Rules{}, nil }

// Warnings are the rules that have no effect in a site with these files, one line each: a redirect
// from a page that exists, which is served instead, or a rule that an earlier one hides. exists
// reports whether the site has the file of a slash-separated path.
func (r Rules) Warnings(exists func(name string) bool) []string { return nil }

// Server is what a server decides about the release that it serves.
type Server struct {
	// Root is the directory of the release's files, such as /srv/site/releases/0123456789abcdef/site.
	Root string
	// HSTS is the value of Strict-Transport-Security, or "" for none.
	HSTS string
}

// NGINX renders the rules as two files that nginx.conf includes, by their names: http.conf in the
// context http, and server.conf in the context server. The text depends on the arguments alone.
func (r Rules) NGINX(server Server) map[string]string { return nil }
