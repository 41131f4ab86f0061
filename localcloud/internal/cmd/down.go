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
		// The stack's resources are inside the local cloud and go with it.
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
	if err := p.releaseStaleLock(ctx); err != nil {
		return err
	}
	return p.showPulumi(ctx, "destroy", "--yes", "--skip-preview")
}

const (
	orphanLimit = 10 * time.Second // how long a plugin may take to end
	orphanPoll  = 50 * time.Millisecond
)

// endPlugins ends the plugins of engines that were killed. They would notice by themselves, but only
// after some minutes: Pulumi's library checks so rarely. executable is localcloud's; processes of
// other programs are not touched.
func endPlugins(ctx context.Context, executable string) error {
	return run.Await(ctx, orphanLimit, orphanPoll, func(context.Context) error {
		pids, err := plugins(executable)
		if err != nil {
			return fmt.Errorf("find the plugins of killed engines: %w", err)
		}
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("end plugin with process id %d: %w", pid, err)
			}
		}
		return fmt.Errorf("end plugins %v: still there after %s", pids, orphanLimit)
	})
}

// plugins are the processes that run the executable, or one that was in its place
// before, as a plugin.
func plugins(executable string) ([]int, error) {
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	var pids []int
	for _, link := range links {
		// One that cannot be read ended meanwhile, or is a part of the kernel.
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
