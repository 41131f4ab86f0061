package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// orphanLimit is how long a plugin that was told to end may take.
	orphanLimit = 10 * time.Second
	orphanPoll  = 50 * time.Millisecond
)

// endPlugins ends the plugins of engines that were killed. They would notice by
// themselves, but only after some minutes: Pulumi's library looks so seldom.
// executable is localcloud's; nobody else's processes are touched.
func endPlugins(ctx context.Context, executable string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, orphanLimit, fmt.Errorf("still there after %s", orphanLimit))
	defer cancel()
	poll := time.NewTicker(orphanPoll)
	defer poll.Stop()
	told := map[int]bool{}
	for {
		pids, err := plugins(executable)
		if err != nil {
			return fmt.Errorf("find plugins that were left: %w", err)
		}
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			if told[pid] {
				continue
			}
			if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("end plugin with process id %d: %w", pid, err)
			}
			told[pid] = true
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("end plugins %v: %w", pids, context.Cause(ctx))
		case <-poll.C:
		}
	}
}

// plugins are the processes that run the executable, or one that was in its place
// before, as a plugin.
func plugins(executable string) ([]int, error) {
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || strings.TrimSuffix(target, " (deleted)") != executable {
			continue // gone meanwhile, a part of the kernel, or another program
		}
		arguments, err := os.ReadFile(filepath.Join(filepath.Dir(link), "cmdline"))
		if err != nil {
			continue
		}
		if fields := bytes.Split(arguments, []byte{0}); len(fields) < 2 || string(fields[1]) != "plugin" {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}
