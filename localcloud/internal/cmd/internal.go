package cmd

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"immutable-infra/localcloud/internal/gateway"
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
	layer := flags.String("layer", "", "gzipped tar archive of the minimal root file system")
	architecture := flags.String("architecture", "amd64", "architecture of the root file system, in Go's words")
	certificate := flags.String("certificate", "", "certificate file, PEM")
	key := flags.String("key", "", "key file, PEM")
	if err := flags.Parse(args); err != nil {
		return err
	}
	upstream := http.DefaultTransport.(*http.Transport).Clone()
	upstream.DialContext = (&net.Dialer{Timeout: 3 * time.Second}).DialContext
	blobs, err := os.MkdirTemp("", "blobs-*")
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	defer os.RemoveAll(blobs)
	handler, err := registry.NewHandler(ctx, *layer, *architecture, blobs, upstream)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", ":443")
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	return registry.Serve(ctx, handler, listener, *certificate, *key)
}
