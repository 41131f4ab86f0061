package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"immutable-infra/localcloud/internal/run"
)

// pulumi is the CLI that localcloud uses: its own, or a link to the user's.
func (p *project) pulumi() string { return filepath.Join(p.home.Bin(), "pulumi") }

// runPulumi runs one pulumi command in the project and returns its output.
func (p *project) runPulumi(ctx context.Context, variables environment, args ...string) (string, error) {
	output, err := p.runner.Run(ctx, run.Command{Name: p.pulumi(), Args: append(args, "--non-interactive"), Dir: p.root, Env: variables.list()})
	return strings.TrimSpace(string(output)), err
}

// releaseStaleLock takes a lock off the stack that a killed deployment left:
// its process is on this machine and gone. The lock of a process that runs
// stays, and pulumi then says who holds it.
func (p *project) releaseStaleLock(ctx context.Context, variables environment) error {
	locks, err := filepath.Glob(filepath.Join(p.home.State(), ".pulumi", "locks", "organization", "*", stackName, "*.json"))
	if err != nil {
		return err
	}
	for _, lock := range locks {
		data, err := os.ReadFile(lock)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("lock of stack %s: %w", stackName, err)
		}
		var holder struct {
			PID int `json:"pid"`
		}
		if err := json.Unmarshal(data, &holder); err != nil {
			return fmt.Errorf("lock of stack %s: %s: %w", stackName, lock, err)
		}
		if syscall.Kill(holder.PID, 0) == nil {
			continue
		}
		if _, err := p.runPulumi(ctx, variables, "cancel", "--yes", "--stack", stackName); err != nil {
			return err
		}
	}
	return nil
}
