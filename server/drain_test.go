package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testtool"
)

// drainLimit is how long requests in progress may take after the shutdown has started.
const drainLimit = time.Minute

// largeSize is the size of a response that fits into the buffers of a connection, in bytes.
const largeSize = 1 << 20

// lifecycle returns the flags in compose.yaml that control how Traefik stops.
func lifecycle(t *testing.T) (flags []string) {
	t.Helper()
	for _, flag := range composeServices(t, "compose.yaml")["traefik"].Command {
		if strings.Contains(flag, ".transport.lifecycle.") {
			flags = append(flags, flag)
		}
	}
	require.NotEmpty(t, flags)
	return flags
}

func TestShutdownStopsTraefikFirstAndWaitsAMinute(t *testing.T) {
	text, err := files.ReadFile("files/systemd/traefik-drain.service")
	require.NoError(t, err)
	unit := map[string]string{}
	for _, line := range regexp.MustCompile(`(?m)^(\w+)=(.*)$`).FindAllStringSubmatch(string(text), -1) {
		unit[line[1]] = line[2]
	}
	// systemd stops units in the reverse order of their start.
	require.Subset(t, strings.Fields(unit["After"]), []string{"docker.service", "network.target"})
	require.Equal(t, "/bin/bash /opt/site/drain site-traefik-1 8443", unit["ExecStop"])
	// Only these targets stop the unit, not reboot.target or shutdown.target.
	require.Equal(t, []string{"poweroff.target", "halt.target"}, strings.Fields(unit["Conflicts"]))
	require.Equal(t, "no", unit["DefaultDependencies"])
	require.Equal(t, "/usr/bin/docker start site-traefik-1", unit["ExecStart"],
		"Docker does not start a stopped container at boot")
	require.Equal(t, "yes", unit["RemainAfterExit"], "only an active unit is stopped")

	duration := func(text string) time.Duration {
		parsed, err := time.ParseDuration(text)
		require.NoError(t, err)
		return parsed
	}
	flag := func(name string) time.Duration {
		flags := lifecycle(t)
		prefix := "--entrypoints.https.transport.lifecycle." + name + "="
		i := slices.IndexFunc(flags, func(flag string) bool { return strings.HasPrefix(flag, prefix) })
		require.GreaterOrEqual(t, i, 0, name)
		return duration(strings.TrimPrefix(flags[i], prefix))
	}
	grace, _ := composeServices(t, "compose.yaml")["traefik"].Rest["stop_grace_period"].(string)
	require.Equal(t, drainLimit, flag("gracetimeout"))
	require.Greater(t, duration(grace), flag("requestacceptgracetimeout")+drainLimit, "or Docker would kill Traefik")
	require.Greater(t, duration(unit["TimeoutStopSec"]), duration(grace), "or systemd would end the wait")
	require.Less(t, duration(unit["TimeoutStopSec"]), 2*time.Minute, "EC2 cuts the power after some minutes")
}

// slowSite is Traefik, as configured on servers, in front of a site that responds when the test says so.
type slowSite struct {
	*testing.T
	address string
	process *os.Process
	// arrived receives the path of each request, finish completes the responses.
	arrived chan string
	finish  context.CancelFunc
}

// newSlowSite starts the site and Traefik. flags override Traefik's flags in compose.yaml.
func newSlowSite(t *testing.T, flags ...string) *slowSite {
	t.Helper()
	finish, end := context.WithCancel(t.Context())
	s := &slowSite{T: t, arrived: make(chan string, 10), finish: end}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			w.Header().Set("Content-Length", "8")
			_, _ = io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			s.arrived <- r.URL.Path
			<-finish.Done()
			_, _ = io.WriteString(w, "full")
		case "/large":
			_, _ = w.Write(make([]byte, largeSize))
			s.arrived <- r.URL.Path
		case "/socket":
			connection, stream, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = connection.Close() }()
			_, _ = stream.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			_ = stream.Flush()
			s.arrived <- r.URL.Path
			_, _ = io.Copy(io.Discard, connection)
		}
	}))
	// Cleanups run in reverse order: the handlers end first.
	t.Cleanup(site.Close)
	t.Cleanup(end)
	s.address, s.process = startTraefik(t, "http://web:8080", site.URL, append(lifecycle(t), flags...)...)
	require.Eventually(t, func() bool {
		connection, err := tls.Dial("tcp", s.address, s.tls())
		if err != nil {
			return false
		}
		defer func() { _ = connection.Close() }()
		return s.get(connection, "/") == http.StatusOK
	}, 20*time.Second, 50*time.Millisecond)
	return s
}

func (s *slowSite) tls(protocols ...string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, ServerName: "example.org", NextProtos: protocols}
}

// get requests a path by HTTP/1.1, and returns the status or 0.
func (s *slowSite) get(connection net.Conn, path string) (status int) {
	s.Helper()
	_, err := io.WriteString(connection, "GET "+path+" HTTP/1.1\r\nHost: example.org\r\n\r\n")
	require.NoError(s, err)
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		return 0
	}
	_, err = io.Copy(io.Discard, response.Body)
	require.NoError(s, err)
	return response.StatusCode
}

// dial opens a connection that is closed when the test ends.
func (s *slowSite) dial() net.Conn {
	s.Helper()
	connection, err := tls.Dial("tcp", s.address, s.tls())
	require.NoError(s, err)
	s.Cleanup(func() { _ = connection.Close() })
	return connection
}

// stop sends the signal that Docker sends, and returns a channel that receives the time until Traefik has ended.
func (s *slowSite) stop() (ended <-chan time.Duration) {
	s.Helper()
	began := time.Now()
	require.NoError(s, s.process.Signal(syscall.SIGTERM))
	took := make(chan time.Duration, 1)
	go func() {
		_, _ = s.process.Wait()
		took <- time.Since(began)
	}()
	return took
}

// closed waits until the server closes a connection, and returns how long that took.
func (s *slowSite) closed(connection net.Conn, limit time.Duration) time.Duration {
	s.Helper()
	began := time.Now()
	require.NoError(s, connection.SetReadDeadline(began.Add(limit)))
	_, err := io.Copy(io.Discard, connection)
	require.NotErrorIs(s, err, os.ErrDeadlineExceeded, "the connection is still open")
	return time.Since(began)
}

func TestStoppingTraefikFinishesRequestsAndClosesIdleConnections(t *testing.T) {
	s := newSlowSite(t)
	idle := s.dial()
	require.Equal(t, http.StatusOK, s.get(idle, "/"))

	var group sync.WaitGroup
	bodies := make(chan string, 2)
	for _, http2 := range []bool{false, true} {
		transport := &http.Transport{TLSClientConfig: s.tls(), ForceAttemptHTTP2: http2}
		t.Cleanup(transport.CloseIdleConnections)
		transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, s.address)
		}
		group.Go(func() {
			response, err := (&http.Client{Transport: transport}).Get("https://example.org/slow")
			if err != nil {
				bodies <- err.Error()
				return
			}
			defer func() { _ = response.Body.Close() }()
			body, err := io.ReadAll(response.Body)
			if err != nil {
				bodies <- err.Error()
				return
			}
			bodies <- response.Proto + " " + string(body)
		})
		require.Equal(t, "/slow", <-s.arrived)
	}
	ended := s.stop()
	s.closed(idle, 5*time.Second)
	require.Empty(t, bodies, "the slow requests have ended already")
	_, err := net.Dial("tcp", s.address)
	require.Error(t, err, "new connections are for the next server")

	s.finish()
	group.Wait()
	require.ElementsMatch(t, []string{"HTTP/1.1 halffull", "HTTP/2.0 halffull"}, []string{<-bodies, <-bodies})
	require.Less(t, <-ended, drainLimit/4, "Traefik waited although no request was left")
}

func TestTraefikWithoutVisitorsStopsAtOnce(t *testing.T) {
	require.Less(t, <-newSlowSite(t).stop(), 5*time.Second)
}

func TestNoConnectionKeepsTraefikRunningBeyondItsGracePeriod(t *testing.T) {
	const grace = 2 * time.Second
	s := newSlowSite(t, "--entrypoints.https.transport.lifecycle.gracetimeout="+grace.String())
	slow, socket, silent := s.dial(), s.dial(), s.dial()
	for path, connection := range map[string]net.Conn{"/slow": slow, "/socket": socket} {
		_, err := io.WriteString(connection, "GET "+path+" HTTP/1.1\r\nHost: example.org\r\n"+
			"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
			"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
		require.NoError(t, err)
		require.Equal(t, path, <-s.arrived)
	}
	began := time.Now()
	ended := s.stop()
	s.closed(slow, 4*grace)
	require.Greater(t, time.Since(began), grace, "the request was in flight")
	s.closed(socket, 4*grace)
	s.closed(silent, 4*grace)
	require.Less(t, <-ended, 4*grace)
}

// drain runs the script drain instead of sending the stop signal, with a stand-in for Docker.
func (s *slowSite) drain() (ended <-chan time.Duration) {
	s.Helper()
	if os.Geteuid() != 0 {
		s.Skip("needs root to enter a network namespace")
	}
	script, err := files.ReadFile("files/drain")
	require.NoError(s, err)
	dir := s.TempDir()
	path := filepath.Join(dir, "drain")
	require.NoError(s, os.WriteFile(path, script, 0o644))
	docker := fmt.Sprintf(`#!/bin/bash
case $1 in
inspect) echo %[1]d ;;
stop) kill -TERM %[1]d; while kill -0 %[1]d 2>/dev/null; do sleep 0.05; done ;;
kill) kill -KILL %[1]d ;;
esac
`, s.process.Pid)
	testtool.WriteProgram(s, filepath.Join(dir, "docker"), docker)
	_, port, err := net.SplitHostPort(s.address)
	require.NoError(s, err)
	command := exec.CommandContext(s.Context(), "bash", path, "site-traefik-1", port)
	command.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	var output strings.Builder
	command.Stdout, command.Stderr = &output, &output
	began := time.Now()
	require.NoError(s, command.Start())
	took := make(chan time.Duration, 1)
	go func() {
		_, _ = s.process.Wait() // or the stand-in would see a zombie process forever
	}()
	go func() {
		if err := command.Wait(); err != nil || output.Len() > 0 {
			s.Errorf("%v: %s", err, output.String())
		}
		took <- time.Since(began)
	}()
	return took
}

func TestSilentConnectionsDoNotDelayTheShutdown(t *testing.T) {
	s := newSlowSite(t)
	idle := s.dial()
	require.Equal(t, http.StatusOK, s.get(idle, "/"))
	scanner, err := net.Dial("tcp", s.address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = scanner.Close() })
	require.Less(t, <-s.drain(), 10*time.Second)
}

func TestLastBytesReachASlowVisitorBeforeTraefikEnds(t *testing.T) {
	s := newSlowSite(t)
	visitor := s.dial()
	_, err := io.WriteString(visitor, "GET /large HTTP/1.1\r\nHost: example.org\r\n\r\n")
	require.NoError(t, err)
	require.Equal(t, "/large", <-s.arrived)
	ended := s.drain()
	// Without the wait for the visitor, Traefik would have ended by then.
	select {
	case took := <-ended:
		require.Failf(t, "Traefik has ended", "after %s", took)
	case <-time.After(4 * time.Second):
	}
	response, err := http.ReadResponse(bufio.NewReader(visitor), nil)
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Len(t, body, largeSize)
	require.Less(t, <-ended, drainLimit/2)
}

func TestRequestInProgressDelaysTheShutdownForAtMostTheGracePeriod(t *testing.T) {
	const grace = 4 * time.Second
	s := newSlowSite(t, "--entrypoints.https.transport.lifecycle.gracetimeout="+grace.String())
	slow := s.dial()
	_, err := io.WriteString(slow, "GET /slow HTTP/1.1\r\nHost: example.org\r\n\r\n")
	require.NoError(t, err)
	require.Equal(t, "/slow", <-s.arrived)
	took := <-s.drain()
	require.Greater(t, took, grace)
	require.Less(t, took, 4*grace)
}
