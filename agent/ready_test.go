package main

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/bucket/buckettest"
	"immutable-infra/agent/internal/certificates/certificatestest"
	"immutable-infra/agent/internal/engine/enginetest"
	"immutable-infra/agent/internal/release/releasetest"
	"immutable-infra/internal/testtool"
)

// Scripts that stand in for Docker and systemd on a healthy server.
//
//nolint:lll // a raw string
const (
	healthyDocker    = `[ "$*" != "compose config --services" ] || echo web`
	healthySystemctl = `printf 'Id=agent-pull.timer\nLoadState=loaded\nActiveState=active\nSubState=waiting\nResult=success\n\n'
printf 'Id=agent-pull.service\nLoadState=loaded\nActiveState=inactive\nSubState=dead\nResult=success\nExecMainStatus=0\nExecMainExitTimestampMonotonic=1\n\n'
printf 'Id=agent-backup.timer\nLoadState=loaded\nActiveState=active\nSubState=waiting\nResult=success\n\n'
printf 'Id=agent-backup.service\nLoadState=loaded\nActiveState=inactive\nSubState=dead\nResult=success\nExecMainStatus=0\nExecMainExitTimestampMonotonic=1\n\n'
printf 'Id=agent-watch.service\nLoadState=loaded\nActiveState=active\nSubState=running\nResult=success\nActiveEnterTimestampMonotonic=1\nNRestarts=0\n'`
)

// install installs a script that shadows a program of the machine.
func install(t *testing.T, dir, name, script string) {
	t.Helper()
	testtool.WriteProgram(t, filepath.Join(dir, name), "#!/bin/sh\n"+script+"\n")
}

// readyServer is a server that is ready.
type readyServer struct {
	// programs is the directory of the stand-in programs, and args the command line.
	programs string
	args     []string
	docker   *enginetest.Engine
	// web is its container, and php the response of PHP's probe in it.
	web enginetest.Container
	php http.HandlerFunc
}

func newServer(t *testing.T) *readyServer {
	t.Helper()
	return newServerOf(t, releasetest.Site{"index.html": "hello"})
}

// newServerOf returns a ready server of a site. Its web server responds with 503 to requests for dynamic files.
func newServerOf(t *testing.T, site releasetest.Site) *readyServer {
	t.Helper()
	server := &readyServer{php: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }}
	s3 := buckettest.Start(t)
	for name, content := range site {
		s3.Put("site/"+name, content)
	}
	s3.Put("SHA256SUMS", site.Manifest())
	dir := filepath.Join(t.TempDir(), "site")
	require.Equal(t, exitDone,
		run(t.Context(), []string{"pull", "--env-file", settingsOf(t, s3.Bucket), "--dir", dir}, io.Discard, io.Discard))
	web := http.NewServeMux()
	web.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	web.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	web.HandleFunc("/.well-known/release", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join(dir, "current", "release.json"))
	})
	end := time.Date(2038, 1, 19, 3, 14, 7, 0, time.UTC)
	pair := certificatestest.New(t, end, "site.example.org", "monitoring.site.example.org")
	listener := httptest.NewUnstartedServer(web)
	listener.TLS = &tls.Config{Certificates: []tls.Certificate{pair.TLS(t)}}
	listener.StartTLS()
	t.Cleanup(listener.Close)
	traefik := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(traefik, "acme"), 0o700))
	require.NoError(t,
		os.WriteFile(filepath.Join(traefik, "acme", "acme.json"), []byte(certificatestest.Storage(t, pair)), 0o600))

	prometheus := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(prometheus, "restored.json"), []byte(`{"found": false}`), 0o644))

	// Because the port of a container is always the same, each server has its own address.
	project := t.TempDir()
	random := make([]byte, 3)
	_, _ = rand.Read(random) // never fails
	status, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:8081", 1+random[0]%250, random[1], 1+random[2]%250))
	require.NoError(t, err)
	probe := &httptest.Server{Listener: status, Config: &http.Server{Handler: http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) { server.php(w, r) })}}
	probe.Start()
	t.Cleanup(probe.Close)
	server.web = enginetest.Container{
		ID: "site-web-1", Service: "web", Dir: project, State: "running", Health: "healthy",
		Address: status.Addr().(*net.TCPAddr).IP.String(),
	}
	server.docker = enginetest.Start(t, server.web)

	server.programs = t.TempDir()
	t.Setenv("PATH", server.programs+":"+os.Getenv("PATH"))
	install(t, server.programs, "docker", healthyDocker)
	install(t, server.programs, "systemctl", healthySystemctl)
	install(t, server.programs, "journalctl", "echo the journal of $2")
	env := settingsOf(t, s3.Bucket, "SITE_NAMES=site.example.org,monitoring.site.example.org")
	server.args = []string{
		"ready", "--env-file", env, "--dir", dir, "--project", project, "--docker", server.docker.Socket,
		"--url", listener.URL,
		"--state", filepath.Join(t.TempDir(), "state.json"), "--traefik", traefik, "--holder-file",
		filepath.Join(traefik, "holder"),
		"--prometheus", prometheus,
	}
	return server
}

func TestReadyServerExitsWithZeroAndPrintsTable(t *testing.T) {
	server := newServer(t)
	var stdout, stderr bytes.Buffer
	require.Equal(t, exitDone, run(t.Context(), server.args, &stdout, &stderr), &stdout)
	//nolint:lll // a raw string
	require.Regexp(t, `^ready: server \S+, release [0-9a-f]{16}

CHECK        STATE  SINCE                 DETAIL
containers   ok     20\S{17}Z  web: healthy
release      ok     20\S{17}Z  [0-9a-f]{16}: every static file is served with the bucket's bytes \(files: 1\)
php          ok     20\S{17}Z  the probe runs
certificate  ok     20\S{17}Z  site\.example\.org: until 2038-01-19; monitoring\.site\.example\.org: until 2038-01-19; account https://acme\.example\.org/account/1
history      ok     20\S{17}Z  there was nothing to restore
agent        ok     20\S{17}Z  agent-pull\.timer: active, last run succeeded; agent-backup\.timer: active, last run succeeded; agent-watch\.service: active
disk         ok     20\S{17}Z  /: \d+ MiB free, 64 MiB needed; \S+/site: \d+ MiB free, 64 MiB needed
$`, stdout.String())
	require.Empty(t, stderr.String())
}

func TestUnreadyServerExitsWithOneAndPrintsJSON(t *testing.T) {
	server := newServer(t)
	install(t, server.programs, "systemctl", strings.Replace(healthySystemctl, "=active", "=inactive", 1))
	var stdout, stderr bytes.Buffer
	require.Equal(t, exitFailed, run(t.Context(), append(server.args, "--json"), &stdout, &stderr))
	require.Empty(t, stderr.String(), "the report contains everything")
	var report struct {
		Ready   bool
		Server  string
		Release string
		Checks  []struct {
			Name, Since, Detail string
			OK                  bool
		}
		Logs map[string][]string
	}
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &report))
	require.False(t, report.Ready)
	require.NotEmpty(t, report.Server)
	require.Len(t, report.Release, 16)
	require.Len(t, report.Checks, 7)
	for _, check := range report.Checks {
		require.Equal(t, check.Name != "agent", check.OK, check.Name)
	}
	require.Equal(t, "agent", report.Checks[5].Name)
	require.Equal(t, "agent-pull.timer: inactive", report.Checks[5].Detail)
	require.Equal(t, map[string][]string{"agent-pull.timer": {"the journal of agent-pull.timer"}}, report.Logs)
}

// A good server with bad pages goes live, a bad server with good pages does not.
func TestReadinessDependsOnServerNotOnSite(t *testing.T) {
	site := releasetest.Site{
		"index.html": "hello", "busy.php": "<?php http_response_code(503);", "slow.php": "<?php sleep(11);",
		"contact.php": "<?php if ($_SERVER['REQUEST_METHOD'] !== 'POST') { http_response_code(500); }",
	}
	var stdout bytes.Buffer
	require.Equal(t, exitDone, run(t.Context(), newServerOf(t, site).args, &stdout, io.Discard), &stdout)

	good := newServer(t)
	good.php = func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no upstream", http.StatusBadGateway) }
	stdout.Reset()
	require.Equal(t, exitFailed, run(t.Context(), good.args, &stdout, io.Discard))
	require.Regexp(t, `(?m)^php          not ok  .*the probe does not respond: 502 Bad Gateway: no upstream$`,
		stdout.String())
	require.Equal(t, 1, strings.Count(stdout.String(), "  not ok  "))
}

func TestCrashLoopingAgentIsNotReady(t *testing.T) {
	server := newServer(t)
	install(t, server.programs, "systemctl",
		strings.NewReplacer("=running", "=auto-restart", "NRestarts=0", "NRestarts=12", "=active\\nSubState=running",
			"=activating\\nSubState=auto-restart").Replace(healthySystemctl))
	var stdout, stderr bytes.Buffer
	require.Equal(t, exitFailed, run(t.Context(), server.args, &stdout, &stderr))
	require.Regexp(t,
		`(?m)^agent        not ok  20\S{17}Z  agent-watch\.service: activating \(auto-restart, result success\), restarts: 12$`, stdout.String())
	require.Contains(t, stdout.String(),
		"\nlast lines of the log of agent-watch.service:\n  the journal of agent-watch.service\n")
}

func TestReadyWaitsForContainerToBecomeHealthy(t *testing.T) {
	server := newServer(t)
	starting := server.web
	starting.Health = "starting"
	server.docker.Set(starting)
	var stdout, stderr bytes.Buffer
	progress := &firstWrite{Writer: &stderr, then: func() { server.docker.Set(server.web) }}
	require.Equal(t, exitDone, run(t.Context(), append(server.args, "--wait", "1m"), &stdout, progress), &stdout)
	require.Regexp(t, `^ +\d+\.\d s  containers   not ok  web: starting, its health check has not succeeded yet
 +\d+\.\d s  release      ok      .*
 +\d+\.\d s  php          ok      .*
 +\d+\.\d s  certificate  ok      .*
 +\d+\.\d s  history      ok      .*
 +\d+\.\d s  agent        ok      .*
 +\d+\.\d s  disk         ok      .*
 +\d+\.\d s  containers   ok      web: healthy
$`, stderr.String())
	require.Regexp(t, "^ready: ", stdout.String())
}

// firstWrite calls a function at the first write.
type firstWrite struct {
	io.Writer
	then func()
	once sync.Once
}

func (w *firstWrite) Write(text []byte) (int, error) {
	w.once.Do(w.then)
	return w.Writer.Write(text)
}

func TestErrorOfReadyUsageNamesTheFix(t *testing.T) {
	for _, c := range []struct {
		settings []string
		args     string
		code     int
		want     string
	}{
		{[]string{"CONTENT_BUCKET="}, "", exitUsage, "server.env does not set CONTENT_BUCKET\n"},
		{nil, "--wait -1s", exitUsage,
			"usage: agent ready: --wait is -1s: give a duration, such as 10m, or 0s to check once"},
		{nil, "--wait long", exitUsage, `usage: agent ready: invalid value "long" for flag -wait`},
		{[]string{"DOMAIN="}, "", exitUsage, "server.env does not set DOMAIN\n"},
		{nil, "--url example.org", exitUsage,
			`usage: agent ready: --url is "example.org": give an address without a path, such as https://127.0.0.1`},
		{nil, "--url http://127.0.0.1", exitUsage, `usage: agent ready: --url is "http://127.0.0.1"`},
		{nil, "--url https://127.0.0.1/blog", exitUsage, `usage: agent ready: --url is "https://127.0.0.1/blog"`},
		{[]string{"SITE_NAMES="}, "", exitUsage, "server.env does not set SITE_NAMES\n"},
		{nil, "now", exitUsage, `usage: agent ready: unexpected argument "now": flags only`},
		{nil, "-h", exitDone, "usage: agent ready [flags]"},
	} {
		t.Run(c.want, func(t *testing.T) {
			var stderr bytes.Buffer
			args := append([]string{"ready", "--env-file", settingsOf(t, "b", c.settings...)}, strings.Fields(c.args)...)
			require.Equal(t, c.code, run(t.Context(), args, io.Discard, &stderr))
			require.Contains(t, stderr.String(), c.want)
		})
	}
}
