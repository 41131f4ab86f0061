// Command bake watches a server after the VIP moved to it, and returns the VIP to the server before it if visitors fare
// worse. Pulumi's command resources run it.
//
//	bake previous   print the id of the server that holds the VIP, before it moves
//	bake watch      watch, after it has moved
//
// The environment has the settings:
//
//	REGION, ALLOCATION_ID  the VIP
//	NAME, ADDRESS          the site's name, and the VIP's address
//	ROOTS                  PEM file of the trusted authorities. Default: those of this machine
//	SERVER, PREVIOUS       ids of the server that holds the VIP now and of the one before it, if any
//	BUCKET                 the backup bucket
//	BAKE                   bake.Criteria in JSON
//	AWS_*                  keys, endpoints and authorities, as for the AWS CLI
//
// Exit codes: 0 done, 1 the bake failed or could not take place, 2 the command line or a setting is invalid.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"immutable-infra/bake"
	"immutable-infra/internal/awsclient"
	"immutable-infra/probe"
)

const (
	exitFailed = 1
	exitUsage  = 2
)

var errUsage = errors.New("usage: bake previous|watch")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitUsage)
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitFailed)
	}
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	if len(args) != 1 || args[0] != "previous" && args[0] != "watch" {
		return errUsage
	}
	client, err := awsclient.New(ctx, getenv("REGION"), getenv)
	if err != nil {
		return err
	}
	if args[0] == "previous" {
		holder, err := client.AddressHolder(ctx, getenv("ALLOCATION_ID"))
		if err == nil {
			_, err = fmt.Fprint(stdout, holder)
		}
		return err
	}
	watched := bake.Bake{
		Server: getenv("SERVER"), Previous: getenv("PREVIOUS"), AllocationID: getenv("ALLOCATION_ID"),
		Cloud: client, Bucket: awsclient.Bucket{Client: client, Name: getenv("BUCKET")},
		Log: func(line string) { fmt.Fprintln(stderr, line) },
	}
	target := probe.Target{Name: getenv("NAME")}
	address, err := netip.ParseAddr(getenv("ADDRESS"))
	target.Address = netip.AddrPortFrom(address, 443)
	if err == nil {
		err = json.Unmarshal([]byte(getenv("BAKE")), &watched.Criteria)
	}
	if err == nil && getenv("ROOTS") != "" {
		target.Roots, err = probe.Roots(getenv("ROOTS"))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
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
