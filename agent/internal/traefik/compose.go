package traefik

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

const (
	// service is Traefik's name in the compose project.
	service = "traefik"
	// startTimeout is how long Traefik may take to turn healthy.
	startTimeout = 30 * time.Second
	// commandTimeout bounds one command: longer than Traefik's grace period when it
	// stops, and than startTimeout.
	commandTimeout = 45 * time.Second
)

// Compose is the compose project that Traefik belongs to.
type Compose struct {
	// Project is the directory of compose.yaml.
	Project string
}

// Restart starts Traefik again and waits until it is healthy. If it does not run,
// there is nothing to do.
func (c Compose) Restart(ctx context.Context) error {
	running, err := c.run(ctx, "ps", "--status", "running", "--quiet", service)
	if err != nil {
		return fmt.Errorf("find out whether Traefik runs: %w", err)
	}
	if strings.TrimSpace(running) == "" {
		return nil
	}
	if _, err := c.run(ctx, "restart", "--no-deps", service); err != nil {
		return fmt.Errorf("start Traefik again: %w", err)
	}
	seconds := fmt.Sprintf("%.0f", startTimeout.Seconds())
	if _, err := c.run(ctx, "up", "--detach", "--no-deps", "--no-recreate", "--wait", "--wait-timeout", seconds, service); err != nil {
		return fmt.Errorf("wait until Traefik is healthy again: %w", err)
	}
	return nil
}

// run runs a command of `docker compose` and returns what it wrote on stdout.
func (c Compose) run(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, commandTimeout, fmt.Errorf("no end within %s", commandTimeout))
	defer cancel()
	args = append([]string{"compose", "--progress", "plain"}, args...)
	command := exec.CommandContext(ctx, "docker", args...)
	command.Dir = c.Project
	// A grandchild that keeps the pipe open must not keep us.
	command.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}
