// Command uptime reconciles what a stack has at UptimeRobot. Pulumi's command resources run it.
//
//	uptime create   brings the account to the desired state, and prints the ids
//	uptime update   does the same, with the previous ids
//	uptime delete   deletes all resources of the stack
//	uptime read     prints the drift
//
// The secrets come on standard input, as {"key": ..., "webhook": ...}. The environment has the rest:
//
//	UPTIMEROBOT_API         URL of the API
//	UPTIMEROBOT_DESIRED     the desired state, in JSON (uptime.Desired)
//	UPTIMEROBOT_CA_BUNDLE   file with the authorities of the API. Default: the system's
//	PULUMI_COMMAND_STDOUT   what create or update printed last, for update and delete
//
// Exit codes: 0 the job is done, 1 it failed, 2 the command line is wrong.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"immutable-infra/uptime"
)

const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// within bounds a verb. The free plan accepts ten requests a minute.
const within = 5 * time.Minute

var errUsage = errors.New("usage: uptime create|update|delete|read, with the secrets on standard input")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := exitDone
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = exitFailed
		if errors.Is(err, errUsage) {
			code = exitUsage
		}
	}
	stop()
	os.Exit(code)
}

// run executes the verb in args.
func run(
	ctx context.Context, args []string, variable func(string) string, stdin io.Reader, stdout, stderr io.Writer,
) error {
	if len(args) != 1 {
		return errUsage
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var secrets struct{ Key, Webhook string }
	// The error would quote the input, which is secret.
	if err := json.NewDecoder(stdin).Decode(&secrets); err != nil || secrets.Key == "" {
		return errors.New(`cannot read standard input: expected {"key": ..., "webhook": ...} with the API key of UptimeRobot`)
	}
	var desired uptime.Desired
	if err := json.Unmarshal([]byte(variable("UPTIMEROBOT_DESIRED")), &desired); err != nil {
		return fmt.Errorf("cannot read UPTIMEROBOT_DESIRED: %w", err)
	}
	var made uptime.IDs
	if printed := variable("PULUMI_COMMAND_STDOUT"); printed != "" && (args[0] == "update" || args[0] == "delete") {
		if err := json.Unmarshal([]byte(printed), &made); err != nil {
			return fmt.Errorf("cannot read PULUMI_COMMAND_STDOUT: %w", err)
		}
	}
	client, err := uptime.NewClient(uptime.Account{
		API: variable("UPTIMEROBOT_API"), Key: secrets.Key, Webhook: secrets.Webhook,
		Roots: variable("UPTIMEROBOT_CA_BUNDLE"),
	}, func(message string) { fmt.Fprintln(stderr, message) })
	if err != nil {
		return err
	}

	switch args[0] {
	case "create", "update":
		made, err := client.Apply(ctx, desired, made)
		if err != nil {
			return err
		}
		return json.NewEncoder(stdout).Encode(made)
	case "delete":
		return client.Delete(ctx, desired, made)
	case "read":
		differences, err := client.Drift(ctx, desired)
		for _, difference := range differences {
			fmt.Fprintln(stdout, difference)
		}
		return err
	}
	return errUsage
}
