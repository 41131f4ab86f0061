package cmd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"immutable-infra/localcloud/internal/dockerd"
)

// downVerb destroys the stack and then the local cloud under it.
func downVerb(ctx context.Context, args []string) error {
	p, err := openProject(flag.NewFlagSet("down", flag.ContinueOnError), args)
	if err != nil {
		return err
	}
	unlock, err := p.lock()
	if err != nil {
		return err
	}
	defer unlock()
	printer := newPrinter()
	if err := p.destroyStack(ctx); err != nil {
		if ctx.Err() != nil {
			return err
		}
		// What the stack made is inside the local cloud and goes with it.
		fmt.Fprintf(os.Stderr, "stack %s could not be destroyed, its local cloud is removed all the same: %v\n",
			stackName, err)
	}
	if err := endPlugins(ctx, p.home.Executable()); err != nil {
		return err
	}
	return printer.Run(ctx, "remove the local cloud", p.local.Down)
}

// destroyStack runs the program's own deletes, where there is a stack and an
// engine to delete from. Other stacks go with the local cloud.
func (p *project) destroyStack(ctx context.Context) error {
	switch _, _, err := p.engine.Find(ctx); {
	case errors.Is(err, dockerd.ErrNotRunning):
		return nil // nothing runs: a machine that was restarted
	case err != nil:
		return err
	}
	for _, path := range []string{p.pulumi(), filepath.Join(p.home.Bin(), "versitygw")} {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil // it never came so far as to have a stack
		}
	}
	// The state is there.
	if err := p.local.StartS3(ctx); err != nil {
		return err
	}
	stacks, err := p.stacks(ctx)
	if err != nil || !slices.Contains(stacks, stackName) {
		return err
	}
	environment, err := p.environment(ctx)
	if err != nil {
		return err
	}
	if err := p.releaseStaleLock(ctx, environment); err != nil {
		return err
	}
	return p.showPulumi(ctx, environment, "destroy", "--yes", "--skip-preview")
}
