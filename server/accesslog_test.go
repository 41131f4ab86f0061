package server

import (
	"compress/gzip"
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
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// signalToTraefik is the command of access-log.service that the tests replace by one that signals their own Traefik.
const signalToTraefik = `pkill -USR1 --euid site-agent --full "^traefik --entrypoints"`

// accessLog is Traefik with the access log of compose.yaml, and the commands of access-log.service.
type accessLog struct {
	*testing.T
	dir     string
	process *os.Process
	client  *http.Client
	// rotation has the commands of the service, in order.
	rotation []string
	sent     atomic.Int64
}

// newAccessLog starts Traefik. The file is rotated when it exceeds 1 kB; kept is the number of rotated files to keep.
func newAccessLog(t *testing.T, kept int) *accessLog {
	t.Helper()
	l := &accessLog{T: t, dir: filepath.Join(t.TempDir(), "log")}
	require.NoError(t, os.Mkdir(l.dir, 0o700))
	var flags []string
	for _, flag := range composeServices(t, "compose.yaml")["traefik"].Command {
		if strings.HasPrefix(flag, "--accesslog") {
			flags = append(flags, strings.Replace(flag, "=/log/", "="+l.dir+"/", 1))
		}
	}
	require.Contains(t, flags, "--accesslog.filepath="+l.dir+"/access.log")
	site := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(site.Close)
	var address string
	address, l.process = startTraefik(t, "http://web:8080", site.URL, flags...)

	etc := t.TempDir()
	l.rotation = rotationCommands(t,
		"/usr/sbin/logrotate", program(t, "logrotate"), "/var/lib/access-log", etc, "/opt/site/traefik", etc,
		"/srv/traefik/log", l.dir, "/srv/metrics", etc, signalToTraefik, fmt.Sprintf("kill -USR1 %d", l.process.Pid))
	text, err := files.ReadFile("files/traefik/logrotate.conf")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(etc, "logrotate.conf"), []byte(strings.NewReplacer(
		"/srv/traefik/log", l.dir, "size 20M", "size 1k", "rotate 4", fmt.Sprintf("rotate %d", kept),
	).Replace(string(text))), 0o644))

	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, ServerName: "example.org"},
		ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	l.client = &http.Client{Transport: transport, Timeout: 10 * time.Second}
	require.Eventually(t, func() bool {
		response, err := l.client.Get("https://example.org/first")
		return err == nil && response.Body.Close() == nil && response.StatusCode == http.StatusOK
	}, 20*time.Second, 50*time.Millisecond)
	return l
}

// rotationCommands returns the commands of access-log.service after replacing texts, given in pairs.
func rotationCommands(t *testing.T, replace ...string) (commands []string) {
	t.Helper()
	text, err := files.ReadFile("files/systemd/access-log.service")
	require.NoError(t, err)
	require.Contains(t, string(text), signalToTraefik)
	for _, line := range regexp.MustCompile(`(?m)^Exec\w+=-?(.*)$`).FindAllStringSubmatch(string(text), -1) {
		commands = append(commands, strings.NewReplacer(replace...).Replace(line[1]))
	}
	require.Len(t, commands, 3)
	return commands
}

// rotate runs the commands of the service.
func (l *accessLog) rotate() {
	l.Helper()
	for _, command := range l.rotation {
		output, err := exec.CommandContext(l.Context(), "bash", "-c", command).CombinedOutput()
		require.NoError(l, err, "%s: %s", command, output)
		require.Empty(l, string(output), command)
	}
}

// exists waits until Traefik has created its file.
func (l *accessLog) exists() {
	l.Helper()
	require.Eventually(l, func() bool {
		_, err := os.Stat(filepath.Join(l.dir, "access.log"))
		return err == nil
	}, 10*time.Second, time.Millisecond)
}

// request sends a numbered request.
func (l *accessLog) request() error {
	response, err := l.client.Get(fmt.Sprintf("https://example.org/?n=%d&", l.sent.Add(1)))
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", response.Status)
	}
	return nil
}

// files returns the sizes of the log's files by name.
func (l *accessLog) files() map[string]int64 {
	l.Helper()
	entries, err := os.ReadDir(l.dir)
	require.NoError(l, err)
	sizes := map[string]int64{}
	for _, entry := range entries {
		info, err := entry.Info()
		require.NoError(l, err)
		sizes[entry.Name()] = info.Size()
	}
	return sizes
}

// logged counts the log lines of each request.
func (l *accessLog) logged() map[string]int {
	l.Helper()
	lines := map[string]int{}
	for name := range l.files() {
		file, err := os.Open(filepath.Join(l.dir, name))
		require.NoError(l, err)
		var reader io.Reader = file
		if strings.HasSuffix(name, ".gz") {
			reader, err = gzip.NewReader(file)
			require.NoError(l, err)
		}
		text, err := io.ReadAll(reader)
		require.NoError(l, err)
		require.NoError(l, file.Close())
		for _, number := range regexp.MustCompile(`/\?n=(\d+)&`).FindAllStringSubmatch(string(text), -1) {
			lines[number[1]]++
		}
	}
	return lines
}

func TestRotationOfTheAccessLogLosesNoLine(t *testing.T) {
	const rotations = 10
	l := newAccessLog(t, 2*rotations)
	var visitors sync.WaitGroup
	ctx, leave := context.WithCancel(t.Context())
	for range 4 {
		visitors.Go(func() {
			for ctx.Err() == nil {
				if err := l.request(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range rotations {
		begin := l.sent.Load()
		require.Eventually(t, func() bool { return l.sent.Load() > begin+100 }, 20*time.Second, time.Millisecond)
		l.rotate()
		l.exists()
	}
	leave()
	visitors.Wait()
	require.Len(t, l.files(), rotations+1)
	require.Contains(t, l.files(), "access.log.2.gz")
	// Traefik writes a line after the response.
	require.Eventually(t, func() bool { return len(l.logged()) == int(l.sent.Load()) }, 5*time.Second, 50*time.Millisecond)
	for number, lines := range l.logged() {
		require.Equal(t, 1, lines, number)
	}
}

func TestAccessLogIsBoundedAndNeverStopsTraefik(t *testing.T) {
	const kept, limit = 4, 20_000
	l := newAccessLog(t, kept)
	require.NoError(t, unix.Prlimit(l.process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: limit, Max: limit}, nil))
	for range kept + 3 {
		for range 200 {
			require.NoError(t, l.request(), "the log is full")
		}
		require.EqualValues(t, limit, l.files()["access.log"])
		l.rotate()
		l.exists()
	}
	sizes := l.files()
	require.Len(t, sizes, kept+1)
	for name, size := range sizes {
		require.LessOrEqual(t, size, int64(limit), name)
	}

	// Traefik cannot create the file, as on a disk without free inodes.
	require.NoError(t, os.Remove(filepath.Join(l.dir, "access.log")))
	require.NoError(t, os.Rename(l.dir, l.dir+".gone"))
	open := func() bool {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", l.process.Pid))
		require.NoError(t, err)
		for _, file := range files {
			if target, err := os.Readlink(file); err == nil && strings.Contains(target, "access.log") {
				return true
			}
		}
		return false
	}
	require.True(t, open())
	require.NoError(t, l.process.Signal(unix.SIGUSR1))
	require.Eventually(t, func() bool { return !open() }, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, l.request())
	require.NoError(t, os.Rename(l.dir+".gone", l.dir))
	l.rotate()
	l.exists()
	require.NoError(t, l.request())
	last := fmt.Sprint(l.sent.Load())
	require.Eventually(t, func() bool { return l.logged()[last] == 1 }, 5*time.Second, 50*time.Millisecond)
}

func TestAccessLogOfTheServerIsBoundedAndForAdminsOnly(t *testing.T) {
	traefik := composeServices(t, "compose.yaml")["traefik"]
	require.Equal(t, 64<<20, traefik.Ulimits["fsize"])
	require.Contains(t, traefik.Volumes, "/srv/traefik/log:/log")
	// `provision` makes the directory with mode 0700: TestTraefikFindsItsCertificatesWhenItStarts.
	text, err := files.ReadFile("files/traefik/logrotate.conf")
	require.NoError(t, err)
	require.Regexp(t, `(?m)^\trotate 4$`, string(text), "320 MiB with the current file, as docs/server.md says")
	require.Regexp(t, `(?m)^\tsize 20M$`, string(text))

	pattern := regexp.MustCompile(`"(\^.*)"`).FindStringSubmatch(signalToTraefik)[1]
	require.Regexp(t, pattern, strings.Join(append(traefik.Entrypoint, traefik.Command...), " "))
	require.NotRegexp(t, pattern, strings.Join(traefik.HealthCheck.Test[1:], " "))
}
