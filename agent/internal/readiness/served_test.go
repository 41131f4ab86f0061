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

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/agent/internal/bucket/buckettest"
	"immutable-infra/agent/internal/release"
	"immutable-infra/agent/internal/release/releasetest"
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
	}
}

// webServer answers as the site's nginx does. What it serves is changed by the
// tests.
type webServer struct {
	mutex    sync.Mutex
	release  string
	files    site
	requests []string
	// php answers for PHP files.
	php http.HandlerFunc
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
	if exists && strings.HasSuffix(name, ".php") {
		w.php(response, request)
		return
	}
	if !exists || name == "404.html" {
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

// newServer serves the build of the bucket.
func newServer(t *testing.T, build site) *server {
	t.Helper()
	s := &server{T: t, s3: buckettest.Start(t), dir: filepath.Join(t.TempDir(), "site"), web: &webServer{}}
	s.web.php = func(response http.ResponseWriter, _ *http.Request) { fmt.Fprint(response, "hello") }
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
		URL:         address,
		Host:        "site.example.org",
		Project:     "/opt/site",
		PullService: "agent-pull.service",
	}
	s.upload(build)
	s.pull()
	s.web.serve(build.ID(), build)
	return s
}

// upload does what a deploy does.
func (s *server) upload(build site) {
	for name, content := range build {
		s.s3.Put("site/"+name, content)
	}
	s.s3.Put(manifest.Name, build.Manifest())
}

// pull does what the agent's timer does.
func (s *server) pull() {
	s.Helper()
	releases, err := release.OpenReleases(s.dir)
	require.NoError(s, err)
	require.NoError(s, release.Pull{
		Bucket: s.served.Bucket, Releases: releases, Keep: 1, Limits: manifest.DefaultLimits(), Log: slog.New(slog.DiscardHandler),
	}.Run(s.Context()))
	s.s3.TakeRequests()
}

func (s *server) look() Finding {
	s.Helper()
	return s.served.Look(s.Context())
}

func TestTheReleaseHoldsWhenEachFileIsServedWithItsBytes(t *testing.T) {
	build := exampleSite()
	s := newServer(t, build)
	require.Equal(t, Finding{Verdict: Holds, Detail: build.ID() + ": every file is served as it is in the bucket (files: 7), PHP runs (files: 1)"}, s.look())
	slices.Sort(s.web.requests)
	require.Equal(t, []string{
		"/", "/.well-known/empty.txt", "/.well-known/release", "/api/hello.php", "/assets/404.html", "/assets/style.css", "/index.html",
		"/odd/100%25 ?#&;=:@.txt", "/posts/", "/posts/a b/ü+.html", "/posts/index.html",
	}, s.web.requests, "every file by each of its paths, but none that is not served as it is")
}

func TestTheAgentsOwnRequestsDoNotPushErrorsOutOfTheReport(t *testing.T) {
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
	s.served.URL = address
	require.Equal(t, Holds, s.look().Verdict)

	log := projectLog("/opt/site")
	require.Equal(t, []string{`web-1  | open() "/srv/site/current/site/a.css" failed (13: Permission denied)`},
		log.tail(t.Context(), answers{log.Command.String(): accessLog.String()}))
}

func TestAWaitReadsTheListOfFilesOnce(t *testing.T) {
	s := newServer(t, exampleSite())
	require.Equal(t, Holds, s.look().Verdict)
	require.Equal(t, Holds, s.look().Verdict)
	require.Equal(t, []string{"GET SHA256SUMS 200", "GET SHA256SUMS 304"}, s.s3.TakeRequests())
}

func TestWrongBytesAreNotReady(t *testing.T) {
	for name, test := range map[string]struct {
		change func(served site)
		detail string
	}{
		"changed":                      {func(served site) { served["assets/style.css"] = "body { color: red }" }, "/assets/style.css has other bytes than in the bucket"},
		"cut short":                    {func(served site) { served["posts/a b/ü+.html"] = "a po" }, "/posts/a b/ü+.html has other bytes than in the bucket"},
		"missing":                      {func(served site) { delete(served, "assets/style.css") }, "/assets/style.css: status 404 Not Found"},
		"front page, by both its URLs": {func(served site) { served["index.html"] = "Welcome to nginx!" }, "/ has other bytes than in the bucket; /index.html has other bytes than in the bucket"},
	} {
		t.Run(name, func(t *testing.T) {
			build := exampleSite()
			s := newServer(t, build)
			served := maps.Clone(build)
			test.change(served)
			s.web.serve(build.ID(), served)
			finding := s.look()
			require.Equal(t, Fails, finding.Verdict)
			require.Equal(t, test.detail, finding.Detail)
			require.Equal(t, []string{"containers"}, logNames(finding))
		})
	}
}

func TestAPHPFileMayAnswerWhateverItLikesButItsSource(t *testing.T) {
	for name, test := range map[string]struct {
		php    http.HandlerFunc
		detail string
	}{
		"a page":               {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<p>hello") }, ""},
		"nothing":              {func(http.ResponseWriter, *http.Request) {}, ""},
		"not by this method":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusMethodNotAllowed) }, ""},
		"a redirect":           {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) }, ""},
		"its source":           {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<?php echo 'hello';") }, "/api/hello.php: its source is served, it does not run"},
		"that PHP is away":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "/api/hello.php: status 502 Bad Gateway"},
		"that PHP is not well": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, "/api/hello.php: status 500 Internal Server Error"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, exampleSite())
			s.web.php = test.php
			finding := s.look()
			if test.detail == "" {
				require.Equal(t, Holds, finding.Verdict, finding.Detail)
				return
			}
			require.Equal(t, Fails, finding.Verdict)
			require.Equal(t, test.detail, finding.Detail)
			require.Equal(t, []string{"containers"}, logNames(finding))
		})
	}
}

func TestASiteThatIsAllWrongIsToldInAFewLines(t *testing.T) {
	build := exampleSite()
	for i := range 200 {
		build = build.With(fmt.Sprintf("many/%d.txt", i), "content")
	}
	s := newServer(t, build)
	s.web.serve(build.ID(), site{"404.html": "Page not found"})
	finding := s.look()
	require.Equal(t, enoughProblems, strings.Count(finding.Detail, ": status 404 Not Found; "))
	require.Regexp(t, "; perhaps more$", finding.Detail)
	require.Less(t, len(s.web.requests), 100, "the rest need not be asked for")
}

func TestAReleaseBehindTheBucketIsNotReady(t *testing.T) {
	old := exampleSite()
	s := newServer(t, old)
	build := old.With("index.html", "front page, new")
	s.upload(build)
	finding := s.look()
	require.Equal(t, Fails, finding.Verdict)
	require.Equal(t, fmt.Sprintf("this server has %s, the content bucket has %s", old.ID(), build.ID()), finding.Detail)
	require.Equal(t, []string{"agent-pull.service"}, logNames(finding))

	s.pull()
	s.web.serve(build.ID(), build)
	require.Equal(t, Holds, s.look().Verdict)
}

func TestAServerThatHasNeverPulledIsNotReadyAndStaysUntouched(t *testing.T) {
	build := exampleSite()
	s := newServer(t, build)
	s.served.Releases = release.ReadReleases(filepath.Join(t.TempDir(), "site"))
	finding := s.look()
	require.Equal(t, Fails, finding.Verdict)
	require.Equal(t, "no release is on this server yet, the content bucket has "+build.ID(), finding.Detail)
}

func TestAWebServerOnAnotherReleaseIsNotReady(t *testing.T) {
	build := exampleSite()
	s := newServer(t, build)
	s.web.serve("0123456789abcdef", build)
	finding := s.look()
	require.Equal(t, Fails, finding.Verdict)
	require.Equal(t, fmt.Sprintf(`/.well-known/release names release "0123456789abcdef" instead of %s`, build.ID()), finding.Detail)
	require.Equal(t, []string{"containers"}, logNames(finding))
}

func TestAWebServerThatDoesNotAnswerIsNotReady(t *testing.T) {
	s := newServer(t, exampleSite())
	closed := httptest.NewTLSServer(s.web)
	address, err := url.Parse(closed.URL)
	require.NoError(t, err)
	closed.Close()
	s.served.URL = address
	finding := s.look()
	require.Equal(t, Fails, finding.Verdict)
	require.Regexp(t, `^/\.well-known/release: dial tcp .*: connect: connection refused$`, finding.Detail)
}

func TestARedirectIsNotThePage(t *testing.T) {
	s := newServer(t, exampleSite())
	redirecting := httptest.NewTLSServer(http.RedirectHandler(s.served.URL.String(), http.StatusMovedPermanently))
	t.Cleanup(redirecting.Close)
	address, err := url.Parse(redirecting.URL)
	require.NoError(t, err)
	s.served.URL = address
	require.Equal(t, "/.well-known/release: status 301 Moved Permanently", s.look().Detail)
}

func TestABucketThatCannotBeReadIsNotReadyAndSaysWhy(t *testing.T) {
	s := newServer(t, exampleSite())
	s.s3.Delete(manifest.Name)
	require.Contains(t, s.look().Detail, "no build has been uploaded yet: get s3://content/SHA256SUMS: not found")
	s.s3.Deny()
	require.Contains(t, s.look().Detail, "access denied (AccessDenied: AccessDenied in words): allow this server's role s3:GetObject")
}

func TestALookThatIsCalledOffBlamesNoFile(t *testing.T) {
	s := newServer(t, exampleSite())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	finding := s.served.Look(ctx)
	require.Equal(t, Fails, finding.Verdict)
	require.Contains(t, finding.Detail, "context canceled")
}
