package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"immutable-infra/localcloud/internal/run"
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
	told := map[int]bool{}
	return run.Await(ctx, orphanLimit, orphanPoll, func(context.Context) error {
		pids, err := plugins(executable)
		if err != nil {
			return fmt.Errorf("find the plugins of killed engines: %w", err)
		}
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			if told[pid] {
				continue
			}
			told[pid] = true
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
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, link := range links {
		// One that cannot be read ended meanwhile, or is a part of the kernel.
		target, _ := os.Readlink(link)
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(link), "cmdline"))
		arguments := strings.Split(string(line), "\x00")
		if strings.TrimSuffix(target, " (deleted)") != executable || len(arguments) < 2 || arguments[1] != "plugin" {
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
