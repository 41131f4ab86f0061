package browser

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// Site is a site to visit.
type Site struct {
	// URL is the front page's URL, with a trailing slash.
	URL string
	// Aliases are other URL prefixes of the same site, such as the url in its configuration when it is served elsewhere.
	Aliases []string
	// Client requests links. It must trust the CA of the site's certificate.
	Client *http.Client
	// Dir contains the built site: each HTML page in it is visited.
	Dir string
	// Plain is the URL of a plain server of the same files, or "". Each page in Dir must look the same there as at URL.
	Plain string
	// Pages are paths to visit in addition to the pages in Dir and those that links lead to.
	Pages []string
	// Statuses are the statuses of pages that respond with an error on purpose, by path.
	Statuses map[string]int
	// Unchecked reports whether a path is to be neither visited nor requested. Optional.
	Unchecked func(path string) bool
}

// Report is the result of a crawl.
type Report struct {
	// Visited are the paths of the visited pages, Compared is the number of pages that were compared with the plain
	// server's, and Links is the number of requested URLs.
	Visited  []string
	Compared int
	Links    int
	Problems []string
}

// Crawl visits every page of the built site and every page of the site that a link leads to. It requests every link to
// the site itself: pages, pictures, styles, scripts, and the references in styles, manifests and feeds.
func (b *Browser) Crawl(ctx context.Context, site Site) (Report, error) {
	origin, err := url.Parse(site.URL)
	if err != nil {
		return Report{}, fmt.Errorf("cannot crawl %s: %w", site.URL, err)
	}
	c := &crawl{browser: b, site: site, origin: origin, requested: map[string]*resource{}, visited: map[string]bool{}}
	built, err := Pages(site.Dir)
	if err != nil {
		return Report{}, err
	}
	for _, page := range built {
		c.queue = append(c.queue, todo{path: page, built: true})
	}
	for _, page := range site.Pages {
		c.queue = append(c.queue, todo{path: page})
	}
	for len(c.queue) > 0 {
		next := c.queue[0]
		c.queue = c.queue[1:]
		if err := c.visit(ctx, next); err != nil {
			return c.report, err
		}
	}
	c.report.Links = len(c.requested)
	return c.report, nil
}

// Pages returns the paths of the HTML pages of a built site, escaped as in a URL: /about/ for about/index.html, /about
// for about.html.
func Pages(dir string) ([]string, error) {
	var pages []string
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(name) != ".html" {
			return err
		}
		relative, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		page := "/" + filepath.ToSlash(relative)
		// These are shown for a status and never requested.
		if page == "/404.html" || page == "/410.html" {
			return nil
		}
		if directory, last := path.Split(page); last == "index.html" {
			page = directory
		} else {
			page = strings.TrimSuffix(page, ".html")
		}
		pages = append(pages, (&url.URL{Path: page}).EscapedPath())
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list the pages of %s: %w", dir, err)
	}
	return pages, nil
}

// todo is a page to visit. path includes the query and is escaped.
type todo struct {
	path  string
	built bool
}

// resource is the response to a link.
type resource struct {
	status int
	kind   string
	// ids are an HTML page's targets of fragments.
	ids map[string]bool
	err error
}

type crawl struct {
	browser   *Browser
	site      Site
	origin    *url.URL
	queue     []todo
	visited   map[string]bool
	requested map[string]*resource
	report    Report
}

func (c *crawl) problem(page, format string, args ...any) {
	c.report.Problems = append(c.report.Problems, page+": "+fmt.Sprintf(format, args...))
}

func (c *crawl) unchecked(path string) bool { return c.site.Unchecked != nil && c.site.Unchecked(path) }

func (c *crawl) visit(ctx context.Context, next todo) error {
	if c.visited[pageOf(next.path)] || c.unchecked(next.path) {
		return nil
	}
	c.visited[pageOf(next.path)] = true
	page, err := c.browser.Visit(ctx, c.origin.Scheme+"://"+c.origin.Host+next.path)
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		c.problem(next.path, "%v", err)
		return nil
	}
	c.report.Visited = append(c.report.Visited, next.path)
	expected := http.StatusOK
	if status, ok := c.site.Statuses[next.path]; ok {
		expected = status
	}
	if page.Status != expected {
		c.problem(next.path, "the status is %d and should be %d", page.Status, expected)
	}
	for _, problem := range page.Problems {
		c.problem(next.path, "%s", problem)
	}
	for _, link := range page.Links {
		c.follow(ctx, next.path, link)
	}
	if next.built && c.site.Plain != "" {
		return c.compare(ctx, next.path, page)
	}
	return nil
}

// pageOf returns the canonical path of a page that has several: /about.html and /about are the same file, and so are
// /a%2Bb and /a+b.
func pageOf(path string) string {
	if decoded, err := url.PathUnescape(path); err == nil {
		path = decoded
	}
	path = strings.TrimSuffix(path, "index.html")
	return strings.TrimSuffix(path, ".html")
}

// compare visits the same page on the plain server and compares the screenshots.
func (c *crawl) compare(ctx context.Context, path string, served Page) error {
	plain, err := c.browser.Visit(ctx, strings.TrimSuffix(c.site.Plain, "/")+path)
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		c.problem(path, "on a plain server: %v", err)
		return nil
	}
	if difference := Differ(served.Picture, plain.Picture, DefaultTolerance()); difference != "" {
		c.problem(path, "looks different than on a plain server: %s", difference)
	}
	c.report.Compared++
	return nil
}

// follow requests a link in a page or file if it leads to the site itself.
func (c *crawl) follow(ctx context.Context, from, link string) {
	for _, alias := range c.site.Aliases {
		if strings.HasPrefix(link, alias) {
			link = c.site.URL + strings.TrimPrefix(strings.TrimPrefix(link, alias), "/")
		}
	}
	target, err := url.Parse(link)
	if err != nil {
		c.problem(from, "the link %s is not a URL: %v", link, err)
		return
	}
	if target.Scheme != c.origin.Scheme || target.Host != c.origin.Host || c.unchecked(target.EscapedPath()) {
		return
	}
	fragment := target.Fragment
	target.Fragment, target.RawFragment = "", ""
	found := c.ask(ctx, target)
	expected, onPurpose := c.site.Statuses[target.EscapedPath()]
	switch {
	case found.err != nil:
		c.problem(from, "the link to %s leads nowhere: %v", target, found.err)
	case found.status >= http.StatusBadRequest && (!onPurpose || found.status != expected):
		c.problem(from, "the link to %s is broken: %d", target, found.status)
	case fragment != "" && fragment != "top" && !strings.HasPrefix(fragment, ":~:") && found.ids != nil &&
		!found.ids[fragment]:
		c.problem(from, "the link to %s#%s is broken: the page has no such id", target, fragment)
	}
}

// ask requests a URL once and follows the links in the response.
func (c *crawl) ask(ctx context.Context, target *url.URL) *resource {
	if known := c.requested[target.String()]; known != nil {
		return known
	}
	found := &resource{}
	c.requested[target.String()] = found
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		found.err = err
		return found
	}
	response, err := c.site.Client.Do(request)
	if err != nil {
		found.err = err
		return found
	}
	defer func() { _ = response.Body.Close() }()
	found.status = response.StatusCode
	found.kind, _, _ = mime.ParseMediaType(response.Header.Get("Content-Type"))
	at := response.Request.URL
	if at.Host != c.origin.Host || !textual(found.kind) {
		return found
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		found.err = err
		return found
	}
	if found.kind == "text/html" {
		if found.ids, found.err = ids(string(body)); found.err == nil && found.status < http.StatusBadRequest {
			c.queue = append(c.queue, todo{path: at.RequestURI()})
		}
		return found
	}
	references, err := references(found.kind, string(body))
	if err != nil {
		found.err = fmt.Errorf("cannot read %s as %s: %w", at, found.kind, err)
		return found
	}
	for _, reference := range references {
		absolute, err := at.Parse(reference)
		if err != nil {
			c.problem(at.EscapedPath(), "%s is not a URL: %v", reference, err)
			continue
		}
		c.follow(ctx, at.EscapedPath(), absolute.String())
	}
	return found
}

// textual reports whether a file is searched for references.
func textual(kind string) bool {
	return kind == "text/html" || kind == "text/css" || kind == "application/manifest+json" || isXML(kind)
}

func isXML(kind string) bool {
	return kind == "text/xml" || kind == "application/xml" || strings.HasSuffix(kind, "+xml") && kind != "image/svg+xml"
}

// ids returns the possible targets of fragments in a page.
func ids(page string) (map[string]bool, error) {
	found := map[string]bool{}
	tokens := html.NewTokenizer(strings.NewReader(page))
	for {
		if tokens.Next() == html.ErrorToken {
			if errors.Is(tokens.Err(), io.EOF) {
				return found, nil
			}
			return nil, tokens.Err()
		}
		token := tokens.Token()
		for _, attribute := range token.Attr {
			if attribute.Key == "id" || attribute.Key == "name" && token.Data == "a" {
				found[attribute.Val] = true
			}
		}
	}
}

// references returns the URLs in a style sheet, a manifest, a feed or a sitemap, as written.
func references(kind, text string) ([]string, error) {
	switch {
	case kind == "text/css":
		return styleReferences(text), nil
	case kind == "application/manifest+json":
		return manifestReferences(text)
	case isXML(kind):
		return xmlReferences(text)
	}
	return nil, nil
}

func styleReferences(text string) []string {
	var found []string
	for _, pattern := range []string{
		`url\(\s*"([^"]+)"\s*\)`, `url\(\s*'([^']+)'\s*\)`, `url\(\s*([^"'()\s]+)\s*\)`, `@import\s+["']([^"']+)["']`,
	} {
		for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			if !strings.HasPrefix(match[1], "data:") && !strings.HasPrefix(match[1], "#") {
				found = append(found, match[1])
			}
		}
	}
	return found
}

func manifestReferences(text string) ([]string, error) {
	type picture struct{ Src string }
	var manifest struct {
		StartURL           string `json:"start_url"`
		Icons, Screenshots []picture
		Shortcuts          []struct {
			URL   string
			Icons []picture
		}
	}
	if err := json.Unmarshal([]byte(text), &manifest); err != nil {
		return nil, err
	}
	found := []string{manifest.StartURL}
	for _, picture := range slices.Concat(manifest.Icons, manifest.Screenshots) {
		found = append(found, picture.Src)
	}
	for _, shortcut := range manifest.Shortcuts {
		found = append(found, shortcut.URL)
		for _, picture := range shortcut.Icons {
			found = append(found, picture.Src)
		}
	}
	return slices.DeleteFunc(found, func(reference string) bool { return reference == "" }), nil
}

func xmlReferences(text string) ([]string, error) {
	var found []string
	decoder := xml.NewDecoder(strings.NewReader(text))
	element := ""
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			element = token.Name.Local
			for _, attribute := range token.Attr {
				if name := attribute.Name.Local; name == "href" || name == "src" || name == "url" {
					found = append(found, attribute.Value)
				}
			}
		case xml.EndElement:
			element = ""
		case xml.CharData:
			if content := strings.TrimSpace(string(token)); content != "" && (element == "loc" || element == "link") {
				found = append(found, content)
			}
		}
	}
}
