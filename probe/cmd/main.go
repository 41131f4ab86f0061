// Command probe waits until a site is served as expected at an address. Pulumi's command resources and
// ops/scripts/smoke.sh run it.
//
// Settings are read from the environment:
//
//	NAME         the site's domain name
//	ADDRESS      IPv4 address to probe
//	PORT         port to probe. Default: 443
//	ROOTS        PEM file of the trusted authorities. Default: this machine's
//	CERTIFICATE  valid or any; any skips certificate verification
//	SERVER       id of the server to expect
//	RELEASE      release to expect
//	WITHIN       timeout in seconds
//
// On success, it prints one line on standard output; progress goes to standard error. Exit codes: 0 the site is
// served as expected, 1 it is not, 2 a setting is invalid.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"immutable-infra/probe"
)

const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	os.Exit(run(os.Getenv, net.DefaultResolver, os.Stdout, os.Stderr))
}

// run probes the site, and returns the exit code.
func run(variable func(string) string, resolver probe.Resolver, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	target, within, err := settings(variable)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitUsage
	}
	if err := target.Await(ctx, within, resolver, func(line string) { fmt.Fprintln(stderr, line) }); err != nil {
		fmt.Fprintln(stderr, err)
		return exitFailed
	}
	fmt.Fprintf(stdout, "https://%s/ is served at %s by %s with release %s\n", target.Name, target.Address.Addr(),
		target.Server, target.Release)
	return 0
}

// settings reads the environment. The error names every invalid setting.
func settings(variable func(string) string) (probe.Target, time.Duration, error) {
	target, err := probe.FromEnvironment(variable)
	problems := []error{err}
	target.Server, target.Release = variable("SERVER"), variable("RELEASE")
	for _, name := range []string{"SERVER", "RELEASE"} {
		if variable(name) == "" {
			problems = append(problems, fmt.Errorf("%s is not set", name))
		}
	}
	if text := variable("PORT"); text != "" {
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil || port == 0 {
			problems = append(problems, fmt.Errorf("PORT is %q: expected a port, such as 443", text))
		}
		target.Address = netip.AddrPortFrom(target.Address.Addr(), uint16(port))
	}
	switch certificate := variable("CERTIFICATE"); certificate {
	case "valid":
	case "any":
		target.AnyCertificate = true
	default:
		problems = append(problems, fmt.Errorf("CERTIFICATE is %q: expected valid or any", certificate))
	}
	seconds, err := strconv.ParseUint(variable("WITHIN"), 10, 31)
	if err != nil {
		problems = append(problems, fmt.Errorf("WITHIN is %q: expected seconds, such as 60", variable("WITHIN")))
	}
	return target, time.Duration(seconds) * time.Second, errors.Join(problems...)
}
