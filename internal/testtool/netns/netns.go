// Package netns creates network namespaces for tests.
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

// Add creates network namespaces, and deletes them when the test ends. It skips the test unless root runs it.
func Add(t testing.TB, names ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to create network namespaces")
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

// In calls work in a network namespace, and fails the test if it cannot enter it. Sockets that work creates stay in the
// namespace. In may be called from any goroutine.
func In(t testing.TB, name string, work func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		// The thread is never unlocked, so that it ends with the goroutine.
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
