package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"net/url"

	"immutable-infra/internal/awsclient"
	"immutable-infra/ops/internal/program"
	"immutable-infra/probe"
)

// stack is a deployed stack.
type stack struct {
	name, domain string
	address      netip.Addr
	// server is the server id in the stack's outputs.
	server string
	// rootsFile is a PEM file with the CAs of the site's certificate, or "".
	rootsFile, region string
}

// readStack reads a stack's outputs and configuration.
func readStack(ctx context.Context, name string) (stack, error) {
	s := stack{name: name}
	var outputs struct{ URL, VIP, ServerID string }
	if err := readJSON(ctx, &outputs, "stack", "output", "--json", "--stack", name); err != nil {
		return stack{}, fmt.Errorf("cannot read the outputs of stack %s: %w; log in to its backend (pulumi login)", name, err)
	}
	for _, output := range []struct{ name, value string }{
		{"url", outputs.URL}, {"vip", outputs.VIP}, {"serverId", outputs.ServerID},
	} {
		if output.value == "" {
			return stack{}, fmt.Errorf("stack %s has no output %s; deploy it first: pulumi up --stack %s",
				name, output.name, name)
		}
	}
	site, err := url.Parse(outputs.URL)
	if err != nil {
		return stack{}, fmt.Errorf("cannot use the output url of stack %s: %w", name, err)
	}
	if s.address, err = netip.ParseAddr(outputs.VIP); err != nil {
		return stack{}, fmt.Errorf("cannot use the output vip of stack %s: %w", name, err)
	}
	s.domain, s.server = site.Hostname(), outputs.ServerID
	var config map[string]struct{ Value string }
	if err := readJSON(ctx, &config, "config", "--json", "--stack", name); err != nil {
		return stack{}, fmt.Errorf("cannot read the configuration of stack %s: %w", name, err)
	}
	s.rootsFile, s.region = config["immutable-infra:acmeCA"].Value, config["aws:region"].Value
	return s, nil
}

// readJSON decodes the output of a Pulumi command.
func readJSON(ctx context.Context, into any, args ...string) error {
	text, err := program.Pulumi(ctx, args...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), into)
}

// site returns the site at a port of the VIP.
func (s stack) site(port uint16) (site, error) {
	address := netip.AddrPortFrom(s.address, port).String()
	found := site{name: s.domain, dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}}
	if s.rootsFile == "" {
		return found, nil
	}
	var err error
	if found.roots, err = probe.Roots(s.rootsFile); err != nil {
		return site{}, fmt.Errorf("cannot read the CAs of the site's certificate: %w", err)
	}
	return found, nil
}

// holder returns a function that queries EC2's API for the server that holds the VIP.
func (s stack) holder(ctx context.Context, getenv func(string) string) (func(context.Context) (string, error), error) {
	client, err := awsclient.New(ctx, s.region, getenv)
	if err != nil {
		return nil, err
	}
	var state struct {
		Deployment struct {
			Resources []struct {
				Type, ID string
				Outputs  struct{ PublicIP any }
			}
		}
	}
	if err := readJSON(ctx, &state, "stack", "export", "--stack", s.name); err != nil {
		return nil, fmt.Errorf("cannot read the VIP's id in the state: %w", err)
	}
	for _, resource := range state.Deployment.Resources {
		if resource.Type == "aws:ec2/eip:Eip" && resource.Outputs.PublicIP == s.address.String() {
			return func(ctx context.Context) (string, error) { return client.AddressHolder(ctx, resource.ID) }, nil
		}
	}
	return nil, fmt.Errorf("cannot find the VIP %s in the state", s.address)
}
