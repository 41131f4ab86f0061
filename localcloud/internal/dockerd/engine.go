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
	maxSocketPath = 107 // bytes in the path of a Unix socket (sun_path, unix(7))
	startTimeout  = 60 * time.Second
	stopTimeout   = 60 * time.Second
)

// ErrNotRunning is returned if no Docker engine responds.
var ErrNotRunning = errors.New("no Docker engine responds")

// Engine is the Docker engine of one home: the user's engine if it responds, otherwise localcloud's own engine,
// which keeps its data below the home.
type Engine struct {
	home   state.Home
	runner run.Runner
}

// Docker returns the docker command for the running engine, which it finds at the first use.
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

// New returns the engine of a home. It does not access the engine.
func New(h state.Home, runner run.Runner) *Engine { return &Engine{home: h, runner: runner} }

// Find returns the running engine. own reports whether it is localcloud's own. The error wraps ErrNotRunning if no
// engine responds.
func (e *Engine) Find(ctx context.Context) (docker Docker, own bool, err error) {
	docker = Docker{Runner: e.runner, Host: e.host()}
	if _, err := e.pid(); err == nil {
		if err := ping(ctx, docker); err == nil {
			return docker, true, nil
		}
	}
	docker.Host = ""
	if os.Getenv("DOCKER_HOST") == e.host() {
		// An earlier `localcloud env` set the variable to localcloud's own engine, which does not respond.
		docker.Host = "unix:///var/run/docker.sock"
	}
	if err := ping(ctx, docker); err != nil {
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

// start starts dockerd so that it outlives this process. dockerd's firewall rules and default bridge are disabled:
// localcloud has its own, and a stopped engine must leave nothing behind.
func (e *Engine) start(ctx context.Context) (err error) {
	defer run.Wrap(&err, "start a Docker engine")
	daemon, err := run.Find("dockerd")
	if err != nil {
		return errors.New("dockerd is not installed: install Docker's engine (on Debian: apt-get install docker.io)")
	}
	for _, dir := range []string{e.home.Engine(), e.home.Run(), e.execRoot()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if _, err := e.pid(); errors.Is(err, os.ErrProcessDone) {
		// The pid file is left over from before a restart of the machine, and dockerd would refuse to start.
		if err := os.Remove(e.pidFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := e.stopContainerd(ctx); err != nil {
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
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	starting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	docker := Docker{Runner: e.runner, Host: e.host()}
	if err := run.Await(starting, startTimeout, 100*time.Millisecond, func(ctx context.Context) error {
		select {
		case err := <-exited:
			cancel(fmt.Errorf("dockerd exited: %w", err))
		default:
		}
		return ping(ctx, docker)
	}); err != nil {
		return fmt.Errorf("dockerd does not respond: %w; see %s", errors.Join(context.Cause(starting), err), logFile)
	}
	return nil
}

// Stop stops localcloud's own engine, if it is running, and removes its data. It never touches the user's engine.
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

// Exists reports whether the home has its own engine, running or not.
func (e *Engine) Exists() bool {
	_, err := os.Stat(e.home.Engine())
	return err == nil
}

// stopContainerd stops the containerd of a killed engine: the next engine would mistake it for its own while it is
// shutting down, and wait for it in vain.
func (e *Engine) stopContainerd(ctx context.Context) error {
	pidFile := filepath.Join(e.execRoot(), "containerd", "containerd.pid")
	pid, err := state.ReadPID(pidFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if commandLineContains(pid, e.execRoot()) {
		if err := stop(ctx, pid); err != nil {
			return fmt.Errorf("stop containerd: %w", err)
		}
	}
	return os.Remove(pidFile)
}

// unmountBelow unmounts the file systems that a killed engine left mounted at or below a directory.
func unmountBelow(dir string) error {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	// In reverse order, because mounts nest and stack.
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

// stop terminates a process, which need not be a child, and waits until it has exited.
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

// pid returns the process id of localcloud's own engine. The error wraps os.ErrProcessDone if the process in the
// pid file has exited or is another program.
func (e *Engine) pid() (int, error) {
	pid, err := state.ReadPID(e.pidFile())
	if err != nil {
		return 0, err
	}
	if !commandLineContains(pid, "\x00"+e.home.Engine()+"\x00") {
		return 0, fmt.Errorf("process %d: %w", pid, os.ErrProcessDone)
	}
	return pid, nil
}

// commandLineContains reports whether a process exists and its command line contains text.
func commandLineContains(pid int, text string) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.Contains(string(line), text)
}

func (e *Engine) pidFile() string { return filepath.Join(e.home.Run(), "docker.pid") }

// runtimeDir returns the directory for the engine's sockets and mounts. Its path is short because of
// maxSocketPath, and a reboot clears its file system.
func (e *Engine) runtimeDir() string {
	sum := sha256.Sum256([]byte(e.home))
	return "/run/localcloud-" + hex.EncodeToString(sum[:4])
}

func (e *Engine) execRoot() string { return filepath.Join(e.runtimeDir(), "exec") }

// host returns the DOCKER_HOST of localcloud's own engine.
func (e *Engine) host() string {
	socket := filepath.Join(e.home.Run(), "docker.sock")
	if len(socket) > maxSocketPath {
		socket = filepath.Join(e.runtimeDir(), "docker.sock")
	}
	return "unix://" + socket
}

func ping(ctx context.Context, docker Docker) error {
	_, err := docker.Run(ctx, "version", "--format", "{{.Server.Version}}")
	return err
}
