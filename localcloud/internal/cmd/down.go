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
	"strconv"
	"strings"
	"syscall"
	"time"

	"immutable-infra/localcloud/internal/dockerd"
	"immutable-infra/localcloud/internal/run"
)

// downVerb destroys the stack, then removes the local cloud.
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
		// The stack's resources exist only in the local cloud and are removed with it.
		fmt.Fprintf(os.Stderr, "cannot destroy stack %s, removing its local cloud anyway: %v\n", stackName, err)
	}
	if err := stopPlugins(ctx, p.home.Executable()); err != nil {
		return err
	}
	return printer.Run(ctx, "remove the local cloud", p.local.Down)
}

// destroyStack destroys the stack, if the stack and an engine exist, so that the program's own deletes run. Other
// stacks are just removed with the local cloud.
func (p *project) destroyStack(ctx context.Context) error {
	switch _, _, err := p.engine.Find(ctx); {
	case errors.Is(err, dockerd.ErrNotRunning):
		return nil // nothing is running, as after a restart of the machine
	case err != nil:
		return err
	}
	for _, path := range []string{p.pulumi(), filepath.Join(p.home.Bin(), "versitygw")} {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil // the first `make up` failed before it created a stack
		}
	}
	// Pulumi's state is in S3.
	if err := p.local.StartS3(ctx); err != nil {
		return err
	}
	stacks, err := p.stacks(ctx)
	if err != nil || !slices.Contains(stacks, stackName) {
		return err
	}
	if err := p.releaseStaleLock(ctx); err != nil {
		return err
	}
	return p.streamPulumi(ctx, "destroy", "--yes", "--skip-preview")
}

const (
	pluginStopTimeout  = 10 * time.Second
	pluginPollInterval = 50 * time.Millisecond
)

// stopPlugins terminates leftover plugins of killed engines. They would end by themselves, but only after some
// minutes, because Pulumi's library checks rarely whether the engine is alive. It terminates only processes that
// run executable, which is localcloud's.
func stopPlugins(ctx context.Context, executable string) error {
	return run.Await(ctx, pluginStopTimeout, pluginPollInterval, func(context.Context) error {
		pids, err := findPlugins(executable)
		if err != nil {
			return fmt.Errorf("cannot find the plugins of killed engines: %w", err)
		}
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("cannot stop the plugin with process id %d: %w", pid, err)
			}
		}
		return fmt.Errorf("cannot stop plugins %v: still running after %s", pids, pluginStopTimeout)
	})
}

// findPlugins returns the ids of the processes that run executable, or a deleted earlier version of it, as a plugin.
func findPlugins(executable string) ([]int, error) {
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	var pids []int
	for _, link := range links {
		// Unreadable links belong to processes that have ended and to kernel threads.
		target, _ := os.Readlink(link)
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(link), "cmdline"))
		arguments := strings.Split(string(line), "\x00")
		if strings.TrimSuffix(target, " (deleted)") == executable && len(arguments) > 1 && arguments[1] == "plugin" {
			pid, invalid := strconv.Atoi(filepath.Base(filepath.Dir(link)))
			pids, err = append(pids, pid), errors.Join(err, invalid)
		}
	}
	return pids, err
}
