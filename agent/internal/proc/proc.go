// Package proc runs programs on this server.
package proc

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// Command is a program with its arguments.
type Command struct {
	// Dir is where it runs; "" is the agent's directory.
	Dir  string
	Args []string
	// WithStderr adds stderr to the output.
	WithStderr bool
	// Timeout bounds it. Default: 20 s.
	Timeout time.Duration
}

// String returns the command as it would be typed.
func (c Command) String() string { return strings.Join(c.Args, " ") }

// Runner runs commands.
type Runner interface {
	// Run returns the output of a command. The error names the command and contains the end of its
	// output.
	Run(ctx context.Context, command Command) ([]byte, error)
}

// defaultTimeout bounds a command. The longest, `docker compose ps`, takes a second on a busy
// server: a command that takes this long hangs.
const defaultTimeout = 20 * time.Second

// System runs commands on this server.
type System struct{}

func (System) Run(ctx context.Context, command Command) ([]byte, error) {
	timeout := cmp.Or(command.Timeout, defaultTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no response within %s", timeout))
	defer cancel()
	cmd := exec.CommandContext(ctx, command.Args[0], command.Args[1:]...)
	cmd.Dir = command.Dir
	// A grandchild that keeps the pipe open must not block.
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if command.WithStderr {
		cmd.Stderr = &stdout
	}
	err := cmd.Run()
	switch {
	case err == nil:
		return stdout.Bytes(), nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s: %w", command, context.Cause(ctx))
	case stderr.Len() > 0:
		return nil, fmt.Errorf("%s: %w: %s", command, err, bytes.TrimSpace(stderr.Bytes()))
	default:
		return nil, fmt.Errorf("%s: %w", command, err)
	}
}
