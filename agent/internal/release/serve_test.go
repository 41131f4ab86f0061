package release

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// webServer is the web server of a server under test. It serves the release that `current` named
// when it last read its configuration.
type webServer struct {
	*server
	mutex sync.Mutex
	// served is the release in its current configuration.
	served string
	// rejected contains the releases whose configuration it rejects.
	rejected map[string]bool
	// failure is its response to any request, unless nil.
	failure error
	// reloads and asked count the requests.
	reloads, asked int
	// slow is how many responses it takes until a reload is effective.
	slow, pending int
	next          string
}

// newWebServer returns a server, and its web server, which is running.
func newWebServer(t *testing.T) (*server, *webServer) {
	t.Helper()
	s := newServer(t)
	w := &webServer{server: s, rejected: map[string]bool{}}
	s.pull.Web = w
	s.pull.ReloadTimeout = time.Minute
	return s, w
}

// shortenTimeout shortens the wait for a web server that will not respond correctly.
func (s *server) shortenTimeout() {
	s.pull.ReloadTimeout = 250 * time.Millisecond
}

func (w *webServer) Reload() error {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.reloads++
	id, err := w.pull.Releases.Current()
	if err != nil {
		return err
	}
	if !w.rejected[id] {
		w.next, w.pending = id, w.slow
	}
	return nil
}

func (w *webServer) Release(context.Context) (string, error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.asked++
	if w.failure != nil {
		return "", w.failure
	}
	if w.pending--; w.pending < 0 && w.next != "" {
		w.served = w.next
	}
	return w.served, nil
}

func (s *server) requireCurrent(id string) {
	s.Helper()
	current, err := s.pull.Releases.Current()
	require.NoError(s, err)
	require.Equal(s, id, current)
}

func TestSwitchEndsWhenWebServerNamesNewRelease(t *testing.T) {
	s, web := newWebServer(t)
	web.slow = 1
	first := firstBuild()
	s.upload(first)
	s.mustPull()
	require.Equal(t, first.ID(), web.served)
	require.Equal(t, 1, web.reloads)
	require.Contains(t, s.journal.String(), "switched to release")

	asked := web.asked
	s.mustPull()
	require.Equal(t, 1, web.reloads, "an unchanged release is not reloaded")
	require.Equal(t, asked, web.asked, "nor is the web server queried")

	second := first.With("index.html", "front page, second")
	s.upload(second)
	s.mustPull()
	require.Equal(t, second.ID(), web.served)
	require.Equal(t, 2, web.reloads)
}

// For a moment after a reload, workers with the previous configuration still accept requests.
func TestSwitchWaitsForOldWorkersToEnd(t *testing.T) {
	s, web := newWebServer(t)
	first := firstBuild()
	s.upload(first)
	s.mustPull()
	second := first.With("index.html", "front page, second")
	s.upload(second)
	flapping := &flapping{webServer: web, old: first.ID(), begin: web.asked}
	s.pull.Web = flapping
	s.mustPull()
	require.Greater(t, web.asked-flapping.begin, 4)
	s.requireServed(second)
}

// flapping names the old release in its second and fourth response.
type flapping struct {
	*webServer
	old   string
	begin int
}

func (w *flapping) Release(ctx context.Context) (string, error) {
	named, err := w.webServer.Release(ctx)
	if number := w.asked - w.begin; number == 2 || number == 4 {
		return w.old, nil
	}
	return named, err
}

func TestRepairedReleaseIsReloaded(t *testing.T) {
	s, web := newWebServer(t)
	build := firstBuild()
	s.upload(build)
	s.mustPull()
	require.NoError(t, os.RemoveAll(s.file(build, "../nginx")))
	s.age(time.Minute)
	s.mustPull()
	require.Contains(t, s.journal.String(), "repaired release")
	require.DirExists(t, s.file(build, "../nginx"))
	require.Equal(t, 2, web.reloads)
}

func TestReleaseRejectedByWebServerIsRolledBack(t *testing.T) {
	s, web := newWebServer(t)
	s.shortenTimeout()
	first := firstBuild()
	s.upload(first)
	s.mustPull()
	second := first.With("index.html", "front page, second")
	web.rejected[second.ID()] = true
	s.upload(second)
	s.journal.Reset()
	begin := time.Now()
	require.Equal(t,
		fmt.Sprintf("the web server still serves release %q 250ms after the switch to %s: see journalctl --unit "+
			"web-reload.service",
			first.ID(), second.ID()), s.pullFails())
	require.Less(t, time.Since(begin), 5*time.Second)
	s.requireServed(first)
	require.Equal(t, 3, web.reloads, "one for the new release, one for the rollback")
	require.NotContains(t, s.journal.String(), "switched to release")

	s.s3.TakeRequests()
	web.rejected = nil
	s.pull.ReloadTimeout = time.Minute
	s.age(firstRetry)
	s.mustPull()
	require.Equal(t, []string{"GET SHA256SUMS 200"}, s.s3.TakeRequests(), "the files were kept, the ETag was not")
	s.requireServed(second)
	require.Equal(t, second.ID(), web.served)
}

// The served release decides, not `current`: the runs in between may have been killed.
func TestRollbackGoesToTheServedRelease(t *testing.T) {
	s, web := newWebServer(t)
	s.shortenTimeout()
	builds := []site{firstBuild()}
	for i := range 3 {
		builds = append(builds, firstBuild().With("index.html", fmt.Sprint("version ", i)))
	}
	s.upload(builds[0])
	s.mustPull()
	web.rejected = map[string]bool{builds[1].ID(): true, builds[2].ID(): true}
	for _, build := range builds[1:3] {
		s.upload(build)
		ctx, stop := context.WithCancel(t.Context())
		stopped := &stopping{webServer: web, stop: stop}
		s.pull.Web = stopped
		require.ErrorIs(t, s.pull.Run(ctx), context.Canceled)
		s.requireCurrent(build.ID())
	}
	s.pull.Web = web
	require.Contains(t, s.pullFails(), "still serves release \""+builds[0].ID())
	s.requireServed(builds[0])

	web.rejected = nil
	s.pull.ReloadTimeout = time.Minute
	s.age(firstRetry)
	s.mustPull()
	s.requireServed(builds[2])
}

// stopping cancels the run that waits for the web server.
type stopping struct {
	*webServer
	stop func()
}

func (s *stopping) Release(ctx context.Context) (string, error) {
	s.stop()
	return s.webServer.Release(ctx)
}

// A run that is stopped after the switch leaves the check of the served release to the next one.
func TestRunAfterInterruptedRunWaitsForWebServer(t *testing.T) {
	s, web := newWebServer(t)
	s.shortenTimeout()
	first := firstBuild()
	s.upload(first)
	s.mustPull()
	second := first.With("index.html", "front page, second")
	web.rejected[second.ID()] = true
	s.upload(second)
	ctx, stop := context.WithCancel(t.Context())
	s.pull.Web = &stopping{webServer: web, stop: stop}
	require.ErrorIs(t, s.pull.Run(ctx), context.Canceled)
	s.requireCurrent(second.ID())

	s.pull.Web = web
	require.Contains(t, s.pullFails(), "the web server still serves release")
	s.requireServed(first)
}

func TestSwitchSucceedsWithoutWebServer(t *testing.T) {
	s, web := newWebServer(t)
	web.failure = fmt.Errorf("dial tcp 127.0.0.1:443: %w", os.NewSyscallError("connect", syscall.ECONNREFUSED))
	build := firstBuild()
	s.upload(build)
	begin := time.Now()
	s.mustPull()
	require.Less(t, time.Since(begin), 10*time.Second, "the run does not wait for the web server")
	s.requireServed(build)
	require.Equal(t, 1, web.reloads, "the web server may be about to start")
	require.Equal(t, 1, web.asked)
	require.NotContains(t, s.journal.String(), "WARN")
	s.s3.TakeRequests()
	s.mustPull()
	require.Equal(t, []string{"GET SHA256SUMS 304"}, s.s3.TakeRequests())
}

func TestSwitchStaysIfTheWebServerDoesNotRespond(t *testing.T) {
	s, web := newWebServer(t)
	s.shortenTimeout()
	s.pull.Keep = 1
	first := firstBuild()
	s.upload(first)
	s.mustPull()
	web.failure = errors.New("/.well-known/release: status 502 Bad Gateway")
	var builds []site
	for i := range 3 {
		build := first.With("index.html", fmt.Sprint("version ", i))
		builds = append(builds, build)
		s.upload(build)
		s.mustPull()
		s.requireServed(build)
	}
	require.Contains(t, s.journal.String(),
		`level=WARN msg="cannot check which release is served" release=`+builds[0].ID()+` reason="/.well-known/release: status 502 Bad Gateway"`)
	require.Len(t, s.releases(), 4, "the web server may still read any of them")

	web.failure = nil
	s.pull.ReloadTimeout = time.Minute
	last := first.With("index.html", "last")
	s.upload(last)
	s.mustPull()
	require.ElementsMatch(t, []string{last.ID(), builds[2].ID()}, s.releases(),
		"it is known which release the web server reads")
}

// The last response before the timeout counts, not the timeout.
func TestResponseCutOffByTheTimeoutDoesNotHideTheLastOne(t *testing.T) {
	s, web := newWebServer(t)
	s.shortenTimeout()
	first := firstBuild()
	s.upload(first)
	s.mustPull()
	second := first.With("index.html", "front page, second")
	web.rejected[second.ID()] = true
	s.upload(second)
	s.pull.Web = &hanging{webServer: web, after: web.asked + 1}
	require.Contains(t, s.pullFails(), "the web server still serves release")
	s.requireServed(first)
}

// hanging responds to some requests, and leaves the others open.
type hanging struct {
	*webServer
	after int
}

func (h *hanging) Release(ctx context.Context) (string, error) {
	if h.asked >= h.after {
		<-ctx.Done()
		return "", ctx.Err()
	}
	return h.webServer.Release(ctx)
}

func TestFailedReloadRequestIsAnError(t *testing.T) {
	s, web := newWebServer(t)
	s.pull.Web = failingReload{web}
	s.upload(firstBuild())
	require.Equal(t, "no such directory", s.pullFails())
	s.pull.Web = web
	s.age(firstRetry)
	s.mustPull()
	require.Equal(t, firstBuild().ID(), web.served)
}

type failingReload struct{ *webServer }

func (failingReload) Reload() error { return errors.New("no such directory") }

// A build that cannot be served stays rejected, with a message about the remedy, and does not cost a
// request for each file every few seconds.
func TestBuildThatCannotBeServedIsRetriedWithBackoff(t *testing.T) {
	s := newServer(t)
	first := firstBuild()
	s.upload(first)
	s.mustPull()
	second := first.With("caf\u00e9.html", "new")
	s.upload(second)
	s.s3.Delete("site/caf\u00e9.html")
	s.s3.TakeRequests()

	attempts := 0
	for range 60 {
		require.Contains(t, s.pullFails(), "the build is not complete in the bucket: run pulumi up")
		if requests := s.s3.TakeRequests(); len(requests) > 1 {
			attempts++
		}
		s.requireServed(first)
		s.age(5 * time.Second)
	}
	require.Equal(t, 8, attempts, "at 0, 5, 15, 35 and 75 seconds, and then once a minute")

	require.Contains(t, s.pullFails(), " (attempts: 8, the next one in ")
	third := second.With("index.html", "front page, third")
	s.upload(third)
	s.mustPull()
	s.requireServed(third)
	left, err := filepath.Glob(filepath.Join(s.pull.StateDir, failureName+"*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestReleaseIsCheckedOnceAMinute(t *testing.T) {
	s := newServer(t)
	build := firstBuild()
	s.upload(build)
	s.mustPull()
	require.NoError(t, os.Remove(s.file(build, "404.html")))
	s.mustPull()
	require.NoFileExists(t, s.file(build, "404.html"))
	s.age(time.Minute)
	s.mustPull()
	s.requireServed(build)
	// If the clock was set back, the check must not wait.
	require.NoError(t, os.Remove(s.file(build, "404.html")))
	s.age(-time.Hour)
	s.mustPull()
	s.requireServed(build)
}

func TestReleasesShareTheirFilesButNotTheirConfiguration(t *testing.T) {
	s := newServer(t)
	first := firstBuild().With("_redirects", "/old /new\n").With("_headers", "/*\n  X-Test: 1\n")
	s.upload(first)
	s.mustPull()
	second := first.With("index.html", "front page, second")
	s.upload(second)
	s.mustPull()
	for _, name := range []string{"404.html", "_redirects"} {
		one, err := os.Stat(s.file(first, name))
		require.NoError(t, err)
		two, err := os.Stat(s.file(second, name))
		require.NoError(t, err)
		require.True(t, os.SameFile(one, two), name)
	}
	for _, build := range []site{first, second} {
		want, err := s.pull.Releases.nginxFiles(build.ID(), s.file(build, ""))
		require.NoError(t, err)
		for name, text := range want {
			got, err := os.ReadFile(filepath.Join(s.file(build, ".."), "nginx", name))
			require.NoError(t, err)
			require.Equal(t, text, string(got))
			require.False(t, strings.Contains(text, ".tmp-"), "the configuration names the release's final directory")
		}
	}
}
