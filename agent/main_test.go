package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/bucket/buckettest"
)

// asAgent is the environment variable that makes the test binary behave as the agent.
const asAgent = "AGENT_TEST_RUN_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asAgent) != "" {
		main()
	}
	os.Exit(m.Run())
}

// agent returns the command `agent <args>`, to be run as a process of its own.
func agent(t *testing.T, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	// Each command takes seconds. One that hangs is killed, which its error reports.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	command := exec.CommandContext(ctx, program, args...)
	command.Env = append(os.Environ(), asAgent+"=1")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	return command, &stderr
}

// upload uploads a build with this front page to the bucket.
func upload(server *buckettest.Server, frontPage string) {
	server.Put("site/index.html", frontPage)
	server.Put("SHA256SUMS", fmt.Sprintf("%x  ./index.html\n", sha256.Sum256([]byte(frontPage))))
}

// await waits for an event that takes milliseconds.
func await(t *testing.T, event <-chan struct{}) {
	t.Helper()
	select {
	case <-event:
	case <-time.After(30 * time.Second):
		require.FailNow(t, "the event did not occur")
	}
}

func requireFrontPage(t *testing.T, dir, want string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "current", "site", "index.html"))
	require.NoError(t, err)
	require.Equal(t, want, string(text))
}

func TestErrorOfUsageNamesTheFix(t *testing.T) {
	for _, c := range []struct {
		args     string
		settings []string
		code     int
		want     string
	}{
		{"", nil, exitUsage, "usage: agent <verb> [flags]"},
		{"push", nil, exitUsage,
			`usage: unknown verb "push": write agent pull, ready, watch, handover, backup, restore or verify`},
		{"pull", []string{"CONTENT_BUCKET="}, exitUsage, "server.env does not set CONTENT_BUCKET\n"},
		{"pull", []string{"RELEASES_KEPT=0"}, exitUsage, `usage: agent pull: RELEASES_KEPT is "0": expected 1 or more`},
		{"pull", []string{"RELEASES_KEPT=many"}, exitUsage, `usage: agent pull: RELEASES_KEPT is "many": expected 1 or more`},
		{"pull --timeout 0s", nil, exitUsage, "usage: agent pull: --timeout is 0s: give a duration above zero, such as 10m"},
		{"pull --reload /run/reload", []string{"DOMAIN="}, exitUsage, "server.env does not set DOMAIN\n"},
		{"pull --reload /run/reload --url example.org", nil, exitUsage,
			`usage: agent pull: --url is "example.org": give an address without a path, such as https://127.0.0.1`},
		{"pull --timeout soon", nil, exitUsage, `usage: agent pull: invalid value "soon" for flag -timeout`},
		{"pull now", nil, exitUsage, `usage: agent pull: unexpected argument "now": flags only`},
		{"pull --bucket b", nil, exitUsage, "usage: agent pull: flag provided but not defined: -bucket"},
		{"help", nil, exitDone, "usage: agent <verb> [flags]"},
		{"pull -h", nil, exitDone, "usage: agent pull [flags]"},
	} {
		t.Run(c.want, func(t *testing.T) {
			var stderr bytes.Buffer
			args := strings.Fields(c.args)
			if len(args) > 0 && args[0] == "pull" {
				args = append([]string{"pull", "--env-file", settingsOf(t, "b", c.settings...)}, args[1:]...)
			}
			require.Equal(t, c.code, run(t.Context(), args, io.Discard, &stderr))
			require.Contains(t, stderr.String(), c.want)
		})
	}
}

func TestSwitchLogsOneLineAndUnchangedReleaseNone(t *testing.T) {
	server := buckettest.Start(t)
	upload(server, "hello")
	args := []string{
		"pull", "--runtime", t.TempDir(), "--env-file", settingsOf(t, server.Bucket), "--dir",
		filepath.Join(t.TempDir(), "site"),
	}

	var stderr bytes.Buffer
	require.Equal(t, exitDone, run(t.Context(), args, io.Discard, &stderr))
	require.Regexp(t,
		`^level=INFO msg="switched to release" release=[0-9a-f]{16} files=1 bytes=5 downloaded=5 from=none in=[0-9.]+m?s\n$`,
		stderr.String())

	stderr.Reset()
	require.Equal(t, exitDone, run(t.Context(), args, io.Discard, &stderr))
	require.Empty(t, stderr.String())

	require.Equal(t, exitDone, run(t.Context(), append(args, "--debug"), io.Discard, &stderr))
	require.Regexp(t, `^level=DEBUG msg="nothing new" release=[0-9a-f]{16}\n$`, stderr.String())
}

// The handler stands in for the unit web-reload and for nginx: a request makes it read the configuration of the
// current release.
func TestPullEndsWhenNewReleaseIsServed(t *testing.T) {
	server := buckettest.Start(t)
	dir, runtimeDirectory := filepath.Join(t.TempDir(), "site"), t.TempDir()
	request := filepath.Join(runtimeDirectory, "reload")
	var served atomic.Pointer[[]byte]
	served.Store(new([]byte))
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if os.Remove(request) == nil {
			text, err := os.ReadFile(filepath.Join(dir, "current", "release.json"))
			if err == nil {
				served.Store(&text)
			}
			// This request still gets the previous configuration.
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Write(*served.Load())
	}))
	t.Cleanup(web.Close)
	args := []string{
		"pull", "--env-file", settingsOf(t, server.Bucket), "--dir", dir, "--runtime", runtimeDirectory, "--reload", request,
		"--url", web.URL,
	}
	for _, front := range []string{"first", "second"} {
		upload(server, front)
		var stderr bytes.Buffer
		require.Equal(t, exitDone, run(t.Context(), args, io.Discard, &stderr), &stderr)
		require.Regexp(t, `^level=INFO msg="switched to release"`, stderr.String())
		requireFrontPage(t, dir, front)
		text, err := os.ReadFile(filepath.Join(dir, "current", "release.json"))
		require.NoError(t, err)
		require.Equal(t, string(text), string(*served.Load()))
		require.NoFileExists(t, request)
	}
}

func TestSuccessfulPullIsInTheMetrics(t *testing.T) {
	server := buckettest.Start(t)
	metrics := filepath.Join(t.TempDir(), "pull.prom")
	args := []string{
		"pull", "--env-file", settingsOf(t, server.Bucket), "--dir", filepath.Join(t.TempDir(), "site"), "--metrics", metrics,
	}
	var stderr bytes.Buffer
	require.Equal(t, exitFailed, run(t.Context(), args, io.Discard, &stderr))
	require.NoFileExists(t, metrics)
	upload(server, "hello")
	require.Equal(t, exitDone, run(t.Context(), args, io.Discard, &stderr))
	text, err := os.ReadFile(metrics)
	require.NoError(t, err)
	require.Regexp(t, `(?m)^agent_last_pull_timestamp_seconds \d{10}$`, string(text))

	stderr.Reset()
	require.NoError(t, os.RemoveAll(filepath.Dir(metrics)))
	require.Equal(t, exitDone, run(t.Context(), args, io.Discard, &stderr), "metrics are optional")
	require.Contains(t, stderr.String(), "level=WARN msg=\"cannot write metrics: ")
}

func TestFailedPullLogsOneErrorAndExitsWithOne(t *testing.T) {
	server := buckettest.Start(t)
	var stderr bytes.Buffer
	require.Equal(t, exitFailed,
		run(t.Context(), []string{"pull", "--env-file", settingsOf(t, server.Bucket), "--dir", t.TempDir()}, io.Discard,
			&stderr))
	require.Equal(t, "level=ERROR msg=\"pull: no build has been uploaded yet: "+
		"get s3://content/SHA256SUMS: not found (NoSuchKey: NoSuchKey in words)\"\n", stderr.String())
}

func TestStalledTransferTimesOut(t *testing.T) {
	server := buckettest.Start(t)
	upload(server, "hello")
	gate := make(chan struct{})
	defer close(gate)
	server.OnGet(func(string, *http.Request) { <-gate })
	var stderr bytes.Buffer
	require.Equal(t, exitFailed, run(t.Context(),
		[]string{"pull", "--env-file", settingsOf(t, server.Bucket), "--dir", t.TempDir(), "--timeout", "50ms"}, io.Discard,
		&stderr))
	require.Contains(t, stderr.String(), "context deadline exceeded")
}

func TestEmptyRuntimeDirectoryCausesVerification(t *testing.T) {
	server := buckettest.Start(t)
	upload(server, "hello")
	runtimeDirectory := t.TempDir()
	dir := filepath.Join(t.TempDir(), "site")
	args := []string{"pull", "--env-file", settingsOf(t, server.Bucket), "--dir", dir, "--runtime", runtimeDirectory}
	var stderr bytes.Buffer
	require.Equal(t, exitDone, run(t.Context(), args, io.Discard, &stderr))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "current", "site", "index.html"), []byte("hexxo"), 0o644))

	require.Equal(t, exitDone, run(t.Context(), args, io.Discard, &stderr))
	requireFrontPage(t, dir, "hexxo")
	require.NoError(t, os.Remove(filepath.Join(runtimeDirectory, "site-verified")))
	require.Equal(t, exitDone, run(t.Context(), args, io.Discard, &stderr))
	requireFrontPage(t, dir, "hello")
}

func TestReleaseIsReadableWithAnyUmask(t *testing.T) {
	server := buckettest.Start(t)
	upload(server, "hello")
	before := syscall.Umask(0o077)
	defer syscall.Umask(before)
	dir := t.TempDir()
	var stderr bytes.Buffer
	require.Equal(t, exitDone,
		run(t.Context(), []string{"pull", "--env-file", settingsOf(t, server.Bucket), "--dir", dir}, io.Discard, &stderr))
	for path, want := range map[string]os.FileMode{
		"releases": 0o755, "current": 0o755, "current/site": 0o755, "current/site/index.html": 0o644,
		"current/release.json": 0o644,
	} {
		stat, err := os.Stat(filepath.Join(dir, path))
		require.NoError(t, err)
		require.Equal(t, want, stat.Mode().Perm(), path)
	}
}

// The machine kills the process during a download, without a chance to clean up.
func TestKilledPullLeavesServedReleaseUnchangedAndNextPullSucceeds(t *testing.T) {
	server := buckettest.Start(t)
	dir := filepath.Join(t.TempDir(), "site")
	args := []string{"pull", "--env-file", settingsOf(t, server.Bucket), "--dir", dir}
	upload(server, "first")
	command, stderr := agent(t, args...)
	require.NoError(t, command.Run(), stderr)
	requireFrontPage(t, dir, "first")

	upload(server, "second")
	downloading := make(chan struct{})
	gate := make(chan struct{})
	openGate := sync.OnceFunc(func() { close(gate) })
	defer openGate()
	var once sync.Once
	server.OnGet(func(key string, _ *http.Request) {
		if key == "site/index.html" {
			once.Do(func() { close(downloading) })
			<-gate
		}
	})
	command, _ = agent(t, args...)
	require.NoError(t, command.Start())
	await(t, downloading)
	require.NoError(t, command.Process.Kill())
	require.Error(t, command.Wait())
	openGate()
	requireFrontPage(t, dir, "first")
	left, err := filepath.Glob(filepath.Join(dir, "releases", "*.tmp-*"))
	require.NoError(t, err)
	require.Len(t, left, 1, "the process must be killed during the download")

	command, stderr = agent(t, args...)
	require.NoError(t, command.Run(), stderr)
	requireFrontPage(t, dir, "second")
	require.NoDirExists(t, left[0])
}

// systemctl stop sends SIGTERM.
func TestStoppedPullCleansUp(t *testing.T) {
	server := buckettest.Start(t)
	upload(server, "first")
	dir := filepath.Join(t.TempDir(), "site")
	downloading := make(chan struct{})
	gate := make(chan struct{})
	defer close(gate)
	server.OnGet(func(key string, _ *http.Request) {
		if key == "site/index.html" {
			close(downloading)
			<-gate
		}
	})
	command, stderr := agent(t, "pull", "--env-file", settingsOf(t, server.Bucket), "--dir", dir)
	require.NoError(t, command.Start())
	await(t, downloading)
	require.NoError(t, command.Process.Signal(syscall.SIGTERM))
	var exit *exec.ExitError
	require.ErrorAs(t, command.Wait(), &exit)
	require.Equal(t, exitFailed, exit.ExitCode())
	require.Contains(t, stderr.String(), context.Canceled.Error())
	left, err := os.ReadDir(filepath.Join(dir, "releases"))
	require.NoError(t, err)
	require.Empty(t, left)
}
