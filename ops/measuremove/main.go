// Command measuremove measures what visitors experience while a stack's address moves from one server to the next.
// It sends a numbered request every 20 ms, each on a new connection, keeps ten connections open with one request
// per second on each, and prints which server answered, which requests were lost, and when. It runs in the Pulumi
// project's directory and finds the site through the stack's outputs.
//
//	measuremove --stack test --json move.json
//	measuremove --stack test -- pulumi up --yes --stack test
//
// It changes nothing itself. Without a command, run the update in another terminal: the measurement ends when the
// address has moved and no kept connection to the old server remains. It never interrupts a command.
//
// The results are Markdown on stdout; progress and the command's output go to stderr. Request n is for
// /.well-known/server?n=..., which the servers' access logs show. Exit codes: 0 a move was measured, 1 no move was
// measured or the command failed, 2 the command line is invalid.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	exitMeasured = 0
	exitFailed   = 1
	exitUsage    = 2
)

// clock is the time format of progress messages.
const clock = "15:04:05.000"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	// A second Ctrl-C ends the program.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr))
}

// run executes the command and returns the exit code.
func run(
	ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer,
) int {
	flags := flag.NewFlagSet("measuremove", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var s settings
	name := flags.String("stack", "", "`name` of the stack (required)")
	file := flags.String("json", "", "`file` for the results in JSON, with every request")
	port := flags.Uint("port", 443, "`port` of the site")
	flags.DurationVar(&s.interval, "interval", 20*time.Millisecond, "`time` between two requests on new connections")
	flags.DurationVar(&s.timeout, "timeout", 10*time.Second, "`time` after which a request is abandoned")
	flags.IntVar(&s.maxInFlight, "in-flight", 1000, "maximum `number` of concurrent requests on new connections")
	flags.IntVar(&s.visitors, "kept", 10, "`number` of kept connections")
	flags.DurationVar(&s.keptInterval, "kept-interval", time.Second, "`time` between two requests on a kept connection")
	flags.DurationVar(&s.after, "after", 10*time.Second, "`time` to continue after the move")
	flags.DurationVar(&s.limit, "limit", time.Hour, "`time` after which the measurement ends in any case")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitMeasured
		}
		return exitUsage
	}
	if err := check(s, *name, *port); err != nil {
		fmt.Fprintln(stderr, err)
		return exitUsage
	}
	if err := measureStack(ctx, s, *name, uint16(*port), *file, flags.Args(), getenv, stdin, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "cannot measure a move of stack %s: %v\n", *name, err)
		return exitFailed
	}
	return exitMeasured
}

// check returns an error for the first problem on the command line.
func check(s settings, stack string, port uint) error {
	if stack == "" {
		return errors.New("--stack is missing: set it to the name of the stack, such as test")
	}
	for _, duration := range []struct {
		flag  string
		value time.Duration
	}{
		{"interval", s.interval}, {"timeout", s.timeout}, {"kept-interval", s.keptInterval}, {"after", s.after},
		{"limit", s.limit},
	} {
		if duration.value < time.Millisecond {
			return fmt.Errorf("--%s is %s: set it to 1ms or more", duration.flag, duration.value)
		}
	}
	switch {
	case s.maxInFlight < 1:
		return fmt.Errorf("--in-flight is %d: set it to a number above 0", s.maxInFlight)
	case s.visitors < 0:
		return fmt.Errorf("--kept is %d: set it to the number of connections, such as 10", s.visitors)
	case port < 1 || port > 65535:
		return fmt.Errorf("--port is %d: set it to a port, such as 443", port)
	}
	return nil
}

// measureStack measures a move of a stack's address, during a command if one is given.
func measureStack(
	ctx context.Context, s settings, name string, port uint16, file string, command []string,
	getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer,
) error {
	var mutex sync.Mutex
	s.log = func(line string) {
		mutex.Lock()
		defer mutex.Unlock()
		fmt.Fprintf(stderr, "%s %s\n", time.Now().Format(clock), line)
	}
	found, err := readStack(ctx, name)
	if err != nil {
		return err
	}
	if s.site, err = found.site(port); err != nil {
		return err
	}
	s.old = found.server
	if err := s.preflight(ctx); err != nil {
		return err
	}
	if s.holder, err = found.holder(ctx, getenv); err != nil {
		s.log(fmt.Sprintf("measuring without EC2's API: %v", err))
	}
	// Create the file now, so that an unwritable one fails before the move.
	var results *os.File
	if file != "" {
		if results, err = os.Create(file); err != nil {
			return err
		}
		defer results.Close()
	}
	running, err := start(ctx, command, stdin, stderr)
	if err != nil {
		return err
	}
	if s.ended = running.ended; s.ended == nil {
		s.log("measuring; now move the address in another terminal, such as by: pulumi up --stack " + name)
	}
	m := measure(running.ctx, s)
	r := newReport(name, found.address.String(), m)
	err = r.print(stdout)
	if results != nil {
		err = errors.Join(err, json.NewEncoder(results).Encode(r), results.Close())
	}
	err = errors.Join(err, running.wait())
	if r.New == "" {
		err = errors.Join(err, errors.New("the address did not move"))
	}
	return err
}

// preflight returns an error unless the old server answers.
func (s settings) preflight(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	c, _, err := s.site.open(ctx)
	if err != nil {
		return fmt.Errorf("the site does not answer: %w", err)
	}
	defer c.close()
	server, err := c.ask(ctx, 0)
	if err != nil {
		return fmt.Errorf("the site does not name its server: %w", err)
	}
	if server != s.old {
		return fmt.Errorf("server %s answers, but the stack's outputs name %s; wait until no update is running, or "+
			"run pulumi up", server, s.old)
	}
	return nil
}

// runningCommand is a command in progress, or none.
type runningCommand struct {
	// ctx is canceled when the measurement must end before the move is over: on a signal, but not before the command
	// ends.
	ctx context.Context
	// ended is closed when the command has ended, and nil without a command.
	ended <-chan struct{}
	// wait waits for the command and returns its error.
	wait func() error
}

// start starts a command. The terminal sends its signals to the command as well, which then ends.
func start(ctx context.Context, args []string, stdin io.Reader, stderr io.Writer) (runningCommand, error) {
	if len(args) == 0 {
		return runningCommand{ctx: ctx, wait: func() error { return nil }}, nil
	}
	command := exec.Command(args[0], args[1:]...)
	command.Stdin, command.Stdout, command.Stderr = stdin, stderr, stderr
	if err := command.Start(); err != nil {
		return runningCommand{}, err
	}
	ended, failed := make(chan struct{}), error(nil)
	go func() {
		defer close(ended)
		if err := command.Wait(); err != nil {
			failed = fmt.Errorf("%s: %w", strings.Join(args, " "), err)
		}
	}()
	measuring, stop := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() {
		<-ended
		stop()
	})
	return runningCommand{ctx: measuring, ended: ended, wait: func() error {
		<-ended
		stop()
		return failed
	}}, nil
}
