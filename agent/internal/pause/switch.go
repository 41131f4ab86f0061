// Package pause lets a process without access to Docker stop and start Prometheus, through systemd units that run
// as root.
package pause

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	pauseFile  = "pause"
	resumeFile = "resume"
	// poll is the time between two checks of the file.
	poll = 50 * time.Millisecond
)

// Switch creates request files. A unit that runs as root watches for each of them, does what its name says, and
// then removes it.
type Switch struct {
	Dir string
	// Timeout bounds a request.
	Timeout time.Duration
}

// Pause stops Prometheus and waits until it has stopped.
func (s Switch) Pause(ctx context.Context) error { return s.request(ctx, pauseFile, resumeFile) }

// Resume starts Prometheus and waits until it has started.
func (s Switch) Resume(ctx context.Context) error { return s.request(ctx, resumeFile, pauseFile) }

// request creates a request file and waits until it is removed. It withdraws the opposite request.
func (s Switch) request(ctx context.Context, file, opposite string) error {
	path := filepath.Join(s.Dir, file)
	if err := os.Remove(filepath.Join(s.Dir, opposite)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot %s: %w", file, err)
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		return fmt.Errorf("cannot %s: %w", file, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.Timeout,
		fmt.Errorf("%s still exists after %s: check the systemd unit that waits for it", path, s.Timeout))
	defer cancel()
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		switch _, err := os.Lstat(path); {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return fmt.Errorf("cannot %s: %w", file, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot %s: %w", file, context.Cause(ctx))
		case <-ticker.C:
		}
	}
}
