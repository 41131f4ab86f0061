// Package program runs other programs: Pulumi and this project's own.
package program

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const pulumiTimeout = 2 * time.Minute

// Pulumi runs a Pulumi command and returns its output without surrounding white space. No output is an error.
func Pulumi(ctx context.Context, args ...string) (string, error) {
	output, err := Output(ctx, pulumiTimeout, "pulumi", append(args, "--non-interactive")...)
	if err != nil {
		return "", err
	}
	value := strings.TrimSpace(output)
	if value == "" {
		return "", fmt.Errorf("pulumi %s printed nothing", strings.Join(args, " "))
	}
	return value, nil
}

// Output runs a program and returns its stdout. Its stderr goes to the user, since it may contain warnings.
func Output(ctx context.Context, limit time.Duration, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no result within %s", limit))
	defer cancel()
	command := exec.CommandContext(ctx, name, args...)
	command.Stderr = os.Stderr
	var stdout bytes.Buffer
	command.Stdout = &stdout
	if err := command.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", fmt.Errorf("%s %s: %w", filepath.Base(name), args[0], err)
	}
	return stdout.String(), nil
}
