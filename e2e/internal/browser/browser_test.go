package browser

import (
	"fmt"
	"image"
	"image/color"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testtool"
)

// onePixel is a picture with one green pixel.
const onePixel = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ" +
	"AAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

// healthySite returns a site without problems.
func healthySite() map[string]string {
	return map[string]string{
		"index.html": `<!doctype html><html lang="en"><head><title>Front</title><link rel="stylesheet" href="/site.css"><link rel="alternate" type="application/atom+xml" href="/feed.xml"></head>
			<body><h1 id="top-of-it">Front</h1><p style="color: rgb(0, 90, 0)">Text</p><img src="` + onePixel + `" alt="">
			<a href="/about">About</a><a href="#top-of-it">Up</a><a href="https://elsewhere.example/">Elsewhere</a>
			<iframe src="https://player.example/embed" width="100" height="50" title="A player"></iframe><script>document.title = "Front page"</script></body></html>`,
		"about/index.html": `<!doctype html><html lang="en"><head><title>About</title></head><body><h2 id="who">Who</h2><a href="../#top-of-it">Front</a></body></html>`,
		"site.css":         `body { background: url("/dot.svg") }`,
		"dot.svg":          `<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"><circle cx="2" cy="2" r="1" fill="#ddd"/></svg>`,
		"feed.xml":         `<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom"><entry><link href="https://www.site.example/about/#who"/></entry></feed>`,
	}
}

// write creates a site from files.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	}
	return dir
}

// TestCrawlReportsWhatVisitorsWouldSee breaks a healthy site in various ways.
func TestCrawlReportsWhatVisitorsWouldSee(t *testing.T) {
	if !Installed() {
		testtool.Missing(t, "Chromium is not installed here: run make tools")
	}
	browser, stop, err := Start(t.Context(),
		Options{Others: map[string]string{"https://player.example/": "<!doctype html><title>Player</title><p>Player</p>"}})
	require.NoError(t, err)
	t.Cleanup(stop)

	const front = "index.html"
	for name, c := range map[string]struct {
		file, old, new string
		// header is sent with each response of the served site, but not by the plain server.
		header map[string]string
		// found are texts that the problems must contain. Empty means no problems.
		found []string
	}{
		"nothing is wrong": {},
		"a policy that blocks scripts": {header: map[string]string{"Content-Security-Policy": "script-src 'none'"},
			found: []string{"/: security: ", "inline script"}},
		"a policy that blocks inline styles": {header: map[string]string{"Content-Security-Policy": "style-src 'self'"},
			found: []string{"/: security: ", "inline style", "/: looks different than on a plain server"}},
		"a policy that blocks data: pictures": {header: map[string]string{"Content-Security-Policy": "img-src 'self'"},
			found: []string{"/: blocked (csp): Image data:"}},
		"a policy that blocks a player": {header: map[string]string{"Content-Security-Policy": "frame-src 'self'"},
			found: []string{"/: security: Framing 'https://player.example/' violates"}},
		"a blocked script": {file: front, old: `<script>`, new: `<script src="/app.js"></script><script>`,
			header: map[string]string{"Content-Security-Policy": "script-src 'unsafe-inline'"},
			found:  []string{"/: blocked (csp): Script ", "/app.js"}},
		"a script of the wrong type": {file: front, old: `<script>`,
			new:   `<script src="/feed.xml?js" type="module"></script><script>`,
			found: []string{"/: javascript: Failed to load module script"}},
		"an error on the console": {file: front, old: `document.title = "Front page"`,
			new:   `console.error("out of", {cheese: 1})`,
			found: []string{"/: console: out of Object"}},
		"an exception": {file: front, old: `document.title = "Front page"`, new: `nothing.at.all()`,
			found: []string{"/: exception: Uncaught ReferenceError: nothing is not defined"}},
		"an unhandled rejection": {file: front, old: `document.title = "Front page"`,
			new:   `Promise.reject(new Error("no index"))`,
			found: []string{"/: exception: Uncaught (in promise) Error: no index"}},
		"a missing picture": {file: front, old: onePixel, new: "/gone.png",
			found: []string{"/: 404: Image ", "/: the link to ", "/gone.png is broken: 404"}},
		"an invalid picture": {file: front, old: onePixel, new: "/about/",
			found: []string{"/: picture: ", "/about/ cannot be decoded"}},
		"an invalid font": {file: "site.css", old: `body {`,
			new:   `@font-face { font-family: Own; src: url(/dot.svg) } body { font-family: Own;`,
			found: []string{"/: font: Own did not load"}},
		"a request that fails": {file: front, old: `document.title = "Front page"`,
			new:   `fetch("/search.json").then((a) => a.json()).catch(() => {})`,
			found: []string{"/: 404: Fetch ", "/search.json"}},
		"a broken link": {file: front, old: `href="/about"`, new: `href="/imprint/"`,
			found: []string{"/: the link to ", "/imprint/ is broken: 404"}},
		"a fragment that leads nowhere": {file: front, old: `href="/about"`, new: `href="/about/#whom"`,
			found: []string{"/: the link to ", "/about/#whom is broken: the page has no such id"}},
		"a picture for other screens that is missing": {file: front, old: `<img `,
			new:   `<img srcset="` + "/dot.svg 1x, /large.svg 9x" + `" `,
			found: []string{"/: the link to ", "/large.svg is broken: 404"}},
		"a picture that a style misses": {file: "site.css", old: `body {`,
			new:   `.unused { background: url('/unused.svg') } body {`,
			found: []string{"/site.css: the link to ", "/unused.svg is broken: 404"}},
		"a feed that leads nowhere": {file: "feed.xml", old: `/about/#who`, new: `/abuot/`,
			found: []string{"/feed.xml: the link to ", "/abuot/ is broken: 404"}},
		"a feed that is not XML": {file: "feed.xml", old: `</entry>`, new: ``,
			found: []string{"cannot read ", "feed.xml as text/xml"}},
		"a page of another host that is unreachable": {file: front, old: `https://player.example/embed`,
			new:   `https://localhost:9/embed`,
			found: []string{"/: failed (net::ERR_", "Document https://localhost:9/embed"}},
		"an error page": {header: map[string]string{"X-Status": "503"},
			found: []string{"/: the status is 503 and should be 200"}},
		"another color": {header: map[string]string{"X-Replace": "rgb(0, 90, 0)"},
			found: []string{"/: looks different than on a plain server: ", "pixels differ"}},
		"a longer page": {header: map[string]string{"X-Replace": "<p style"},
			found: []string{"/: looks different than on a plain server: the picture is "}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := healthySite()
			if c.file != "" {
				require.Contains(t, files[c.file], c.old)
				files[c.file] = strings.Replace(files[c.file], c.old, c.new, 1)
			}
			dir := write(t, files)
			plain := httptest.NewServer(FileServer(dir))
			t.Cleanup(plain.Close)
			served := httptest.NewServer(withHeaders(FileServer(dir), c.header))
			t.Cleanup(served.Close)

			compared := plain.URL
			if c.file != "" {
				compared = "" // both would be broken in the same way
			}
			report, err := browser.Crawl(t.Context(), Site{
				URL: served.URL + "/", Plain: compared, Dir: dir, Client: served.Client(),
				Aliases: []string{"https://www.site.example/"},
			})
			require.NoError(t, err)
			problems := strings.ReplaceAll(strings.Join(report.Problems, "\n"), served.URL, "")
			if c.found == nil {
				require.Empty(t, problems)
				require.ElementsMatch(t, []string{"/", "/about/"}, report.Visited)
				require.Equal(t, 2, report.Compared)
				require.GreaterOrEqual(t, report.Links, 5)
				return
			}
			for _, problem := range c.found {
				require.Contains(t, problems, problem)
			}
		})
	}
}

// withHeaders returns a server that adds headers to its responses, except for X-Status and X-Replace, which change
// them.
func withHeaders(handler http.Handler, header map[string]string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorded := httptest.NewRecorder()
		handler.ServeHTTP(recorded, r)
		for name, values := range recorded.Header() {
			w.Header()[name] = values
		}
		body, status := recorded.Body.String(), recorded.Code
		for name, value := range header {
			switch name {
			case "X-Status":
				status = http.StatusServiceUnavailable
			case "X-Replace":
				body = strings.Replace(body, value, map[string]string{
					"rgb(0, 90, 0)": "rgb(90, 0, 0)", "<p style": "<p>More</p><div style='height: 2000px'></div><p style",
				}[value], 1)
				w.Header().Del("Content-Length")
			default:
				w.Header().Set(name, value)
			}
		}
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, body) // the browser may have closed the connection
	})
}

func TestDifferCountsPixelsBeyondTheTolerance(t *testing.T) {
	picture := func(change func(*image.RGBA)) image.Image {
		one := image.NewRGBA(image.Rect(0, 0, 100, 100))
		if change != nil {
			change(one)
		}
		return one
	}
	plain := picture(nil)
	for name, c := range map[string]struct {
		other image.Image
		found string
	}{
		"the same":            {picture(nil), ""},
		"a little darker":     {picture(func(p *image.RGBA) { p.Set(1, 1, color.RGBA{R: 8}) }), ""},
		"one pixel in 10,000": {picture(func(p *image.RGBA) { p.Set(1, 1, color.RGBA{R: 9}) }), ""},
		"two pixels": {
			picture(func(p *image.RGBA) { p.Set(3, 1, color.RGBA{G: 9}); p.Set(4, 1, color.RGBA{B: 9}) }),
			"2 of 10000 pixels differ, the first at (3,1)",
		},
		"another size": {
			image.NewRGBA(image.Rect(0, 0, 100, 101)), "the picture is (100,100) and should be (100,101) pixels",
		},
		"another format": {image.NewNRGBA(image.Rect(0, 0, 100, 100)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			found := Differ(plain, c.other, DefaultTolerance())
			if c.found == "" {
				require.Empty(t, found)
				return
			}
			require.Contains(t, found, c.found)
		})
	}
}

func TestFileServerBehavesLikeStaticHosts(t *testing.T) {
	files := healthySite()
	maps.Copy(files, map[string]string{
		"colophon.html": "colophon", "404.html": "not here", "a.mjs": "1", "b.webmanifest": "{}", "c.php": "<?php secret",
		"_headers": "/*", "plain": "no extension",
	})
	server := httptest.NewServer(FileServer(write(t, files)))
	t.Cleanup(server.Close)
	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for path, c := range map[string]struct {
		status               int
		location, kind, body string
	}{
		"/about?a=1":     {status: 301, location: "/about/?a=1"},
		"/about/":        {status: 200, kind: "text/html; charset=utf-8"},
		"/colophon":      {status: 200, kind: "text/html; charset=utf-8", body: "colophon"},
		"/colophon.html": {status: 200, body: "colophon"},
		"/a.mjs":         {status: 200, kind: "text/javascript; charset=utf-8"},
		"/b.webmanifest": {status: 200, kind: "application/manifest+json"},
		"/plain":         {status: 200, body: "no extension"},
		"/c.php":         {status: 404, body: "not here"},
		"/_headers":      {status: 404, body: "not here"},
		"/../secret":     {status: 404, body: "not here"},
	} {
		t.Run(path, func(t *testing.T) {
			response, err := client.Get(server.URL + path)
			require.NoError(t, err)
			defer response.Body.Close()
			require.Equal(t, c.status, response.StatusCode)
			require.Equal(t, c.location, response.Header.Get("Location"))
			if c.kind != "" {
				require.Equal(t, c.kind, response.Header.Get("Content-Type"))
			}
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			if c.body != "" {
				require.Equal(t, c.body, string(body))
			}
		})
	}
}
