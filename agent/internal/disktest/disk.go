// Package disktest provides disks for tests.
package disktest

import (
	"os"
	"syscall"
	"testing"
)

// Small mounts a file system of 1 MiB until the test ends, and returns its directory. It skips the test if the
// process is not allowed to mount.
func Small(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("cannot mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Errorf("cannot unmount the small disk: %v", err)
		}
	})
	return disk
}
