// Package pause makes root stop and start Prometheus for a process without access to Docker.
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
	// poll is the pause between two checks of the file.
	poll = 50 * time.Millisecond
)

// Switch creates request files that root's units wait for: they do what the file's name says, and
// then remove it.
type Switch struct {
	Dir string
	// Timeout bounds a request.
	Timeout time.Duration
}

// Pause stops Prometheus and waits for it.
func (s Switch) Pause(ctx context.Context) error { return s.ask(ctx, pauseFile, resumeFile) }

// Resume starts Prometheus and waits for it.
func (s Switch) Resume(ctx context.Context) error { return s.ask(ctx, resumeFile, pauseFile) }

// ask creates a request file and waits until it is removed. It withdraws the opposite request.
func (s Switch) ask(ctx context.Context, file, opposite string) error {
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
