// Command sshprobe waits until a login over SSH succeeds, and reports why it fails. A Pulumi command resource runs it
// before the remote commands of an update.
//
// The private key is read from standard input, other settings from the environment:
//
//	SSHPROBE_ADDRESS    host:port of the server
//	SSHPROBE_USER       login name
//	SSHPROBE_HOST_KEY   the server's key, one line of authorized_keys
//	SSHPROBE_WITHIN     how long to wait, such as 5m
//
// Exit codes: 0 the login succeeded, 1 it failed or the input is invalid.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"immutable-infra/sshprobe"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Getenv, os.Stdin, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, variable func(string) string, stdin io.Reader, stderr io.Writer) error {
	key, err := io.ReadAll(stdin)
	if err != nil {
		return fmt.Errorf("cannot read the private key from standard input: %w", err)
	}
	within, err := time.ParseDuration(variable("SSHPROBE_WITHIN"))
	if err != nil {
		return fmt.Errorf("cannot read SSHPROBE_WITHIN: %w", err)
	}
	login := sshprobe.Login{
		Address:    variable("SSHPROBE_ADDRESS"),
		User:       variable("SSHPROBE_USER"),
		PrivateKey: string(key),
		HostKey:    variable("SSHPROBE_HOST_KEY"),
	}
	return login.Wait(ctx, within, func(line string) { fmt.Fprintln(stderr, line) })
}
