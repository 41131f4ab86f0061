// Command uptime reconciles the resources of a stack at UptimeRobot. Pulumi's command resources run it.
//
//	uptime create   brings the account to the desired state, and prints the ids
//	uptime update   does the same, using the previous ids
//	uptime delete   deletes all resources of the stack
//	uptime read     prints the drift
//
// The secrets are read from standard input, as {"key": ..., "webhook": ...}, other settings from the environment:
//
//	UPTIMEROBOT_API         URL of the API
//	UPTIMEROBOT_DESIRED     the desired state as JSON (uptime.Desired)
//	UPTIMEROBOT_CA_BUNDLE   PEM file with the authorities of the API's certificate. Default: the system's
//	PULUMI_COMMAND_STDOUT   the last output of create or update, for update and delete
//
// Exit codes: 0 success, 1 failure, 2 the command line is invalid.
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

// within bounds one run. The free plan allows ten requests per minute.
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
	// Not wrapped, because the error of the decoder would quote the input, which is secret.
	if err := json.NewDecoder(stdin).Decode(&secrets); err != nil || secrets.Key == "" {
		return errors.New(`cannot read standard input: expected {"key": ..., "webhook": ...} with the API key of UptimeRobot`)
	}
	var desired uptime.Desired
	if err := json.Unmarshal([]byte(variable("UPTIMEROBOT_DESIRED")), &desired); err != nil {
		return fmt.Errorf("cannot read UPTIMEROBOT_DESIRED: %w", err)
	}
	var created uptime.IDs
	if printed := variable("PULUMI_COMMAND_STDOUT"); printed != "" && (args[0] == "update" || args[0] == "delete") {
		if err := json.Unmarshal([]byte(printed), &created); err != nil {
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
		created, err := client.Apply(ctx, desired, created)
		if err != nil {
			return err
		}
		return json.NewEncoder(stdout).Encode(created)
	case "delete":
		return client.Delete(ctx, desired, created)
	case "read":
		differences, err := client.Drift(ctx, desired)
		for _, difference := range differences {
			fmt.Fprintln(stdout, difference)
		}
		return err
	}
	return errUsage
}
