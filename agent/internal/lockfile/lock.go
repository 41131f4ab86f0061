// Package lockfile keeps processes from running at the same time.
package lockfile

import (
	"context"
	"fmt"
	"os"
	"syscall"
)

// Lock waits until no other process holds the lock of that file, or until ctx ends, and returns the function that
// releases it. The kernel releases the lock of a process that dies. The file is created if it does not exist;
// every process that can read it can lock it.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot open the lock: %w", err)
	}
	locked := make(chan error, 1)
	go func() { locked <- syscall.Flock(int(file.Fd()), syscall.LOCK_EX) }()
	select {
	case err := <-locked:
		if err != nil {
			file.Close()
			return nil, fmt.Errorf("cannot lock %s: %w", path, err)
		}
		return func() { file.Close() }, nil
	case <-ctx.Done():
		// flock(2) cannot be interrupted: release the lock as soon as it returns.
		go func() { <-locked; file.Close() }()
		return nil, fmt.Errorf("cannot wait for another run to end: %w", ctx.Err())
	}
}
