// Package compose stops and starts services of a compose project. It needs access to Docker.
package compose

import (
	"context"
	"fmt"
	"strings"
	"time"

	"immutable-infra/agent/internal/proc"
)

const (
	// startTimeout is how long a service may take to become healthy.
	startTimeout = 60 * time.Second
	// commandTimeout bounds one command. It exceeds startTimeout and the grace period of a stopping service.
	commandTimeout = 75 * time.Second
)

// Service is one service of a compose project.
type Service struct {
	Project string
	Name    string
}

func (s Service) Running(ctx context.Context) (bool, error) {
	running, err := s.run(ctx, "ps", "--status", "running", "--quiet", s.Name)
	if err != nil {
		return false, fmt.Errorf("cannot check whether %s runs: %w", s.Name, err)
	}
	return strings.TrimSpace(running) != "", nil
}

// Stop stops the service and waits until it has ended. It is not an error if the service is not running.
func (s Service) Stop(ctx context.Context) error {
	if _, err := s.run(ctx, "stop", s.Name); err != nil {
		return fmt.Errorf("cannot stop %s: %w", s.Name, err)
	}
	return nil
}

// Start starts the service unchanged, and waits until it is healthy. It only creates missing
// containers.
func (s Service) Start(ctx context.Context) error {
	seconds := fmt.Sprintf("%.0f", startTimeout.Seconds())
	if _, err := s.run(ctx, "up", "--detach", "--no-deps", "--no-recreate", "--wait", "--wait-timeout", seconds,
		s.Name); err != nil {
		return fmt.Errorf("cannot start %s: %w", s.Name, err)
	}
	return nil
}

// Restart restarts the service and waits until it is healthy. If the service is not running, Restart does nothing.
func (s Service) Restart(ctx context.Context) error {
	running, err := s.Running(ctx)
	if err != nil || !running {
		return err
	}
	if _, err := s.run(ctx, "restart", "--no-deps", s.Name); err != nil {
		return fmt.Errorf("cannot restart %s: %w", s.Name, err)
	}
	return s.Start(ctx)
}

// run runs a `docker compose` command and returns its output.
func (s Service) run(ctx context.Context, args ...string) (string, error) {
	output, err := proc.System{}.Run(ctx, proc.Command{
		Dir: s.Project, Args: append([]string{"docker", "compose", "--progress", "plain"}, args...), Timeout: commandTimeout,
	})
	return string(output), err
}
