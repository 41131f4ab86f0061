package dockerd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"immutable-infra/localcloud/internal/run"
	"immutable-infra/localcloud/internal/state"
)

const (
	maxSocketPath = 107 // the longest path of a Unix socket (sun_path, unix(7))
	startTimeout  = 60 * time.Second
	stopTimeout   = 60 * time.Second
)

// ErrNotRunning is returned where no Docker engine answers.
var ErrNotRunning = errors.New("no Docker engine answers")

// Engine is the Docker engine of one home: the user's where one answers, and
// otherwise one of localcloud's own, which keeps everything below the home.
type Engine struct {
	home   state.Home
	runner run.Runner
}

// Docker returns the docker command for the engine that runs, which is found at the first use.
func (e *Engine) Docker() Docker {
	var mu sync.Mutex
	var found *Docker
	return Docker{Runner: e.runner, find: func(ctx context.Context) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if found == nil {
			docker, _, err := e.Find(ctx)
			if err != nil {
				return "", fmt.Errorf("%w: start the local cloud with `make up`", err)
			}
			found = &docker
		}
		return found.Host, nil
	}}
}

// New returns the engine of a home, without looking for it.
func New(h state.Home, runner run.Runner) *Engine { return &Engine{home: h, runner: runner} }

// Find returns the engine that runs. own says whether localcloud started it.
// The error wraps ErrNotRunning when there is none.
func (e *Engine) Find(ctx context.Context) (docker Docker, own bool, err error) {
	docker = Docker{Runner: e.runner, Host: e.host()}
	if _, err := e.pid(); err == nil {
		if err := answers(ctx, docker); err == nil {
			return docker, true, nil
		}
	}
	docker.Host = ""
	if os.Getenv("DOCKER_HOST") == e.host() {
		// Left in the environment by an earlier `localcloud env`.
		docker.Host = "unix:///var/run/docker.sock"
	}
	if err := answers(ctx, docker); err != nil {
		return Docker{}, false, fmt.Errorf("%w: %w", ErrNotRunning, err)
	}
	return docker, false, nil
}

// Ensure finds an engine or starts localcloud's own.
func (e *Engine) Ensure(ctx context.Context) (docker Docker, own bool, err error) {
	docker, own, err = e.Find(ctx)
	if !errors.Is(err, ErrNotRunning) {
		return docker, own, err
	}
	return Docker{Runner: e.runner, Host: e.host()}, true, e.start(ctx)
}

// start runs dockerd beyond the life of this process. Its firewall rules and default bridge are
// off: localcloud has its own, and stopping the engine must leave nothing behind.
func (e *Engine) start(ctx context.Context) (err error) {
	defer run.Wrap(&err, "start a Docker engine")
	daemon, err := run.Find("dockerd")
	if err != nil {
		return errors.New("no dockerd on this machine: install Docker's engine (on Debian: apt-get install docker.io)")
	}
	for _, dir := range []string{e.home.Engine(), e.home.Run(), e.execRoot()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if _, err := e.pid(); errors.Is(err, os.ErrProcessDone) {
		// Left by a machine that went down: dockerd refuses to start beside it.
		if err := os.Remove(e.pidFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := e.stopLeftover(ctx); err != nil {
		return err
	}
	logFile := filepath.Join(e.home.Run(), "dockerd.log")
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(daemon,
		"--data-root", e.home.Engine(),
		"--exec-root", e.execRoot(),
		"--pidfile", e.pidFile(),
		"--host", e.host(),
		"--iptables=false", "--ip6tables=false", "--ip-forward=false", "--bridge=none",
	)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	starting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	docker := Docker{Runner: e.runner, Host: e.host()}
	if err := run.Await(starting, startTimeout, 100*time.Millisecond, func(ctx context.Context) error {
		select {
		case err := <-ended:
			cancel(fmt.Errorf("dockerd ended: %w", err))
		default:
		}
		return answers(ctx, docker)
	}); err != nil {
		return fmt.Errorf("dockerd does not answer: %w; see %s", errors.Join(context.Cause(starting), err), logFile)
	}
	return nil
}

// Stop stops localcloud's own engine, if it runs, and removes its data. An
// engine of the user's is never touched.
func (e *Engine) Stop(ctx context.Context) (err error) {
	defer run.Wrap(&err, "stop localcloud's Docker engine")
	pid, err := e.pid()
	if err == nil {
		err = stop(ctx, pid)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	for _, dir := range []string{e.home.Engine(), e.home.Run(), e.runtimeDir()} {
		if err := unmountBelow(dir); err != nil {
			return err
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

// Exists says whether localcloud has an engine of its own here, running or not.
func (e *Engine) Exists() bool {
	_, err := os.Stat(e.home.Engine())
	return err == nil
}

// stopLeftover ends the containerd of an engine that was killed: the next engine would treat it as
// its own while it dies, and wait for it in vain.
func (e *Engine) stopLeftover(ctx context.Context) error {
	pidFile := filepath.Join(e.execRoot(), "containerd", "containerd.pid")
	pid, err := state.ReadPID(pidFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if runs(pid, e.execRoot()) {
		if err := stop(ctx, pid); err != nil {
			return fmt.Errorf("stop containerd: %w", err)
		}
	}
	return os.Remove(pidFile)
}

// unmountBelow unmounts what a killed engine left mounted in a directory, the
// directory itself included.
func unmountBelow(dir string) error {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	// The last mounted first: mounts nest and stack.
	for _, line := range slices.Backward(strings.Split(string(table), "\n")) {
		// The fifth field is the mount point (proc_pid_mountinfo(5)).
		fields := strings.Fields(line)
		if len(fields) < 5 || !strings.HasPrefix(fields[4]+"/", dir+"/") {
			continue
		}
		if err := unix.Unmount(fields[4], unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", fields[4], err)
		}
	}
	return nil
}

// stop ends a process that is not a child and waits until it is gone.
func stop(ctx context.Context, pid int) error {
	handle, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(handle)
	if err := unix.PidfdSendSignal(handle, unix.SIGTERM, nil, 0); err != nil {
		return err
	}
	return run.Await(ctx, stopTimeout, 20*time.Millisecond, func(context.Context) error {
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(handle), Events: unix.POLLIN}}, 0)
		if ready > 0 {
			return nil
		}
		return errors.Join(fmt.Errorf("process %d is still running", pid), err)
	})
}

// pid returns the process id of localcloud's own engine. The error wraps
// os.ErrProcessDone when the process of the pid file is gone or another one.
func (e *Engine) pid() (int, error) {
	pid, err := state.ReadPID(e.pidFile())
	if err != nil {
		return 0, err
	}
	if !runs(pid, "\x00"+e.home.Engine()+"\x00") {
		return 0, fmt.Errorf("process %d: %w", pid, os.ErrProcessDone)
	}
	return pid, nil
}

// runs reports whether a process has a text on its command line.
func runs(pid int, text string) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.Contains(string(line), text)
}

func (e *Engine) pidFile() string { return filepath.Join(e.home.Run(), "docker.pid") }

// runtimeDir is where sockets and mounts of the engine go: short, because of
// maxSocketPath, and on a file system that a reboot clears.
func (e *Engine) runtimeDir() string {
	sum := sha256.Sum256([]byte(e.home))
	return "/run/localcloud-" + hex.EncodeToString(sum[:4])
}

func (e *Engine) execRoot() string { return filepath.Join(e.runtimeDir(), "exec") }

// host is DOCKER_HOST of localcloud's own engine.
func (e *Engine) host() string {
	socket := filepath.Join(e.home.Run(), "docker.sock")
	if len(socket) > maxSocketPath {
		socket = filepath.Join(e.runtimeDir(), "docker.sock")
	}
	return "unix://" + socket
}

func answers(ctx context.Context, docker Docker) error {
	_, err := docker.Run(ctx, "version", "--format", "{{.Server.Version}}")
	return err
}
