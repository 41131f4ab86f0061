// Package commandplugin is a resource plugin for the types of the Pulumi
// package command that the program uses. It stands in for
// pulumi-resource-command where that binary cannot be had, and behaves like
// version 1.2.1 of it. localcloud/README.md lists what differs.
package commandplugin

import (
	"context"
	"fmt"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
)

const (
	name = "command"
	// version is that of the plugin which this one behaves like.
	version = "1.2.1"
)

// Serve runs the plugin until the engine ends it. It reads the engine's
// address from the command line and prints its own port on standard output, as
// every Pulumi plugin does.
func Serve(ctx context.Context) error {
	provider, err := provider()
	if err != nil {
		return err
	}
	if err := provider.Run(ctx, name, version); err != nil {
		return fmt.Errorf("serve the %s plugin: %w", name, err)
	}
	return nil
}

func provider() (p.Provider, error) {
	provider, err := infer.NewProviderBuilder().
		WithResources(
			infer.Resource(&LocalCommand{}),
			infer.Resource(&RemoteCommand{}),
			infer.Resource(&CopyToRemote{}),
		).
		Build()
	if err != nil {
		return p.Provider{}, fmt.Errorf("describe the %s plugin: %w", name, err)
	}
	return provider, nil
}
