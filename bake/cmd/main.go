// Command bake watches a server after the VIP has moved to it, and returns the VIP to the previous server if visitors
// fare worse. Pulumi's command resources run it.
//
//	bake previous   print the id of the server that holds the VIP, before it moves
//	bake watch      observe the server, after the VIP has moved
//
// Settings are read from the environment:
//
//	REGION, ALLOCATION_ID  the VIP
//	NAME, ADDRESS          the site's name, and the VIP's address
//	ROOTS                  PEM file of the trusted authorities. Default: this machine's
//	SERVER, PREVIOUS       ids of the server that holds the VIP now and of the previous one, if any
//	BUCKET                 the backup bucket
//	BAKE                   bake.Criteria as JSON
//	AWS_*                  keys, endpoints and authorities, as for the AWS CLI
//
// Exit codes: 0 success, 1 the bake failed or could not take place, 2 the command line or a setting is invalid.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"immutable-infra/bake"
	"immutable-infra/internal/awsclient"
	"immutable-infra/probe"
)

const (
	exitFailed = 1
	exitUsage  = 2
)

// command is a subcommand.
type command func(ctx context.Context, variable func(string) string, stdout, stderr io.Writer) error

// errSetting is wrapped by errors about settings.
var errSetting = errors.New("invalid setting")

func main() {
	os.Exit(run(os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// run runs the subcommand in args, and returns the exit code.
func run(args []string, variable func(string) string, stdout, stderr io.Writer) int {
	// The return of the VIP must complete even if the update that reads the output is killed.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	do := map[string]command{"previous": previous, "watch": watch}[strings.Join(args, " ")]
	if do == nil {
		fmt.Fprintln(stderr, "usage: bake previous|watch")
		return exitUsage
	}
	err := do(ctx, variable, stdout, stderr)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errSetting):
		fmt.Fprintln(stderr, err)
		return exitUsage
	default:
		fmt.Fprintln(stderr, err)
		return exitFailed
	}
}

// previous prints the id of the server that holds the VIP.
func previous(ctx context.Context, variable func(string) string, stdout, _ io.Writer) error {
	if err := missing(variable, "REGION", "ALLOCATION_ID"); err != nil {
		return err
	}
	client, err := awsclient.New(ctx, variable("REGION"), variable)
	if err != nil {
		return err
	}
	holder, err := client.AddressHolder(ctx, variable("ALLOCATION_ID"))
	if err == nil {
		_, err = fmt.Fprint(stdout, holder)
	}
	return err
}

// watch runs the bake.
func watch(ctx context.Context, variable func(string) string, stdout, stderr io.Writer) error {
	watched := bake.Bake{
		Server: variable("SERVER"), Previous: variable("PREVIOUS"), AllocationID: variable("ALLOCATION_ID"),
		Log: func(line string) { fmt.Fprintln(stderr, line) },
	}
	target, err := probe.FromEnvironment(variable)
	if err != nil {
		err = fmt.Errorf("%w: %w", errSetting, err)
	}
	if limits := json.Unmarshal([]byte(variable("BAKE")), &watched.Criteria); limits != nil {
		err = errors.Join(err, fmt.Errorf("%w: BAKE: expected criteria as JSON: %w", errSetting, limits))
	}
	if err := errors.Join(err, missing(variable, "REGION", "ALLOCATION_ID", "SERVER", "BUCKET")); err != nil {
		return err
	}
	client, err := awsclient.New(ctx, variable("REGION"), variable)
	if err != nil {
		return err
	}
	watched.Cloud, watched.Bucket = client, awsclient.Bucket{Client: client, Name: variable("BUCKET")}
	watched.Visit = func(ctx context.Context, server string) error {
		visited := target
		visited.Server = server
		return visited.Visit(ctx, net.DefaultResolver)
	}
	if err := watched.Run(ctx); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "server %s keeps the VIP", watched.Server)
	return err
}

// missing returns an error that lists the variables that are not set, or nil.
func missing(variable func(string) string, names ...string) error {
	var problems []error
	for _, name := range names {
		if variable(name) == "" {
			problems = append(problems, fmt.Errorf("%w: %s is not set", errSetting, name))
		}
	}
	return errors.Join(problems...)
}
