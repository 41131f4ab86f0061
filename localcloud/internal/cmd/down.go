package cmd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"immutable-infra/localcloud/internal/engine"
	"immutable-infra/localcloud/internal/run"
)

// downVerb destroys the stack and then the local cloud under it.
func downVerb(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("down", flag.ContinueOnError)
	if err := flags.Parse(args); err != nil {
		return err
	}
	p, err := openProject()
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
		fmt.Fprintf(os.Stderr, "stack %s could not be destroyed, its local cloud is removed all the same: %v\n", stackName, err)
	}
	if err := endPlugins(ctx, p.home.Executable()); err != nil {
		return err
	}
	return printer.Run(ctx, "remove the local cloud", p.local.Down)
}

// destroyStack runs the program's own deletes, where there is a stack and an
// engine to delete from.
func (p *project) destroyStack(ctx context.Context) error {
	stack, err := filepath.Glob(filepath.Join(p.home.State(), ".pulumi", "stacks", "*", stackName+".json"))
	if err != nil {
		return err
	}
	if len(stack) == 0 {
		return nil
	}
	if _, _, err := p.engine.Find(ctx); errors.Is(err, engine.ErrNotRunning) {
		return nil // nothing runs: a machine that was restarted
	} else if err != nil {
		return err
	}
	if _, err := os.Stat(p.pulumi()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	environment, err := p.environment(ctx)
	if err != nil {
		return err
	}
	if err := p.releaseStaleLock(ctx, environment); err != nil {
		return err
	}
	_, err = p.runner.Run(ctx, run.Command{
		Name: p.pulumi(), Dir: p.root, Env: environment.list(), Stream: os.Stdout,
		Args: []string{"destroy", "--yes", "--skip-preview", "--stack", stackName},
	})
	return err
}
