package e2e

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// firstGeneration exceeds any configured generation.
	firstGeneration = 1000
	// workLimit is how long an engine's work may continue after the engine was killed.
	workLimit = 2 * time.Minute
	// pluginLimit is how long a plugin may take to notice the loss of its engine: Pulumi's library checks every five
	// minutes.
	pluginLimit = 6 * time.Minute
)

// TestKilledEngine kills Pulumi at a random moment of a replacement and runs it again, once for each seed.
func TestKilledEngine(t *testing.T) {
	if os.Getenv("E2E") != "killed" {
		t.Skip("needs a local cloud that is up and takes 45 to 110 minutes: make test-killed")
	}
	p := root(t)
	p.loadEnv(t)
	p.startClean(t)
	p.converges(t)
	replaced := p.copy(t)

	var duration time.Duration
	measured := t.Run("no kill", func(t *testing.T) {
		replaced.set(t, "generation", firstGeneration)
		visitors := replaced.visit(t)
		up := replaced.converges(t)
		cut := visitors.seen(t).unharmed(t)
		duration = up.took
		t.Logf("a replacement takes %.1f s; requests cut by the move of the VIP: %d", duration.Seconds(), cut)
	})
	if !measured {
		return
	}
	var plugins []process
	for _, seed := range seeds(t) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			moment := time.Duration(rand.New(rand.NewSource(seed)).Float64() * float64(duration))
			t.Logf("will be killed after %.1f s of %.1f s", moment.Seconds(), duration.Seconds())
			replaced.set(t, "generation", firstGeneration+int(seed))
			plugins = append(plugins, killAndUpdateAgain(t, replaced, moment)...)
		})
	}
	t.Run("the project's own update needs no manual step", func(t *testing.T) { mendServer(t, p) })
	t.Run("leftovers of killed engines have ended by themselves", func(t *testing.T) { requireEnd(t, plugins) })
}

// requireEnd requires that processes end on their own.
func requireEnd(t *testing.T, left []process) {
	t.Helper()
	eventually(t, pluginLimit, func() (bool, string) {
		left = slices.DeleteFunc(left, func(p process) bool { return !p.lives() })
		return len(left) == 0, commandLines(left)
	})
}

// seeds returns the seed SEED, or the first SEEDS seeds.
func seeds(t *testing.T) []int64 {
	t.Helper()
	if os.Getenv("SEED") != "" {
		return []int64{int64(number(t, "SEED", 0))}
	}
	var all []int64
	for seed := range number(t, "SEEDS", 20) {
		all = append(all, int64(seed)+1)
	}
	return all
}

// killAndUpdateAgain kills an update at a moment and runs it again. It returns the plugins that the killed engine left
// behind.
func killAndUpdateAgain(t *testing.T, p *project, moment time.Duration) (plugins []process) {
	before := p.outputs(t)
	visitors := p.visit(t)
	plugins, output := p.upUntil(t, moment)
	at := lastLine(output)
	t.Logf("its last line of output: %s", at)

	up := p.upAfterKill(t)
	seen := visitors.seen(t)
	require.NoError(t, up.err, output+up.String())
	// This precedes any failure, because the next seed must not find anything left over from this one.
	p.forgetPending(t)
	cut := seen.unharmed(t)
	t.Logf("the next update took %.0f s; requests cut by the move of the VIP: %d", up.took.Seconds(), cut)
	require.NotEqual(t, before.ServerID, p.outputs(t).ServerID)
	p.converged(t)
	return plugins
}

// upAfterKill runs the update after a killed one, and removes the lock that the killed update left, if any.
func (p *project) upAfterKill(t *testing.T) result {
	t.Helper()
	up := p.pulumiUp(t)
	if strings.Contains(up.stdout+up.stderr, "pulumi cancel") {
		require.Error(t, up.err, up.String())
		t.Log("the killed update left a lock: pulumi cancel")
		p.must(t, time.Minute, "pulumi", "cancel", "--yes", "--stack", "local")
		up = p.pulumiUp(t)
	}
	return up
}

// upUntil starts an update and, unless it has ended by then, kills only its engine at a moment. When it returns,
// none of the update's work is running, but the engine's plugins may still be alive and idle.
func (p *project) upUntil(t *testing.T, moment time.Duration) (plugins []process, output string) {
	t.Helper()
	up := p.startUp(t)
	select {
	case err := <-up.ended:
		require.NoError(t, err)
		t.Log("the update ended before the kill")
	case <-time.After(moment):
		plugins = up.kill(t)
	}
	// The others are processes that plugins have started: the program, a build, commands.
	took := up.awaitOthers(t, workLimit, plugins)
	if took > time.Second {
		t.Logf("the update's work ended %.1f s later", took.Seconds())
	}
	return plugins, up.output(t)
}

// update is an update that can be killed.
type update struct {
	engine *exec.Cmd
	ended  chan error
	log    string
}

// startUp starts an update in its own session, which identifies its processes.
func (p *project) startUp(t *testing.T, args ...string) *update {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "up.log"))
	require.NoError(t, err)
	defer func() { require.NoError(t, log.Close()) }()
	engine := exec.CommandContext(t.Context(), filepath.Join(p.home(), "bin", "pulumi"),
		append([]string{"up", "--yes", "--stack", "local", "--non-interactive"}, args...)...)
	engine.Dir, engine.Env = p.dir, p.env
	// The output goes to a file, not a pipe, which the plugins may keep open.
	engine.Stdout, engine.Stderr = log, log
	engine.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// A killed engine would leave the stack locked, and all later tests would fail.
	engine.Cancel = func() error { return engine.Process.Signal(os.Interrupt) }
	require.NoError(t, engine.Start())
	up := &update{engine: engine, ended: make(chan error, 1), log: log.Name()}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		up.ended <- engine.Wait()
	}()
	t.Cleanup(func() { <-exited })
	return up
}

// kill kills only the engine, and returns the engine's plugins.
func (u *update) kill(t *testing.T) (plugins []process) {
	t.Helper()
	for _, process := range processes(t) {
		if process.parent == u.engine.Process.Pid {
			plugins = append(plugins, process)
		}
	}
	require.NoError(t, u.engine.Process.Kill())
	t.Logf("killed at %s", time.Now().Format(clock))
	<-u.ended
	return plugins
}

// others returns the update's processes except some.
func (u *update) others(t *testing.T, except []process) []process {
	t.Helper()
	var others []process
	for _, p := range processes(t) {
		if p.session == u.engine.Process.Pid && !slices.ContainsFunc(except, p.is) {
			others = append(others, p)
		}
	}
	return others
}

// awaitOthers waits until the update's processes except some have ended, and returns how long that took.
func (u *update) awaitOthers(t *testing.T, limit time.Duration, except []process) time.Duration {
	t.Helper()
	return eventually(t, limit, func() (bool, string) {
		others := u.others(t, except)
		return len(others) == 0, commandLines(others)
	})
}

func (u *update) output(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(u.log)
	require.NoError(t, err)
	return string(content)
}

// lastLine returns the last non-empty line of an output.
func lastLine(output string) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// process is a running process. The kernel may later reuse its pid for another process, but with another start time.
// start is in clock ticks after the boot.
type process struct {
	pid, parent, session int
	start                uint64
}

func (p process) is(other process) bool { return p.pid == other.pid && p.start == other.start }

func (p process) lives() bool {
	now, found := readProcess(p.pid)
	return found && now.is(p)
}

func processes(t *testing.T) []process {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	require.NoError(t, err)
	var all []process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if process, ok := readProcess(pid); ok {
			all = append(all, process)
		}
	}
	return all
}

// readProcess parses /proc/PID/stat: see proc_pid_stat(5). A zombie counts as ended.
func readProcess(pid int) (process, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, false
	}
	// The name in parentheses may contain any character. After it come the third field, which is the state, and the rest.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const third = 3
	if len(fields) <= 22-third {
		return process{}, false
	}
	p, state := process{pid: pid}, string(fields[0])
	_, err = fmt.Sscan(fmt.Sprintf("%s %s %s", fields[4-third], fields[6-third], fields[22-third]), &p.parent, &p.session,
		&p.start)
	return p, err == nil && state != "Z" && state != "X"
}

// commandLines returns the command lines of processes, one per line.
func commandLines(of []process) string {
	var lines strings.Builder
	for _, p := range of {
		arguments, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
		if err != nil {
			continue
		}
		fmt.Fprintf(&lines, "%d: %s\n", p.pid, bytes.ReplaceAll(arguments, []byte{0}, []byte(" ")))
	}
	return lines.String()
}

func TestReusedProcessIDIsAnotherProcess(t *testing.T) {
	own, found := readProcess(os.Getpid())
	require.True(t, found)
	require.Equal(t, os.Getppid(), own.parent)
	require.True(t, own.lives())
	earlier := own
	earlier.start--
	require.False(t, earlier.lives())
}
