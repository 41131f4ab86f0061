package cmd

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"time"

	"immutable-infra/localcloud/internal/gateway"
	"immutable-infra/localcloud/internal/https"
	"immutable-infra/localcloud/internal/names"
	"immutable-infra/localcloud/internal/registry"
	"immutable-infra/localcloud/internal/run"
)

// gatewayVerb is what runs in the gateway container of a VPC.
func gatewayVerb(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("gateway: write one of run, apply, ready")
	}
	runner := run.Exec{}
	switch args[0] {
	case "run":
		return gateway.Run(ctx, runner)
	case "apply":
		return gateway.Apply(ctx, runner)
	case "ready":
		return gateway.Ready(ctx)
	}
	return fmt.Errorf("gateway: %q: write one of run, apply, ready", args[0])
}

// registryVerb is what runs in the registry's container.
func registryVerb(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("registry", flag.ContinueOnError)
	minbase := flags.String("minbase", "", "layer of the minimal root file system, a gzipped tar archive")
	traefik := flags.String("traefik", "", "layer of Traefik on top of it, a gzipped tar archive")
	architecture := flags.String("architecture", "amd64", "architecture of the root file system, in Go's words")
	certificate := flags.String("certificate", "", "certificate file, PEM")
	key := flags.String("key", "", "key file, PEM")
	if err := flags.Parse(args); err != nil {
		return err
	}
	upstream := http.DefaultTransport.(*http.Transport).Clone()
	upstream.DialContext = (&net.Dialer{Timeout: 3 * time.Second}).DialContext
	images := []registry.Image{registry.Debian(*minbase), registry.Traefik(*minbase, *traefik)}
	handler, err := registry.NewHandler(ctx, images, *architecture, upstream)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", ":443")
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	return registry.Serve(ctx, handler, listener, *certificate, *key)
}

// serve is the rest of the verb of a double: its handler, with TLS, at the port of HTTPS.
func serve(ctx context.Context, verb string, handler http.Handler, certificate, key string) error {
	listener, err := net.Listen("tcp", ":443")
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	if err := https.Serve(ctx, handler, listener, certificate, key); err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	return nil
}

// dnsVerb is what runs in the name server's container.
func dnsVerb(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("dns", flag.ContinueOnError)
	zone := flags.String("zone", "", "zone file, JSON")
	listen := flags.String("listen", "", "address and port, for UDP and TCP")
	if err := flags.Parse(args); err != nil {
		return err
	}
	stream, err := net.Listen("tcp", *listen)
	if err != nil {
		return fmt.Errorf("name server: %w", err)
	}
	packets, err := net.ListenPacket("udp", *listen)
	if err != nil {
		stream.Close()
		return fmt.Errorf("name server: %w", err)
	}
	return names.Serve(ctx, names.NewHandler(*zone), stream, packets)
}
