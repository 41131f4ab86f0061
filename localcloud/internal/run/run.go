// Package run runs commands and waits for them. It gives all failed commands in localcloud the same error format.
package run

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Command is a command line and its environment.
type Command struct {
	Name  string
	Args  []string
	Dir   string    // the working directory; "" means the current one
	Env   []string  // added to this process's environment, as "KEY=value"
	Stdin io.Reader // may be nil
	// Stream receives a copy of standard output and standard error while the command runs. It may be nil.
	Stream io.Writer
}

// Find returns the path of a program. It also searches /usr/sbin, which on Debian only root has in its PATH.
func Find(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	return exec.LookPath("/usr/sbin/" + program)
}

// Runner runs a command, waits for it and returns its standard output. The error is an *Error.
type Runner interface {
	Run(ctx context.Context, command Command) ([]byte, error)
}

// Exec is the Runner that starts real processes.
//
// When the context is canceled, Exec interrupts the command (SIGINT) and kills it only after Grace, so that a
// deployment can finish its current step.
type Exec struct{ Grace time.Duration }

// IP returns an ip command of iproute2.
func IP(args ...string) Command { return Command{Name: "ip", Args: args} }

func (e Exec) Run(ctx context.Context, command Command) ([]byte, error) {
	cmd := exec.CommandContext(ctx, command.Name, command.Args...)
	cmd.Dir = command.Dir
	cmd.Env = append(os.Environ(), command.Env...)
	cmd.Stdin = command.Stdin
	// In a separate process group, Ctrl-C on the terminal interrupts the command only once, through the context.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = max(e.Grace, 5*time.Second)

	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if command.Stream != nil {
		stream := &LockedWriter{Writer: command.Stream}
		cmd.Stdout, cmd.Stderr = io.MultiWriter(&stdout, stream), io.MultiWriter(&stderr, stream)
	}
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return stdout.Bytes(), &Error{Command: command, Output: stdout.String() + stderr.String(), Err: err}
	}
	return stdout.Bytes(), nil
}

// LockedWriter serializes writes, so that a command's two output streams do not interleave within a write.
type LockedWriter struct {
	Writer io.Writer
	mu     sync.Mutex
}

func (w *LockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.Writer.Write(p)
}

// outputLines is the number of lines of a failed command's output in its error.
const outputLines = 20

// Error is the error of a failed command. Its text has the command line and the last lines of the output.
type Error struct {
	Command Command
	Output  string // standard output followed by standard error
	Err     error
}

func (e *Error) Error() string {
	text := fmt.Sprintf("%s: %v", strings.Join(append([]string{e.Command.Name}, e.Command.Args...), " "), e.Err)
	output := strings.TrimSpace(e.Output)
	if output == "" {
		return text
	}
	lines := strings.Split(output, "\n")
	return text + "\n  " + strings.Join(lines[max(0, len(lines)-outputLines):], "\n  ")
}

func (e *Error) Unwrap() error { return e.Err }

// Wrap prefixes *err with a description of what failed, unless it is nil. Use it with defer.
func Wrap(err *error, format string, args ...any) {
	if *err != nil {
		*err = fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), *err)
	}
}

// Await calls try at the given interval until it succeeds, ctx ends or limit has passed. Its error is the last
// error of try that the end of the time did not cause.
func Await(ctx context.Context, limit, interval time.Duration, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var last error
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return last
		case <-ticker.C:
		}
	}
}
