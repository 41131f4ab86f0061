package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/e2e/internal/browser"
)

const (
	// servedLimit is the maximum time from the end of the upload until visitors get the new release.
	servedLimit = 15 * time.Second
	// edits is the number of measured edits.
	edits = 10
	// secretInSource is in the source of a PHP page but must not be in any response.
	secretInSource = "swordfish-is-not-for-visitors"

	relayName     = "mail." + siteName
	relayUser     = "noreply@" + siteName
	relayPassword = "a relay's password"
)

// sitesStack returns the deployment that these tests change. Each test restores it at its end.
func sitesStack(t *testing.T) *project {
	t.Helper()
	if os.Getenv("E2E") != "sites" {
		t.Skip("needs a local cloud that is up, and changes its site for a quarter of an hour: make test-sites")
	}
	p := root(t)
	p.loadEnv(t)
	return p
}

// step runs a part of a test and logs how long it took.
func step(t *testing.T, name string, part func()) {
	t.Helper()
	start := time.Now()
	part()
	t.Logf("%6.1f s  %s", time.Since(start).Seconds(), name)
}

// configure sets a value in the configuration of a copy.
func (p *project) configure(t *testing.T, key, value string, flags ...string) {
	t.Helper()
	p.must(t, time.Minute, "pulumi",
		slices.Concat([]string{"config", "set", "--stack", "local", "--non-interactive"}, flags,
			[]string{"--", key, value})...)
}

// deploys requires that an update succeeds and that visitors get its release when it ends.
func (p *project) deploys(t *testing.T, what string) result {
	t.Helper()
	var up result
	step(t, "pulumi up: "+what, func() { up = p.pulumiUp(t) })
	require.NoError(t, up.err, up.String())
	out := p.outputs(t)
	server, release := p.served(t)
	require.Equal(t, out.ServerID, server)
	require.Equal(t, out.Release, release, "visitors get the new release when the update ends")
	return up
}

// noChange requires that a preview finds no changes.
func (p *project) noChange(t *testing.T) {
	t.Helper()
	step(t, "pulumi preview --expect-no-changes", func() {
		preview := p.run(t, 5*time.Minute, "pulumi", "preview", "--expect-no-changes", "--stack", "local",
			"--non-interactive")
		require.NoError(t, preview.err, preview.String())
	})
}

// TestSites deploys each of the sites that resemble real ones and visits every page. SITES selects sites, such as
// SITES=theme,forms. Default: all.
func TestSites(t *testing.T) {
	p := sitesStack(t)
	checks := map[string]func(t *testing.T, p, checkout *project, source string){
		"theme": themeChecks, "blog": blogChecks, "docs": docsChecks, "photos": photosChecks,
		"unicode": unicodeChecks, "pwa": pwaChecks, "parent": parentChecks, "forms": formsChecks,
	}
	chosen := os.Getenv("SITES")
	for _, site := range realSites() {
		if chosen != "" && !slices.Contains(strings.Split(chosen, ","), site.name) {
			continue
		}
		t.Run(site.name, func(t *testing.T) {
			checkout, source := site.checkout(t, p)
			checkout.deploys(t, site.name)
			// All resources of a page are shown.
			site.visited(t, p)
			checks[site.name](t, p, checkout, source)
		})
	}
	t.Run("the example site again", func(t *testing.T) {
		p.deploys(t, "the example site")
		p.converged(t)
	})
}

// checkout returns a copy of the project that deploys the site, and the directory of the site.
func (s realSite) checkout(t *testing.T, p *project) (checkout *project, source string) {
	t.Helper()
	source = t.TempDir()
	s.copyTo(t, source)
	if s.name == "parent" {
		// The program is in a folder in the blog's repository.
		program := filepath.Join(source, "_infra")
		require.NoError(t, os.Mkdir(program, 0o755))
		checkout = p.copyTo(t, program)
		checkout.configure(t, "siteDir", "..")
	} else {
		checkout = p.copy(t)
		checkout.configure(t, "siteDir", source)
	}
	if s.build != "" {
		checkout.configure(t, "buildCommand", s.build)
	}
	return checkout, source
}

// built returns the directory of the site that the last update built.
func (p *project) built() string { return filepath.Join(p.dir, ".build", "local", "site") }

// visited requires that every page of the deployed site looks in a browser as on a plain file server, and has no
// problems.
func (s realSite) visited(t *testing.T, p *project) {
	t.Helper()
	plain := httptest.NewServer(browser.FileServer(p.built()))
	defer plain.Close()
	visitor, stop, err := browser.Start(t.Context(), browser.Options{Home: p.trustingHome(t), Others: s.others})
	require.NoError(t, err)
	defer stop()
	client := p.client(t, 40*time.Second)
	client.CheckRedirect = nil // the links of a page may be redirects
	var report browser.Report
	step(t, "a browser visits every page", func() {
		report, err = visitor.Crawl(t.Context(), browser.Site{
			URL: siteURL + "/", Client: client, Dir: p.built(), Plain: plain.URL, Pages: s.pages, Statuses: s.statuses,
		})
	})
	require.NoError(t, err)
	require.Empty(t, report.Problems)
	require.NotZero(t, report.Compared)
	t.Logf("          %d pages visited, %d compared pixel by pixel, %d links requested", len(report.Visited),
		report.Compared, report.Links)
}

// answer is a response to a visitor.
type answer struct {
	status int
	header http.Header
	body   string
}

// kind returns the media type without its parameters.
func (a answer) kind(t *testing.T) string {
	t.Helper()
	kind, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	require.NoError(t, err, a.header.Get("Content-Type"))
	return kind
}

// location returns the target of a redirect as browsers resolve it.
func (a answer) location(t *testing.T, from string) string {
	t.Helper()
	text := a.header.Get("Location")
	if text == "" {
		return ""
	}
	for _, letter := range text {
		require.True(t, letter > ' ' && letter < 0x7f, "a Location must be ASCII: %q", text)
	}
	base, err := url.Parse(siteURL + from)
	require.NoError(t, err)
	target, err := base.Parse(text)
	require.NoError(t, err)
	return strings.TrimPrefix(target.String(), siteURL)
}

// fetch requests a path unchanged, with its escapes and dots.
func (p *project) fetch(t *testing.T, path string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, siteURL+path, nil)
	require.NoError(t, err)
	return do(t, p.client(t, 40*time.Second), request)
}

func do(t *testing.T, client *http.Client, request *http.Request) answer {
	t.Helper()
	response, err := client.Do(request)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return answer{status: response.StatusCode, header: response.Header, body: string(body)}
}

// redirect is the expected response to a path. The target is escaped; without it, only the status is checked.
type redirect struct {
	path   string
	status int
	target string
}

func (p *project) redirects(t *testing.T, expected []redirect) {
	t.Helper()
	for _, r := range expected {
		got := p.fetch(t, r.path)
		require.Equal(t, r.status, got.status, "%s: %v", r.path, got.header)
		if r.target != "" {
			require.Equal(t, r.target, got.location(t, r.path), r.path)
		}
	}
}

// kinds requires that paths are served with media types.
func (p *project) kinds(t *testing.T, expected map[string]string) {
	t.Helper()
	for path, kind := range expected {
		got := p.fetch(t, path)
		require.Equal(t, http.StatusOK, got.status, path)
		require.Equal(t, kind, got.kind(t), path)
		require.Equal(t, "nosniff", got.header.Get("X-Content-Type-Options"), path)
	}
}

// rulesHidden requires that the files with the rules are not served.
func (p *project) rulesHidden(t *testing.T) {
	t.Helper()
	for _, path := range []string{"/_headers", "/_redirects"} {
		require.Equal(t, http.StatusNotFound, p.fetch(t, path).status, path)
	}
}

func themeChecks(t *testing.T, p, _ *project, _ string) {
	t.Run("the site's own headers are sent", func(t *testing.T) {
		front := p.fetch(t, "/")
		require.Equal(t, []string{
			"default-src 'self'; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
				"frame-src https://player.example",
		}, front.header.Values("Content-Security-Policy"))
		require.Equal(t, "Fern & Quill", front.header.Get("X-Workshop"))
		require.Equal(t, "camera=(), microphone=()", strings.Join(front.header.Values("Permissions-Policy"), ", "),
			"values of one name are joined")
		require.Equal(t, "</assets/css/main.css>; rel=preload; as=style", p.fetch(t, "/colophon").header.Get("Link"))
		project := p.fetch(t, "/projects/broadside/")
		require.Equal(t, "yes", project.header.Get("X-Project"), "a placeholder matches one segment")
		require.Empty(t, project.header.Get("X-Workshop"), "a header is detached by !")
		require.Empty(t, p.fetch(t, "/projects/").header.Get("X-Project"))
		font := p.fetch(t, "/assets/fonts/text-regular.woff2")
		require.Equal(t, "*", font.header.Get("Access-Control-Allow-Origin"), "a splat matches everything below")
		require.Equal(t, []string{"public, max-age=31536000, immutable"}, font.header.Values("Cache-Control"))
		missing := p.fetch(t, "/no/such/page")
		require.Equal(t, http.StatusNotFound, missing.status)
		require.Equal(t, "Fern & Quill", missing.header.Get("X-Workshop"), "a missing page also has the site's headers")
		require.Contains(t, missing.body, "Not here")
	})
	t.Run("HSTS concerns the site alone", func(t *testing.T) {
		hsts := p.fetch(t, "/").header.Get("Strict-Transport-Security")
		require.Regexp(t, `^max-age=\d+$`, hsts)
	})
	t.Run("addresses are as on static hosts", func(t *testing.T) {
		p.redirects(t, []redirect{
			{"/about", 301, "/about/"}, {"/about?from=here", 301, "/about/?from=here"},
			{"/projects/broadside", 301, "/projects/broadside/"},
		})
		require.Contains(t, p.fetch(t, "/colophon").body, "<h1>Colophon</h1>")
		require.Equal(t, http.StatusOK, p.fetch(t, "/about/pic.png").status)
	})
	t.Run("files have their media types", func(t *testing.T) {
		p.kinds(t, map[string]string{
			"/notes.md": "text/markdown", "/.well-known/matrix/client": "application/json",
			"/.well-known/apple-app-site-association": "application/json",
			"/.well-known/security.txt":               "text/plain", "/assets/fonts/text-regular.woff2": "font/woff2",
			"/search.json": "application/json", "/assets/icon.svg": "image/svg+xml",
		})
	})
	t.Run("redirects lead where the site says", func(t *testing.T) {
		p.redirects(t, []redirect{
			{"/work", 301, "/projects/"}, {"/work/broadside/", 301, "/projects/broadside/"},
			{"/paper/walnut-ink", 302, "/projects/walnut-ink/"},
			{"/elsewhere", 307, "https://example.org/press?from=here"}, {"/press", 200, ""}, {"/shop/cart", 404, ""},
		})
		found := p.fetch(t, "/find")
		require.Equal(t, "/search/?q=ink", found.location(t, "/find"))
		require.Contains(t, p.fetch(t, "/press").body, "<h1>About</h1>", "a rewrite shows the other page at this address")
	})
	t.Run("the rules are not served", func(t *testing.T) { p.rulesHidden(t) })
	t.Run("there is no monitoring without Grafana", func(t *testing.T) {
		out := p.outputs(t)
		status := p.must(t, time.Minute, "curl", "-sS", "--insecure", "-o", "/dev/null", "-w", "%{http_code}",
			"--connect-to", "::"+out.VIP+":443", "https://monitoring."+siteName+"/")
		require.Equal(t, "404", status)
		require.NotContains(t, p.certificate(t, siteName).DNSNames, "monitoring."+siteName)
	})
	t.Run("dotfiles are not served", func(t *testing.T) {
		for _, path := range []string{"/.git/config", "/.env", "/.jekyll-cache/", "/.well-known/../.env", "/%2eenv"} {
			require.Equal(t, http.StatusNotFound, p.fetch(t, path).status, path)
		}
	})
}

func blogChecks(t *testing.T, p, _ *project, _ string) {
	t.Run("redirects are well-formed, encoded or not in the file", func(t *testing.T) {
		p.redirects(t, []redirect{
			{"/rss.xml", 301, "/feed.xml"}, {"/u/", 302, "/%C3%BCber/"}, {"/caf%C3%A9/", 301, "/about/"},
			{"/caf%c3%a9/", 301, "/about/"},
			{"/caf%C3%A9-au-lait/", 301, "/about/"}, {"/news/2026/keys-of-ash", 301, "/2026/04/20/keys-of-ash/"},
			{"/archive/2026/04/20/keys-of-ash/", 301, "/2026/04/20/keys-of-ash/"},
			{"/latest", 200, ""}, {"/feed", 200, ""}, {"/shop", 410, ""},
		})
		got := p.fetch(t, "/q/?utm=1")
		require.Equal(t, 301, got.status)
		target, err := url.Parse(got.location(t, "/q/"))
		require.NoError(t, err)
		require.Equal(t, "/2026/04/20/keys-of-ash/", target.Path)
		require.Equal(t, "1", target.Query().Get("a"), "%s", target)
	})
	t.Run("PHP redirects old bookmarks", func(t *testing.T) {
		p.redirects(t, []redirect{
			{"/go/?p=12", 301, "/2025/11/02/a-table-of-teas/"}, {"/go/?p=99", 404, ""},
			{"/old/12.php", 302, "/2025/11/02/a-table-of-teas/"},
		})
	})
	t.Run("an embargo holds", func(t *testing.T) {
		require.Equal(t, http.StatusNotFound, p.fetch(t, "/2099/01/02/embargo/").status)
	})
	t.Run("a date with a zone has one address", func(t *testing.T) {
		require.Equal(t, http.StatusOK, p.fetch(t, "/2026/03/01/half-past-midnight/").status)
	})
}

func docsChecks(t *testing.T, p, checkout *project, _ string) {
	t.Run("old versions lead to the new one", func(t *testing.T) {
		p.redirects(t, []redirect{
			{"/docs/guide/start/install/", 301, "/manual/guide/start/install/"},
			{"/v1/start/first-run", 302, "/manual/guide/start/first-run/"},
			{"/manual/install", 301, "/manual/guide/start/install/"}, {"/manual", 301, "/manual/"},
		})
	})
	t.Run("later headers replace those that were detached", func(t *testing.T) {
		require.Equal(t, []string{"public, max-age=60"}, p.fetch(t, "/manual/").header.Values("Cache-Control"))
		require.Equal(t, []string{"public, max-age=3600"},
			p.fetch(t, "/manual/assets/css/docs.css").header.Values("Cache-Control"))
		require.Equal(t, "noai", p.fetch(t, "/manual/guide/start/install/").header.Get("X-Robots-Tag"))
		require.Empty(t, p.fetch(t, "/").header.Get("X-Robots-Tag"))
	})
	t.Run("the site's own link checker stops a deployment", func(t *testing.T) {
		source := realSite{name: "docs"}
		broken := t.TempDir()
		source.copyTo(t, broken)
		require.NoError(t, os.Remove(filepath.Join(broken, "reference", "limits.md")))
		checkout.configure(t, "siteDir", broken)
		before := p.outputs(t)
		up := checkout.pulumiUp(t)
		require.Error(t, up.err, up.String())
		require.Contains(t, up.stdout+up.stderr, "reference/limits/#hard-limits")
		_, release := p.served(t)
		require.Equal(t, before.Release, release)
	})
}

func photosChecks(t *testing.T, p, _ *project, source string) {
	t.Run("files have their media types", func(t *testing.T) {
		p.kinds(t, map[string]string{
			"/media/waves.vtt": "text/vtt", "/media/waves.webm": "video/webm", "/media/dune.webp": "image/webp",
			"/photos/all.zip": "application/zip", "/photos/dune.jpg": "image/jpeg",
		})
		require.Regexp(t, `^audio/(x-|vnd\.)?wave?$`, p.fetch(t, "/media/waves.wav").kind(t))
	})
	t.Run("a player gets the part that it asks for", func(t *testing.T) {
		whole, err := os.ReadFile(filepath.Join(source, "media", "waves.wav"))
		require.NoError(t, err)
		for asked, part := range map[string][]byte{
			"bytes=1000000-1000099": whole[1000000:1000100],
			"bytes=-44":             whole[len(whole)-44:],
		} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, siteURL+"/media/waves.wav", nil)
			require.NoError(t, err)
			request.Header.Set("Range", asked)
			got := do(t, p.client(t, 20*time.Second), request)
			require.Equal(t, http.StatusPartialContent, got.status)
			require.Equal(t, string(part), got.body, asked)
		}
	})
	t.Run("a large file arrives whole over HTTP/2", func(t *testing.T) {
		expected, err := os.ReadFile(filepath.Join(source, "photos", "all.zip"))
		require.NoError(t, err)
		file := filepath.Join(t.TempDir(), "all.zip")
		version := p.must(t, time.Minute, "curl", "-sS", "--http2", "--fail", "--cacert", p.authority(), "-o", file, "-w",
			"%{http_version}", "--limit-rate", "2M", siteURL+"/photos/all.zip")
		require.Equal(t, "2", version)
		got, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, sha256.Sum256(expected), sha256.Sum256(got))
	})
}

func unicodeChecks(t *testing.T, p, checkout *project, source string) {
	t.Run("each file is served under its own name", func(t *testing.T) {
		files := 0
		require.NoError(t, filepath.WalkDir(p.built(), func(path string, entry os.DirEntry, err error) error {
			relative, relativeErr := filepath.Rel(p.built(), path)
			require.NoError(t, relativeErr)
			if err != nil || entry.IsDir() || strings.HasPrefix(relative, "_") || relative == "404.html" {
				return err
			}
			files++
			expected, err := os.ReadFile(path)
			require.NoError(t, err)
			escaped := (&url.URL{Path: "/" + filepath.ToSlash(relative)}).EscapedPath()
			got := p.fetch(t, escaped)
			require.Equal(t, http.StatusOK, got.status, escaped)
			require.Equal(t, string(expected), got.body, escaped)
			return nil
		}))
		require.Greater(t, files, 2*len(unicodeNames()))
	})
	t.Run("redirects have ASCII addresses", func(t *testing.T) {
		p.redirects(t, []redirect{
			{"/strasse", 301, "/Stra%C3%9Fe.html"}, {"/stra%C3%9Fe", 302, "/Stra%C3%9Fe.html"},
			{"/%E6%97%A5%E6%9C%AC", 301, "/%E6%97%A5%E6%9C%AC%E8%AA%9E.html"},
			{"/alt/two%20words.html", 301, "/two%20words.html"}, {"/alt/what%3F.html", 301, "/what%3F.html"},
		})
		got := p.fetch(t, "/caf%C3%A9")
		target, err := url.Parse(got.location(t, "/caf%C3%A9"))
		require.NoError(t, err)
		require.Equal(t, "/über.html", target.Path)
		require.Equal(t, url.Values{"wo": {"Café"}, "q": {"a b"}}, target.Query())
	})
	t.Run("headers are by any name", func(t *testing.T) {
		require.Equal(t, "kanji", p.fetch(t, "/%E6%97%A5%E6%9C%AC%E8%AA%9E.html").header.Get("X-Schrift"))
		require.Equal(t, "public, max-age=3600", p.fetch(t, "/Bilder/what%3F.svg").header.Get("Cache-Control"))
	})
	t.Run("a file renamed from NFD to NFC", func(t *testing.T) {
		const decomposed, composed = "/Cafe%CC%81.html", "/Caf%C3%A9.html"
		require.Equal(t, http.StatusOK, p.fetch(t, decomposed).status)
		require.Equal(t, http.StatusNotFound, p.fetch(t, composed).status)
		require.NoError(t, os.Rename(filepath.Join(source, "Cafe\u0301.md"), filepath.Join(source, "Caf\u00e9.md")))
		checkout.deploys(t, "a file renamed from NFD to NFC")
		require.Equal(t, http.StatusOK, p.fetch(t, composed).status)
		require.Equal(t, http.StatusNotFound, p.fetch(t, decomposed).status)
	})
}

func pwaChecks(t *testing.T, p, _ *project, _ string) {
	t.Run("files have their media types", func(t *testing.T) {
		p.kinds(t, map[string]string{
			"/app/main.mjs": "text/javascript", "/manifest.webmanifest": "application/manifest+json",
			"/app/add.wasm": "application/wasm", "/sw.js": "text/javascript",
		})
	})
	t.Run("the service worker is active and has what is shown offline", func(t *testing.T) {
		visitor, stop, err := browser.Start(t.Context(), browser.Options{Home: p.trustingHome(t)})
		require.NoError(t, err)
		defer stop()
		cached, err := visitor.Evaluate(t.Context(), siteURL+"/",
			`navigator.serviceWorker.ready.then(() => caches.match('/offline.html')).then((page) => page.text())`)
		require.NoError(t, err)
		require.Contains(t, cached, "High and dry")
		controlled, err := visitor.Evaluate(t.Context(), siteURL+"/table.html",
			`navigator.serviceWorker.controller.scriptURL`)
		require.NoError(t, err)
		require.Equal(t, siteURL+"/sw.js", controlled)
		require.Equal(t, "no-cache", p.fetch(t, "/sw.js").header.Get("Cache-Control"))
		require.Equal(t, "/", p.fetch(t, "/sw.js").header.Get("Service-Worker-Allowed"))
	})
}

func parentChecks(t *testing.T, p, checkout *project, _ string) {
	t.Run("the program is no part of the site", func(t *testing.T) {
		checkout.noChange(t)
		for _, path := range []string{"/_infra/", "/_infra/main.go", "/_infra/Pulumi.local.yaml", "/_infra/site/about.md"} {
			require.Equal(t, http.StatusNotFound, p.fetch(t, path).status, path)
		}
		writeFile(t, filepath.Join(checkout.dir, "notes.txt"), []byte("of the operator"))
		checkout.noChange(t)
	})
}

// configureMail sends PHP's mail to this machine.
func (p *project) configureMail(t *testing.T) {
	t.Helper()
	p.configure(t, "dnsRecords[2].name", relayName, "--path")
	p.configure(t, "dnsRecords[2].type", "A", "--path")
	p.configure(t, "dnsRecords[2].values[0]", machineAddress, "--path")
	// The example forbids all mail.
	p.configure(t, "dnsRecords[1].values[0]", "v=spf1 a:"+relayName+" -all", "--path")
	p.configure(t, "smtpHost", relayName)
	p.configure(t, "smtpPort", "587")
	p.configure(t, "smtpUser", relayUser)
	p.configure(t, "smtpFrom", relayUser)
	p.configure(t, "smtpPassword", relayPassword, "--secret")
}

func formsChecks(t *testing.T, p, checkout *project, _ string) {
	t.Run("the source of PHP is never sent", func(t *testing.T) { phpSourceHidden(t, p) })
	t.Run("a missing page does not wait for PHP", func(t *testing.T) { missingPageAtOnce(t, p) })
	t.Run("PHP has what sites use", func(t *testing.T) { phpAsPeopleUseIt(t, p) })
	t.Run("a server is replaced though pages fail on purpose", func(t *testing.T) {
		before := p.outputs(t)
		checkout.configureMail(t)
		checkout.deploys(t, "a mail relay, with pages that answer 500, 503 and 405, and one that sleeps")
		require.NotEqual(t, before.ServerID, p.outputs(t).ServerID)
		for path, status := range map[string]int{
			"/api/busy.php":   503,
			"/api/post.php":   405,
			"/api/broken.php": 500,
			"/api/slow.php":   200,
		} {
			require.Equal(t, status, p.fetch(t, path).status, path)
		}
	})
	t.Run("mail goes by the relay", func(t *testing.T) { mailArrives(t, p) })
	t.Run("a server whose PHP is broken does not go live", func(t *testing.T) {
		before := p.outputs(t)
		// PHP-FPM starts and answers its ping, but every script fails.
		checkout.declare(t, func(c cloudConfig) {
			c.write("/opt/site/fault.ini", "auto_prepend_file = /nowhere.php\n")
			c.override("services: {php: {volumes: [\"./fault.ini:/etc/php/8.4/fpm/conf.d/99-fault.ini:ro\"]}}\n")
		})
		checkout.configure(t, "provisioningTimeout", strconv.Itoa(brokenTimeout))
		var up result
		step(t, "pulumi up: a server whose PHP is broken", func() { up = checkout.pulumiUp(t) })
		require.Error(t, up.err, up.String())
		t.Log(lineOf(t, diagnostics(t, up), `php +not ok`))
		server, _ := p.served(t)
		require.Equal(t, before.ServerID, server, "the old server serves")
		require.Contains(t, p.fetch(t, "/api/visits.php").body, "Visit 1")
	})
}

// phpSourceHidden requests the source of PHP pages with every spelling that has ever worked on some server.
func phpSourceHidden(t *testing.T, p *project) {
	// contact.php responds with 422 or 200, but never with its source.
	for _, name := range []string{"api/contact.php", "inc/clinic.php", "api/broken.php"} {
		stem, extension, _ := strings.Cut(name, ".")
		for _, path := range []string{
			"/" + name, "//" + name, "/./" + name, "/" + name + "/", "/" + name + "/x", "/" + name + ".", "/" + name + "%20",
			"/" + name + "%00", "/" + name + "~", "/" + name + "::$DATA",
			"/" + stem + "-0123456789abcdef." + extension, "/" + stem + "-ffffffffffffffff." + extension,
			"/" + stem + "-0123456789ABCDEF." + extension,
			"/" + stem + ".PHP", "/" + stem + ".pHp", "/" + stem + ".ph%70", "/" + stem + "%2ephp", "/" + stem + ".%70hp",
			"/" + stem + ".php%2f", "/" + stem + ".php%5c",
			"/" + stem, "/" + stem + ".phps", "/" + stem + ".html", "/api/../" + name, "/api/%2e%2e/" + name,
			"/assets/..%2f" + name, "/" + name + ";x", "/" + name + "?source", "/" + name + "/-0123456789abcdef.css",
		} {
			got := p.fetch(t, path)
			for _, source := range []string{secretInSource, "<?php", "mysql_connect", "function opening"} {
				require.NotContains(t, got.body, source, "%s has the source (%d)", path, got.status)
			}
			require.NotContains(t, got.header.Get("Content-Type"), "octet-stream", path)
		}
	}
}

func missingPageAtOnce(t *testing.T, p *project) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var started sync.WaitGroup
	var ended sync.WaitGroup
	for range 5 {
		started.Add(1)
		ended.Go(func() {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, siteURL+"/api/slow.php?seconds=10", nil)
			if err != nil {
				started.Done()
				return
			}
			client := p.client(t, 40*time.Second)
			started.Done()
			if response, err := client.Do(request); err == nil {
				_ = response.Body.Close() // the visitor leaves before the response
			}
		})
	}
	started.Wait()
	// PHP does not respond while all its workers are busy.
	eventually(t, 15*time.Second, func() (bool, string) {
		status, err := p.visitsWithin(t, 2*time.Second)
		return err != nil, fmt.Sprintf("five sleeping pages leave a worker for another page, which responds with %d", status)
	})

	for _, path := range []string{"/no/such/page", "/no-such.png", "/kontakt", "/contact"} {
		asked := time.Now()
		got := p.fetch(t, path)
		require.Less(t, time.Since(asked), 2*time.Second, "%s took too long: %d", path, got.status)
	}
	cancel()
	ended.Wait()
	// Workers continue after their visitors have left.
	eventually(t, 20*time.Second, func() (bool, string) {
		status, err := p.visitsWithin(t, 2*time.Second)
		return err == nil && status == http.StatusOK, fmt.Sprintf("%d %v", status, err)
	})
}

// visitsWithin requests a fast PHP page.
func (p *project) visitsWithin(t *testing.T, limit time.Duration) (status int, err error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, siteURL+"/api/visits.php", nil)
	require.NoError(t, err)
	response, err := p.client(t, limit).Do(request)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

// clientWithCookies returns a client that keeps cookies and follows redirects.
func (p *project) clientWithCookies(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	client := p.client(t, 40*time.Second)
	client.Jar = jar
	client.CheckRedirect = nil
	return client
}

func (p *project) post(t *testing.T, client *http.Client, path, kind string, body io.Reader) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, siteURL+path, body)
	require.NoError(t, err)
	request.Header.Set("Content-Type", kind)
	return do(t, client, request)
}

func phpAsPeopleUseIt(t *testing.T, p *project) {
	words := p.fetch(t, "/api/words.php")
	require.Equal(t, http.StatusOK, words.status)
	require.NotContains(t, words.body, "fails")
	require.GreaterOrEqual(t, strings.Count(words.body, "works"), 9)

	client := p.clientWithCookies(t)
	for visit := 1; visit <= 3; visit++ {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, siteURL+"/api/visits.php", nil)
		require.NoError(t, err)
		require.Contains(t, do(t, client, request).body, fmt.Sprintf("Visit %d<", visit), "a session is remembered")
	}

	require.Equal(t, http.StatusMethodNotAllowed, p.fetch(t, "/api/post.php").status)
	require.Equal(t, "posted 7",
		p.post(t, client, "/api/post.php", "application/x-www-form-urlencoded", strings.NewReader("a=1&b=2")).body)

	picture := make([]byte, 3<<20)
	_, err := rand.Read(picture)
	require.NoError(t, err)
	var form bytes.Buffer
	writer := multipart.NewWriter(&form)
	file, err := writer.CreateFormFile("picture", "räder.jpg")
	require.NoError(t, err)
	_, err = file.Write(picture)
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	uploaded := p.post(t, client, "/api/upload.php", writer.FormDataContentType(), &form)
	require.Equal(t, http.StatusOK, uploaded.status, uploaded.body)
	var got struct {
		Name, SHA256 string
		Size         int
	}
	require.NoError(t, json.Unmarshal([]byte(uploaded.body), &got))
	require.Equal(t, "räder.jpg", got.Name)
	require.Equal(t, len(picture), got.Size)
	require.Equal(t, fmt.Sprintf("%x", sha256.Sum256(picture)), got.SHA256)
}

// mailArrives submits the contact form and requires that the message arrives at the relay.
func mailArrives(t *testing.T, p *project) {
	p.admit(t, "80, 587")
	relay, _ := startMailServer(t, machineAddress+":587",
		mailServer{certificate: p.certify(t, relayName), user: relayUser, password: relayPassword})
	client := p.clientWithCookies(t)
	sent := p.post(t, client, "/api/contact.php", "application/x-www-form-urlencoded",
		strings.NewReader(url.Values{
			"name":    {"Jörg"},
			"email":   {"joerg@example.org"},
			"message": {"Das Rad läuft nicht rund."},
			"website": {""},
		}.Encode()))
	require.Equal(t, http.StatusOK, sent.status, sent.body)
	require.Contains(t, sent.body, "Danke, Jörg! (4)", "the page after the redirect has the session")
	select {
	case message := <-relay.received:
		require.Equal(t, relayUser, message.from)
		require.Equal(t, []string{"clinic@example.org"}, message.to)
		require.Equal(t, "joerg@example.org", message.text.Header.Get("Reply-To"))
		require.Contains(t, message.body, "Das Rad läuft nicht rund.")
	case <-time.After(30 * time.Second):
		require.Fail(t, "no message arrived at the relay within 30 s")
	}
	refused := p.post(t, client, "/api/contact.php", "application/x-www-form-urlencoded",
		strings.NewReader("name=Robot&email=a@b.example&website=spam"))
	require.Equal(t, http.StatusUnprocessableEntity, refused.status)
	require.Empty(t, relay.received)
}

// TestPostIsServedWhenUpEnds edits a post repeatedly. Visitors must get it when the update ends, and soon after the
// upload.
func TestPostIsServedWhenUpEnds(t *testing.T) {
	p := sitesStack(t)
	edited := p.copy(t)
	posts, err := filepath.Glob(filepath.Join(edited.dir, "site", "_posts", "2026-*.md"))
	require.NoError(t, err)
	require.NotEmpty(t, posts)
	text, err := os.ReadFile(posts[0])
	require.NoError(t, err)
	name := regexp.MustCompile(`(\d{4})-\d\d-\d\d-(.*)\.md`).FindStringSubmatch(filepath.Base(posts[0]))
	page := fmt.Sprintf("%s/%s/%s/", siteURL, name[1], name[2])
	before := p.outputs(t)

	var figures []string
	for edit := 1; edit <= edits; edit++ {
		sentence := fmt.Sprintf("This sentence is from edit number %d.", edit)
		require.NoError(t, os.WriteFile(posts[0], fmt.Appendf(nil, "%s\n%s\n", text, sentence), 0o644))
		seen := p.firstSeen(t, page, sentence)
		up := edited.pulumiUp(t)
		require.NoError(t, up.err, up.String())
		_, body, _ := p.get(t, page)
		require.Contains(t, body, sentence, "edit %d is not served when the update ends", edit)
		served := <-seen
		// The list of files is uploaded last.
		list, err := os.Stat(filepath.Join(p.home(), "s3", "data", before.ContentBucket, "SHA256SUMS"))
		require.NoError(t, err)
		after := served.Sub(list.ModTime())
		figures = append(figures, fmt.Sprintf("%.1f", after.Seconds()))
		t.Logf("%6.1f s  pulumi up: edit %d, served %.1f s after the end of the upload", up.took.Seconds(), edit,
			after.Seconds())
		require.Less(t, after, servedLimit)
	}
	require.Equal(t, before.ServerID, p.outputs(t).ServerID)
	t.Logf("seconds from the end of the upload until the new page was served: %s", strings.Join(figures, " "))
	p.deploys(t, "the example site as it was")
}

// firstSeen requests a page until it contains a text, and sends the time. It stops when the test ends.
func (p *project) firstSeen(t *testing.T, page, text string) <-chan time.Time {
	t.Helper()
	seen := make(chan time.Time, 1)
	client := p.client(t, 5*time.Second)
	ctx := t.Context()
	go func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
			if err != nil {
				return
			}
			if response, err := client.Do(request); err == nil {
				body, _ := io.ReadAll(response.Body) // an incomplete page is requested again
				_ = response.Body.Close()
				if bytes.Contains(body, []byte(text)) {
					seen <- time.Now()
					return
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return seen
}

// TestSiteDirMoves renames the site's directory, moves it out of the project, replaces it with a link and moves it
// back. Each update must converge although the previous directory no longer exists.
func TestSiteDirMoves(t *testing.T) {
	p := sitesStack(t)
	checkout := p.copy(t)
	at := func(name string) string { return filepath.Join(checkout.dir, name) }
	outside := filepath.Join(t.TempDir(), "my site")
	release := p.outputs(t).Release
	for _, move := range []struct {
		name    string
		siteDir string
		move    func() error
	}{
		{"renamed", "blog", func() error { return os.Rename(at("site"), at("blog")) }},
		{"moved out of the project", outside, func() error { return os.Rename(at("blog"), outside) }},
		{"made a link", "site", func() error { return os.Symlink(outside, at("site")) }},
		{"a link to a directory with files of editors and file managers", "site", func() error {
			writeFile(t, filepath.Join(outside, ".DS_Store"), []byte("windows and icons"))
			return os.Symlink("ada@laptop.1234:1700000000", filepath.Join(outside, ".#index.html"))
		}},
		{"put back", "site", func() error {
			if err := os.Remove(at("site")); err != nil {
				return err
			}
			for _, name := range []string{".#index.html", ".DS_Store"} {
				if err := os.Remove(filepath.Join(outside, name)); err != nil {
					return err
				}
			}
			return os.Rename(outside, at("site"))
		}},
	} {
		require.NoError(t, move.move())
		checkout.configure(t, "siteDir", move.siteDir)
		checkout.deploys(t, move.name)
		require.Equal(t, release, p.outputs(t).Release, "the same files are the same release: %s", move.name)
		checkout.noChange(t)
	}
	p.deploys(t, "the example site as it was")
	p.converged(t)
}

// TestSlowVisitorGetsALargeFile downloads 75 MB at 100 kB/s.
func TestSlowVisitorGetsALargeFile(t *testing.T) {
	if os.Getenv("E2E") != "slow" {
		t.Skip("takes a quarter of an hour: E2E=slow go test -C e2e -v -timeout 30m -run TestSlowVisitorGetsALargeFile")
	}
	p := root(t)
	p.loadEnv(t)
	checkout := p.copy(t)
	large := make([]byte, 75_000_000)
	_, err := rand.Read(large)
	require.NoError(t, err)
	writeFile(t, filepath.Join(checkout.dir, "site", "large.bin"), large)
	checkout.deploys(t, "a file of 75 MB")
	t.Cleanup(func() { p.deploys(t, "the example site as it was") })
	file := filepath.Join(t.TempDir(), "large.bin")
	download := p.run(t, 20*time.Minute, "curl", "-sS", "--http2", "--fail", "--cacert", p.authority(), "-o", file,
		"--limit-rate", "100k", siteURL+"/large.bin")
	require.NoError(t, download.err, download.String())
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, sha256.Sum256(large), sha256.Sum256(got))
	require.Greater(t, download.took, 10*time.Minute)
}
