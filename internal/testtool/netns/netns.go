// Package netns makes network namespaces for tests.
package netns

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"immutable-infra/internal/testtool"
)

// Add adds network namespaces until the test ends. It skips the test without root.
func Add(t testing.TB, names ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root makes network namespaces")
	}
	ip := testtool.Path(t, "ip")
	for _, name := range names {
		if output, err := exec.Command(ip, "netns", "add", name).CombinedOutput(); err != nil {
			t.Fatalf("cannot add network namespace %s: %v: %s", name, err, output)
		}
		t.Cleanup(func() {
			if output, err := exec.Command(ip, "netns", "del", name).CombinedOutput(); err != nil {
				t.Errorf("cannot delete network namespace %s: %v: %s", name, err, output)
			}
		})
	}
}

// In runs work in a network namespace, and fails the test if it cannot. The sockets of work stay in the namespace. It
// may be called from any goroutine.
func In(t testing.TB, name string, work func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		// Not unlocked, so that the thread ends with the goroutine.
		runtime.LockOSThread()
		namespace, err := os.Open("/run/netns/" + name)
		if err == nil {
			err = errors.Join(unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET), namespace.Close())
		}
		if err == nil {
			work()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Errorf("cannot enter network namespace %s: %v", name, err)
	}
}
