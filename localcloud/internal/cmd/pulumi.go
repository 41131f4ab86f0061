package cmd

import (
	"context"
	"path/filepath"
	"strings"

	"immutable-infra/localcloud/internal/run"
)

// pulumi is the CLI that localcloud uses: its own, or a link to the user's.
func (p *project) pulumi() string { return filepath.Join(p.home.Bin(), "pulumi") }

// runPulumi runs one pulumi command in the project and returns its output.
func (p *project) runPulumi(ctx context.Context, variables environment, args ...string) (string, error) {
	output, err := p.runner.Run(ctx, run.Command{Name: p.pulumi(), Args: append(args, "--non-interactive"), Dir: p.root, Env: variables.list()})
	return strings.TrimSpace(string(output)), err
}
