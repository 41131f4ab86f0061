package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// provisionKills is the number of tested moments of provisioning.
	provisionKills = 10
	// bootTimeout bounds the time from the start of an update until it provisions the new server.
	bootTimeout = 5 * time.Minute
	// waitsForEarlier is the message that a second provisioning of a server prints while the first one runs.
	waitsForEarlier = "an earlier update is still running on this server"
)

// TestKilledProvisioning kills Pulumi at ten moments of a server's provisioning and starts the next update at
// once, while the command on the server continues. Every other time it also kills the plugins, which closes the
// command's SSH connection.
func TestKilledProvisioning(t *testing.T) {
	if os.Getenv("E2E") != "killed" {
		t.Skip("needs a local cloud that is up and takes 20 to 50 minutes: make test-killed")
	}
	p := root(t)
	p.loadEnv(t)
	p.startClean(t)
	p.converges(t)
	replaced := p.copy(t)

	watch := watchProvisioning(t)
	replaced.set(t, "generation", firstGeneration)
	replaced.converges(t)
	whole := watch.stop(t)
	require.Equal(t, 1, whole.most, "concurrent provisionings in an update that is not killed")
	duration := whole.ended.Sub(whole.began)
	t.Logf("provisioning takes %.1f s", duration.Seconds())

	var left []process
	waited := 0
	for i := range provisionKills {
		moment := duration * time.Duration(i) / provisionKills
		t.Run(fmt.Sprintf("after %d tenths", i), func(t *testing.T) {
			before := replaced.outputs(t)
			replaced.set(t, "generation", firstGeneration+1+i)
			visitors := replaced.visit(t)
			watch := watchProvisioning(t)
			up := replaced.startUp(t)
			eventually(t, bootTimeout, func() (bool, string) { return len(provisionings(t)) > 0, up.output(t) })
			select {
			case err := <-up.ended:
				require.Failf(t, "the update ended before it was killed", "%v\n%s", err, up.output(t))
			case <-time.After(moment):
			}
			plugins := up.kill(t)
			if i%2 == 1 {
				for _, other := range up.others(t, nil) {
					// The process may have ended meanwhile.
					_ = syscall.Kill(other.pid, syscall.SIGKILL)
				}
				up.awaitOthers(t, time.Minute, nil)
			}
			require.NotEmpty(t, provisionings(t), "the command on the server ended with the engine, so this kill shows nothing")

			next := replaced.upAfterKill(t)
			seen, provisioned := visitors.seen(t), watch.stop(t)
			require.NoError(t, next.err, up.output(t)+next.String())
			replaced.forgetPending(t)
			seen.unharmed(t)
			require.Equal(t, 1, provisioned.most, "provisionings of one server at once")
			require.NotEqual(t, before.ServerID, replaced.outputs(t).ServerID)
			replaced.converged(t)
			mustWait := strings.Contains(next.stdout+next.stderr, waitsForEarlier)
			if mustWait {
				waited++
			}
			t.Logf("killed %.1f s into provisioning, its plugins too: %t; the next update took %.0f s and waited for the "+
				"earlier command: %t", moment.Seconds(), i%2 == 1, next.took.Seconds(), mustWait)
			left = append(left, plugins...)
		})
	}
	t.Run("leftovers of killed engines have ended by themselves", func(t *testing.T) { requireEnd(t, left) })
	require.NotZero(t, waited, "no update had to wait for the previous update's command")
	t.Run("the project's own update needs no manual step", func(t *testing.T) { mendServer(t, p) })
}

// provisionings counts the current runs of `provision` by the PID namespace of their server. A server's processes are
// processes of this machine, but not in this machine's own namespace.
func provisionings(t *testing.T) map[string]int {
	t.Helper()
	running := map[string]int{}
	own, err := os.Readlink("/proc/self/ns/pid")
	require.NoError(t, err)
	for _, process := range processes(t) {
		// `bounded` runs its work in a new session. Its forks have the same command line at first.
		if process.session != process.pid {
			continue
		}
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", process.pid))
		if err != nil {
			continue
		}
		// `bounded` starts its work as: timeout ... bash ... WORK NAME SECONDS.
		args := strings.Split(string(bytes.TrimSuffix(line, []byte{0})), "\x00")
		if len(args) < 3 || filepath.Base(args[0]) != "timeout" || args[len(args)-2] != "provision" {
			continue
		}
		namespace, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(process.pid), "ns", "pid"))
		if err == nil && namespace != own {
			running[namespace]++
		}
	}
	return running
}

// provisioningWatch samples provisionings until it is stopped.
type provisioningWatch struct {
	done chan struct{}
	wait sync.WaitGroup
	// most is the largest number of concurrent provisionings of one server.
	most         int
	began, ended time.Time
}

func watchProvisioning(t *testing.T) *provisioningWatch {
	t.Helper()
	w := &provisioningWatch{done: make(chan struct{})}
	w.wait.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-w.done:
				return
			case now := <-tick.C:
				for _, count := range provisionings(t) {
					w.most, w.ended = max(w.most, count), now
					if w.began.IsZero() {
						w.began = now
					}
				}
			}
		}
	})
	return w
}

func (w *provisioningWatch) stop(t *testing.T) *provisioningWatch {
	t.Helper()
	close(w.done)
	w.wait.Wait()
	return w
}
