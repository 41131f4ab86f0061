package readiness

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/agent/internal/bucket/buckettest"
	"immutable-infra/agent/internal/release"
	"immutable-infra/agent/internal/release/releasetest"
	"immutable-infra/agent/internal/web"
	"immutable-infra/server/manifest"
)

type site = releasetest.Site

func exampleSite() site {
	return site{
		"index.html":             "front page",
		"404.html":               "Page not found",
		"posts/index.html":       "all posts",
		"posts/a b/ü+.html":      "a post",
		"odd/100%25 ?#&;=:@.txt": "a name that means something in a URL",
		"assets/style.css":       "body {}",
		"assets/404.html":        "an ordinary page, in spite of its name",
		".well-known/empty.txt":  "",
		"api/hello.php":          "<?php echo 'hello';",
		"_headers":               "/*\n  X-Test: 1\n",
		"_redirects":             "/old /new\n",
		".htaccess":              "Deny from all",
		"assets/.DS_Store":       "\x00\x01",
	}
}

// webServer responds like the site's nginx. Tests change its content.
type webServer struct {
	mutex    sync.Mutex
	release  string
	files    site
	requests []string
}

func (w *webServer) serve(release string, files site) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.release, w.files = release, maps.Clone(files)
}

func (w *webServer) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	path := request.URL.Path
	w.requests = append(w.requests, path)
	if request.Host != "site.example.org" || request.TLS.ServerName != "site.example.org" {
		response.WriteHeader(http.StatusMisdirectedRequest)
		return
	}
	if path == "/.well-known/release" {
		fmt.Fprintf(response, `{"release": %q, "files": %d, "bytes": 0}`, w.release, len(w.files))
		return
	}
	name := strings.TrimPrefix(path, "/")
	if strings.HasSuffix(path, "/") {
		name += "index.html"
	}
	content, exists := w.files[name]
	if !exists || name == "404.html" || strings.HasPrefix(name, "_") || strings.Contains(name, ".php") ||
		strings.Contains(strings.TrimPrefix(path, "/.well-known"), "/.") {
		response.WriteHeader(http.StatusNotFound)
		fmt.Fprint(response, w.files["404.html"])
		return
	}
	fmt.Fprint(response, content)
}

// server is a server with its bucket, its disk and its web server.
type server struct {
	*testing.T
	s3     *buckettest.Server
	dir    string
	web    *webServer
	served *Served
}

// newServer returns a server that serves this build, which is also in the bucket.
func newServer(t *testing.T, build site) *server {
	t.Helper()
	s := &server{T: t, s3: buckettest.Start(t), dir: filepath.Join(t.TempDir(), "site"), web: &webServer{}}
	listener := httptest.NewTLSServer(s.web)
	t.Cleanup(listener.Close)
	address, err := url.Parse(listener.URL)
	require.NoError(t, err)
	content, err := bucket.Open(t.Context(), s.s3.Bucket, "")
	require.NoError(t, err)
	s.served = &Served{
		Bucket:      content,
		Releases:    release.ReadReleases(s.dir),
		Limits:      manifest.DefaultLimits(),
		Web:         client(address),
		Project:     "/opt/site",
		PullService: "agent-pull.service",
	}
	s.upload(build)
	s.pull()
	s.web.serve(build.ID(), build)
	return s
}

// client returns a client of the site at an address.
func client(address *url.URL) *web.Client {
	return web.NewClient(address, "site.example.org", UserAgent)
}

// upload uploads a build, like a deploy.
func (s *server) upload(build site) {
	for name, content := range build {
		s.s3.Put("site/"+name, content)
	}
	s.s3.Put(manifest.Name, build.Manifest())
}

// pull switches to the bucket's build, like the agent's timer.
func (s *server) pull() {
	s.Helper()
	releases, err := release.OpenReleases(s.dir, "")
	require.NoError(s, err)
	require.NoError(s, release.Pull{
		Bucket: s.served.Bucket, Releases: releases, Keep: 1, Limits: manifest.DefaultLimits(),
		Log: slog.New(slog.DiscardHandler),
	}.Run(s.Context()))
	s.s3.TakeRequests()
}

func (s *server) check() Result {
	s.Helper()
	return s.served.Check(s.Context())
}

func TestReleasePassesWhenEachStaticFileIsServed(t *testing.T) {
	build := exampleSite()
	s := newServer(t, build)
	require.Equal(t, Result{
		Verdict: Pass, Detail: build.ID() + ": every static file is served with the bucket's bytes (files: 7)",
	}, s.check())
	slices.Sort(s.web.requests)
	require.Equal(t, []string{
		"/", "/.well-known/empty.txt", "/.well-known/release", "/assets/404.html", "/assets/style.css",
		"/odd/100%25 ?#&;=:@.txt", "/posts/", "/posts/a b/ü+.html",
	}, s.web.requests, "every static file, and no other")
}

// The site's own programs do not affect the readiness of the server.
func TestSitePagesNeverBlockReadiness(t *testing.T) {
	for _, name := range []string{
		"busy.php", "api/slow.php", "Contact.PHP", "old.php5", "page.phtml", "page.pht", "tool.phar", "source.phps",
		"shell.php.txt", "contact.php~", "db.inc", "DB.inc.bak", "wiki.php/page.txt",
	} {
		t.Run(name, func(t *testing.T) {
			// The web server would respond with 404, 503 or not at all: the check does not request the file.
			build := exampleSite().With(name, "<?php http_response_code(503); sleep(11);")
			s := newServer(t, build)
			served := maps.Clone(build)
			delete(served, name)
			s.web.serve(build.ID(), served)
			result := s.check()
			require.Equal(t, Pass, result.Verdict, result.Detail)
			require.NotContains(t, s.web.requests, "/"+name)
		})
	}
}

// The site cannot serve paths that the server reserves or hides.
func TestHiddenFilesAreNotRequested(t *testing.T) {
	for _, name := range []string{
		".well-known/release", ".well-known/server/index.html", ".well-known/acme-challenge/a", ".env", ".git/config",
		"docs/.hidden/page.html", ".well-known/.hidden",
	} {
		t.Run(name, func(t *testing.T) {
			_, static := servedAt(name)
			require.False(t, static)
		})
	}
	for name, want := range map[string]string{
		".well-known/matrix/client": "/.well-known/matrix/client", "graph.html": "/graph.html",
		"a.photo/x.png": "/a.photo/x.png",
		"_posts/x.html": "/_posts/x.html", "docs/_headers": "/docs/_headers", "x.phone": "/x.phone", "index.html": "/",
		"a/index.html": "/a/", "a/404.html": "/a/404.html",
	} {
		t.Run(name, func(t *testing.T) {
			path, static := servedAt(name)
			require.True(t, static)
			require.Equal(t, want, path)
		})
	}
}

func TestOwnRequestsAreOmittedFromLogs(t *testing.T) {
	s := newServer(t, exampleSite())
	var accessLog strings.Builder
	accessLog.WriteString("web-1  | open() \"/srv/site/current/site/a.css\" failed (13: Permission denied)\n")
	logging := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.web.ServeHTTP(w, r)
		s.web.mutex.Lock()
		defer s.web.mutex.Unlock()
		for range logLines {
			fmt.Fprintf(&accessLog, "web-1  | 172.18.0.1 - - \"GET %s HTTP/1.1\" 200 5225 \"-\" %q\n", r.URL.Path, r.UserAgent())
		}
	}))
	t.Cleanup(logging.Close)
	address, err := url.Parse(logging.URL)
	require.NoError(t, err)
	s.served.Web = client(address)
	require.Equal(t, Pass, s.check().Verdict)

	log := projectLog("/opt/site")
	require.Equal(t, []string{`web-1  | open() "/srv/site/current/site/a.css" failed (13: Permission denied)`},
		log.tail(t.Context(), answers{log.Command.String(): accessLog.String()}))
}

func TestUnchangedManifestIsReadOnce(t *testing.T) {
	s := newServer(t, exampleSite())
	require.Equal(t, Pass, s.check().Verdict)
	require.Equal(t, Pass, s.check().Verdict)
	require.Equal(t, []string{"GET SHA256SUMS 200", "GET SHA256SUMS 304"}, s.s3.TakeRequests())
}

func TestWrongBytesAreNotReady(t *testing.T) {
	for name, test := range map[string]struct {
		change func(served site)
		detail string
	}{
		"changed": {
			func(served site) { served["assets/style.css"] = "body { color: red }" },
			"/assets/style.css has other bytes than in the bucket",
		},
		"cut short": {
			func(served site) { served["posts/a b/ü+.html"] = "a po" }, "/posts/a b/ü+.html has other bytes than in the bucket",
		},
		"missing": {
			func(served site) { delete(served, "assets/style.css") }, "/assets/style.css: status 404 Not Found",
		},
		"front page": {
			func(served site) { served["index.html"] = "Welcome to nginx!" }, "/ has other bytes than in the bucket",
		},
		"page of a program": {
			func(served site) { served["posts/a b/ü+.html"] = served["api/hello.php"] },
			"/posts/a b/ü+.html has other bytes than in the bucket",
		},
	} {
		t.Run(name, func(t *testing.T) {
			build := exampleSite()
			s := newServer(t, build)
			served := maps.Clone(build)
			test.change(served)
			s.web.serve(build.ID(), served)
			result := s.check()
			require.Equal(t, Fail, result.Verdict)
			require.Equal(t, test.detail, result.Detail)
			require.Equal(t, []string{"containers"}, logNames(result))
		})
	}
}

func TestReportOfManyProblemsIsShort(t *testing.T) {
	build := exampleSite()
	for i := range 200 {
		build = build.With(fmt.Sprintf("many/%d.txt", i), "content")
	}
	s := newServer(t, build)
	s.web.serve(build.ID(), site{"404.html": "Page not found"})
	result := s.check()
	require.Equal(t, enoughProblems, strings.Count(result.Detail, ": status 404 Not Found; "))
	require.Regexp(t, "; perhaps more$", result.Detail)
	require.Less(t, len(s.web.requests), 100, "the rest is not requested")
}

func TestOutdatedReleaseIsNotReady(t *testing.T) {
	old := exampleSite()
	s := newServer(t, old)
	build := old.With("index.html", "front page, new")
	s.upload(build)
	result := s.check()
	require.Equal(t, Fail, result.Verdict)
	require.Equal(t, fmt.Sprintf("this server has %s, the content bucket has %s", old.ID(), build.ID()), result.Detail)
	require.Equal(t, []string{"agent-pull.service"}, logNames(result))

	s.pull()
	s.web.serve(build.ID(), build)
	require.Equal(t, Pass, s.check().Verdict)
}

func TestServerThatHasNeverPulledIsNotReady(t *testing.T) {
	build := exampleSite()
	s := newServer(t, build)
	s.served.Releases = release.ReadReleases(filepath.Join(t.TempDir(), "site"))
	result := s.check()
	require.Equal(t, Fail, result.Verdict)
	require.Equal(t, "no release is on this server yet, the content bucket has "+build.ID(), result.Detail)
}

func TestWebServerOnAnotherReleaseIsNotReady(t *testing.T) {
	build := exampleSite()
	s := newServer(t, build)
	s.web.serve("0123456789abcdef", build)
	result := s.check()
	require.Equal(t, Fail, result.Verdict)
	require.Equal(t, fmt.Sprintf(`/.well-known/release names release "0123456789abcdef" instead of %s`, build.ID()),
		result.Detail)
	require.Equal(t, []string{"containers"}, logNames(result))
}

func TestUnreachableWebServerIsNotReady(t *testing.T) {
	s := newServer(t, exampleSite())
	closed := httptest.NewTLSServer(s.web)
	address, err := url.Parse(closed.URL)
	require.NoError(t, err)
	closed.Close()
	s.served.Web = client(address)
	result := s.check()
	require.Equal(t, Fail, result.Verdict)
	require.Regexp(t, `^/\.well-known/release: dial tcp .*: connect: connection refused$`, result.Detail)
}

func TestRedirectIsNotReady(t *testing.T) {
	s := newServer(t, exampleSite())
	redirecting := httptest.NewTLSServer(http.RedirectHandler("/elsewhere", http.StatusMovedPermanently))
	t.Cleanup(redirecting.Close)
	address, err := url.Parse(redirecting.URL)
	require.NoError(t, err)
	s.served.Web = client(address)
	require.Equal(t, "/.well-known/release: status 301 Moved Permanently", s.check().Detail)
}

func TestUnreadableBucketIsNotReadyAndReported(t *testing.T) {
	s := newServer(t, exampleSite())
	s.s3.Delete(manifest.Name)
	require.Contains(t, s.check().Detail, "no build has been uploaded yet: get s3://content/SHA256SUMS: not found")
	s.s3.Deny()
	require.Contains(t, s.check().Detail,
		"access denied (AccessDenied: AccessDenied in words): allow this server's role s3:GetObject")
}

func TestCancelledCheckBlamesNoFile(t *testing.T) {
	s := newServer(t, exampleSite())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	result := s.served.Check(ctx)
	require.Equal(t, Fail, result.Verdict)
	require.Contains(t, result.Detail, "context canceled")
}

// Files that the site's own rules hide are not served, and need not be.
func TestFileHiddenByForcedRuleDoesNotBlockReadiness(t *testing.T) {
	for rule, ready := range map[string]bool{
		"/posts/* /moved 301!":      true,
		"/posts/* /index.html 200!": true,
		"/posts/* /moved 301":       false,
	} {
		t.Run(rule, func(t *testing.T) {
			build := exampleSite().With("_redirects", rule+"\n")
			s := newServer(t, build)
			served := maps.Clone(build)
			delete(served, "posts/index.html")
			served["posts/a b/ü+.html"] = "another page"
			s.web.serve(build.ID(), served)
			result := s.check()
			require.Equal(t, ready, result.Verdict == Pass, result.Detail)
		})
	}
}

func TestPassedFilesAreRequestedAgainAfterFilesEvery(t *testing.T) {
	s := newServer(t, exampleSite())
	s.served.FilesEvery = time.Hour
	first := s.check()
	require.Equal(t, Pass, first.Verdict, first.Detail)
	all := len(s.web.requests)
	require.Equal(t, first, s.check())
	require.Equal(t, []string{"/.well-known/release"}, s.web.requests[all:])

	s.served.passed.at = time.Now().Add(-s.served.FilesEvery)
	require.Equal(t, first, s.check())
	require.Len(t, s.web.requests, 2*all+1)

	build := exampleSite()
	build["index.html"] = "another front page"
	s.upload(build)
	s.pull()
	s.web.serve(build.ID(), exampleSite())
	result := s.check()
	require.Equal(t, "/ has other bytes than in the bucket", result.Detail, "a new release is checked at once")
	require.Equal(t, result, s.check(), "and a failure each time")
}
