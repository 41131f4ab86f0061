package server

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testtool"
)

// boundedWork runs the script bounded with its own directory.
type boundedWork struct {
	*testing.T
	script, dir string
	// environment is added to the script's environment.
	environment []string
}

func newBoundedWork(t *testing.T) *boundedWork {
	t.Helper()
	w := &boundedWork{T: t, script: filepath.Join(t.TempDir(), "bounded"), dir: t.TempDir()}
	script, err := files.ReadFile("files/bounded")
	require.NoError(t, err)
	testtool.WriteProgram(t, w.script, string(script))
	return w
}

func (w *boundedWork) command(name string, args ...string) *exec.Cmd {
	w.Helper()
	command := exec.CommandContext(w.Context(), name, args...)
	command.Dir = w.dir
	command.Env = append(append(os.Environ(), "BOUNDED_DIR="+filepath.Join(w.dir, "log")), w.environment...)
	return command
}

// run runs work with a timeout and a grace period in seconds, and returns its output and exit status.
func (w *boundedWork) run(seconds, grace int, work string) (string, int) {
	w.Helper()
	output, wait := w.start(seconds, grace, work)
	status := wait()
	return output(), status
}

// start starts work. output returns its output so far, status waits until it ends and returns its exit status.
func (w *boundedWork) start(seconds, grace int, work string) (output func() string, status func() int) {
	w.Helper()
	command := w.command(w.script, "provision", strconv.Itoa(seconds), strconv.Itoa(grace), work)
	content := &syncBuffer{}
	command.Stdout, command.Stderr = content, content
	require.NoError(w, command.Start())
	wait := sync.OnceValue(func() int {
		_ = command.Wait() // the exit status is enough
		return command.ProcessState.ExitCode()
	})
	w.Cleanup(func() {
		_ = command.Process.Kill()
		wait()
	})
	return func() string { return content.String() }, wait
}

func (w *boundedWork) eventually(condition func() bool, message string) {
	w.Helper()
	require.Eventually(w, condition, 10*time.Second, 10*time.Millisecond, message)
}

func (w *boundedWork) exists(name string) func() bool {
	return func() bool {
		_, err := os.Stat(filepath.Join(w.dir, name))
		return err == nil
	}
}

func (w *boundedWork) write(name string) {
	w.Helper()
	require.NoError(w, os.WriteFile(filepath.Join(w.dir, name), nil, 0o644))
}

// until is work that creates the file begun, and ends when the file end exists.
const until = "touch begun; until test -e end; do sleep 0.02; done; "

type syncBuffer struct {
	mutex  sync.Mutex
	buffer bytes.Buffer
}

func (b *syncBuffer) Write(chunk []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.buffer.Write(chunk)
}

func (b *syncBuffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.buffer.String()
}

func TestBoundedWorkGetsTheTimeAndReturnsOutputAndStatus(t *testing.T) {
	t.Parallel()
	w := newBoundedWork(t)
	output, status := w.start(90, 20,
		`pwd; echo "$0 $1"; read -r line || echo no input; echo oops >&2; false; echo not reached`)
	require.Equal(t, 1, status())
	require.Equal(t, w.dir+"\nprovision 90\nno input\noops\n", output())
	log, err := os.ReadFile(filepath.Join(w.dir, "log", "provision.log"))
	require.NoError(t, err)
	require.Equal(t, output(), string(log), "an admin can read it on the server")
	left, err := filepath.Glob(filepath.Join(w.dir, "log", ".*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestBoundedWorkIsShownWhileItRuns(t *testing.T) {
	t.Parallel()
	w := newBoundedWork(t)
	output, status := w.start(90, 20, "echo begun; "+until)
	w.eventually(func() bool { return output() == "begun\n" }, "its first line is shown before it ends")
	w.write("end")
	require.Zero(t, status())
}

func TestLinesThatWouldHangAnUpdateAreCut(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ work, output string }{
		"long": {
			"head --bytes 1000000 /dev/zero | tr '\\0' x; echo; echo end", strings.Repeat("x", 8192) + "\nend\n",
		},
		"progress bar":     {`printf '\r%d %%' {1..20000}; echo; echo end`, progress(20000) + "end\n"},
		"without newline":  {"printf end", "end\n"},
		"not UTF-8":        {`printf 'caf\xc3\xa9 caf\xe9\ncaf\xc3\xa9\n'`, "caf?? caf?\ncafé\n"},
		"cut in a rune":    {`printf 'x%.0s' {1..8191}; echo é`, strings.Repeat("x", 8191) + "?\n"},
		"carriage returns": {`printf 'one\r\ntwo\r\n'`, "one\ntwo\n"},
	} {
		t.Run(name, func(t *testing.T) {
			output, status := newBoundedWork(t).run(90, 20, test.work)
			require.Zero(t, status)
			require.Equal(t, test.output, output)
		})
	}
}

func progress(steps int) string {
	var bar strings.Builder
	for step := range steps {
		bar.WriteString("\n" + strconv.Itoa(step+1) + " %")
	}
	return bar.String() + "\n"
}

func TestTimeLimitKillsAllProcessesOfTheWork(t *testing.T) {
	t.Parallel()
	for name, work := range map[string]string{
		"work that waits":             "sleep 300",
		"work that ignores its end":   "trap '' TERM; sleep 300 & wait; sleep 300",
		"a group of its own within":   "timeout 300 bash -c 'trap : TERM; sleep 300 & wait; sleep 300' & wait",
		"a background process within": "sleep 300 & trap 'exit 1' TERM; wait",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newBoundedWork(t)
			mark := "MARK=" + filepath.Base(filepath.Dir(w.script)) + t.Name()
			w.environment = []string{mark}
			begin := time.Now()
			output, status := w.run(1, 1, "echo begun; "+work)
			require.NotZero(t, status)
			require.Equal(t, "begun\ncannot provision: it did not end within 2 s and was killed\n", withoutKilled(output))
			require.Less(t, time.Since(begin), 10*time.Second)
			w.eventually(func() bool { return len(processesWith(t, mark)) == 0 }, "no process is left")
			again, status := w.run(30, 1, "echo again")
			require.Zero(t, status)
			require.Equal(t, "again\n", again, "the next update does not have to wait")
		})
	}
}

// withoutKilled removes bash's messages about its killed child processes.
func withoutKilled(output string) string {
	var kept []string
	for line := range strings.Lines(output) {
		if !strings.Contains(line, "Killed") && !strings.Contains(line, "Terminated") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// processesWith returns the processes that have a variable in their environment.
func processesWith(t *testing.T, variable string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	require.NoError(t, err)
	var found []string
	for _, path := range files {
		// Processes may end meanwhile.
		if content, err := os.ReadFile(path); err == nil && bytes.Contains(content, []byte(variable+"\x00")) {
			found = append(found, path)
		}
	}
	return found
}

func TestASecondUpdateWaitsForTheWorkOfTheFirst(t *testing.T) {
	t.Parallel()
	w := newBoundedWork(t)
	_, first := w.start(90, 20, until+"sleep 0.2; touch first")
	w.eventually(w.exists("begun"), "the first begins")
	output, second := w.start(90, 20, "test -e first && echo second")
	w.eventually(func() bool { return strings.Contains(output(), "waiting") }, "the second says that it waits")
	w.write("end")
	require.Zero(t, first())
	require.Zero(t, second(), output())
	require.Equal(t, "an earlier update is still running on this server: waiting for it for up to 90 s\nsecond\n",
		output())
}

func TestASecondUpdateFailsInTimeIfTheFirstDoesNotEnd(t *testing.T) {
	t.Parallel()
	w := newBoundedWork(t)
	_, first := w.start(90, 20, until)
	w.eventually(w.exists("begun"), "the first begins")
	output, status := w.run(1, 1, "touch second")
	require.Equal(t, 75, status)
	require.Contains(t, output,
		"cannot provision: an earlier update is still running on this server after 1 s; run pulumi up again later\n")
	require.False(t, w.exists("second")())
	w.write("end")
	require.Zero(t, first())
}

func TestWaitCountsTowardsTheTimeLimit(t *testing.T) {
	t.Parallel()
	w := newBoundedWork(t)
	_, first := w.start(90, 20, until)
	w.eventually(w.exists("begun"), "the first begins")
	output, second := w.start(90, 20, `test "$1" -lt 90 && echo less`)
	w.eventually(func() bool { return strings.Contains(output(), "waiting") }, "the second waits")
	begin := time.Now()
	w.eventually(func() bool { return time.Since(begin) > 1100*time.Millisecond }, "a second passes")
	w.write("end")
	require.Zero(t, first())
	require.Zero(t, second(), output())
	require.Contains(t, output(), "\nless\n")
}

func TestALostConnectionDoesNotEndTheWork(t *testing.T) {
	t.Parallel()
	w := newBoundedWork(t)
	command := w.command(w.script, "provision", "90", "20",
		until+"for i in {1..100}; do echo $i; sleep 0.01; done; touch done")
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	command.Stdout, command.Stderr = writer, writer
	require.NoError(t, command.Start())
	require.NoError(t, writer.Close())
	w.eventually(w.exists("begun"), "the work begins")
	require.NoError(t, reader.Close())
	w.write("end")
	require.NoError(t, command.Wait())
	require.True(t, w.exists("done")())
}

func TestWorkDoesNotInheritIgnoredSignals(t *testing.T) {
	t.Parallel()
	output, status := newBoundedWork(t).run(90, 20, "yes | head -n 1; trap")
	require.Equal(t, int(128+syscall.SIGPIPE), status, "pipefail reports that the signal ended yes")
	require.Equal(t, "y\n", output)
}

func TestServiceStartedByTheWorkDoesNotBlockTheUpdate(t *testing.T) {
	t.Parallel()
	w := newBoundedWork(t)
	reader, writer := io.Pipe()
	command := w.command(w.script, "provision", "90", "20", "sleep 300 & echo started")
	command.Stdout = writer
	require.NoError(t, command.Start())
	content := make([]byte, 8)
	_, err := io.ReadFull(reader, content)
	require.NoError(t, err)
	require.Equal(t, "started\n", string(content))
	require.NoError(t, command.Wait())
}

func TestProvisionCommandHasItsTimeoutInSeconds(t *testing.T) {
	require.Contains(t, ProvisionCommand(90*time.Second), "\nsudo /opt/site/bounded provision 90 20 '\n")
	require.NotContains(t, ProvisionCommand(90*time.Second), "%", "no format verb is left over, and no argument lacks one")
}

func TestANewServerWaitsForTheOldOneToHandOver(t *testing.T) {
	require.Equal(t, "sudo /opt/site/bounded handover 90 0 'agent handover --wait 30s'\n",
		HandoverCommand(30*time.Second, 90*time.Second))
}

func TestUpdateCommandsRunInAShell(t *testing.T) {
	w := newBoundedWork(t)
	programs := t.TempDir()
	testtool.WriteProgram(t, filepath.Join(programs, "sudo"), "#!/bin/bash\nprintf '%s|' \"$@\"\n")
	w.environment = []string{"PATH=" + programs + ":" + os.Getenv("PATH")}
	for command, args := range map[string]string{
		ProvisionCommand(
			90 * time.Second,
		): "install|-d|-m|0755|/opt/site|tar|-xzf|bundle.tar.gz|-C|/opt/site|--no-same-owner|bounded|" +
			"/opt/site/bounded|provision|90|20|\ntar -xzf bundle.tar.gz -C /opt/site --no-same-owner\n/opt/site/provision " +
			"\"$1\"\n|",
		HandoverCommand(30*time.Second, 90*time.Second): "/opt/site/bounded|handover|90|0|agent handover --wait 30s|",
	} {
		output, err := w.command("/bin/bash", "-c", command).Output()
		require.NoError(t, err)
		require.Equal(t, args, string(output))
	}
}

func TestLogOfAnUpdateMasksVisitorsAndTokens(t *testing.T) {
	t.Parallel()
	for line, shown := range map[string]string{
		`203.0.113.7 - - [23/Nov/2026:04:39:21 +0000] "GET /reset?token=s3cret HTTP/2.0" 200 512 "https://example.org/in?q=ada" "Mozilla/5.0" 7 "site@file" "http://web:8080" 3ms`: `[address] - - [23/Nov/2026:04:39:21 +0000] "GET /reset?[query] HTTP/2.0" 200 512 "https://example.org/in?[query]" "Mozilla/5.0" 7 "site@file" "http://web:8080" 3ms`,
		`acme: error: 400 :: urn:ietf:params:acme:error:invalidContact :: contact email "ada.o'brien@mail.example.org" has invalid domain`:                                         `acme: error: 400 :: urn:ietf:params:acme:error:invalidContact :: contact email "[e-mail]" has invalid domain`,
		`dial tcp 203.0.113.7:443: i/o timeout`:                                                                    `dial tcp [address]:443: i/o timeout`,
		`from 2001:db8:0:1::7, [2001:DB8::1]:443 and 2001:db8:1:2:3:4:5:6`:                                         `from [address], [[address]]:443 and [address]`,
		`fetch https://ada:s3cret@git.example.org/site.git`:                                                        `fetch https://ada:[e-mail]/site.git`,
		`203.0.113.7 "GET /reset?token=secret HTTP/2.0" 502 11 "https://example.org/?session=secret" "curl/8" 3ms`: `[address] "GET /reset?[query] HTTP/2.0" 502 11 "https://example.org/?[query]" "curl/8" 3ms`,
		`client: 2001:db8::7, upstream [::ffff:203.0.113.7]:443`:                                                   `client: [address], upstream [[address]]:443`,
		`TLS handshake error from 203.0.113.7:51234: EOF`:                                                          `TLS handshake error from [address]:51234: EOF`,
		`198.51.100.71 and 198.51.100.17`:                                                                          `[address] and [address]`,
		// These parts are needed to find the cause.
		`dial tcp 127.0.0.1:443, 10.0.0.7, 172.18.0.2, 192.168.1.1, 169.254.169.254, 0.0.0.0`:      `dial tcp 127.0.0.1:443, 10.0.0.7, 172.18.0.2, 192.168.1.1, 169.254.169.254, 0.0.0.0`,
		`2026-11-23T04:39:21Z user@900.service getty@tty1.service traefik:v3.7.13@sha256:3f0c6f1b`: `2026-11-23T04:39:21Z user@900.service getty@tty1.service traefik:v3.7.13@sha256:3f0c6f1b`,
		`acme: error: 400 :: 198.51.100.7: Fetching http://example.org/: Timeout during connect`:   `acme: error: 400 :: 198.51.100.7: Fetching http://example.org/: Timeout during connect`,
		`version 3.7.13, nginx 1.26.3-3+deb13u1, php 8.2.29.1-5, docker 26.1.5.20-1+b2`:            `version 3.7.13, nginx 1.26.3-3+deb13u1, php 8.2.29.1-5, docker 26.1.5.20-1+b2`,
		`dial tcp [::1]:53 and [::ffff:172.18.0.3]:8080 at 10:11:12: connection refused`:           `dial tcp [::1]:53 and [::ffff:172.18.0.3]:8080 at 10:11:12: connection refused`,
		`std::string, release 3f0c6f1b2a9d8e47, is it there? yes`:                                  `std::string, release 3f0c6f1b2a9d8e47, is it there? yes`,
	} {
		w := newBoundedWork(t)
		settings := filepath.Join(w.dir, "server.env")
		require.NoError(t, os.WriteFile(settings, []byte("STACK=production\nVIP=198.51.100.7\n"), 0o644))
		w.environment = []string{"BOUNDED_SETTINGS=" + settings}
		require.NoError(t, os.WriteFile(filepath.Join(w.dir, "line"), []byte(line+"\n"), 0o644))
		output, status := w.run(90, 20, "cat line; exit 7")
		require.Equal(t, 7, status)
		require.Equal(t, shown+"\n", output)
		kept, err := os.ReadFile(filepath.Join(w.dir, "log", "provision.log"))
		require.NoError(t, err)
		require.Equal(t, line+"\n", string(kept), "an admin can read the full output on the server")
	}
}
