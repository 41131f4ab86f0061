// Package tlsplugin is a resource plugin for the one type of the Pulumi
// package tls that the program uses. It stands in for pulumi-resource-tls
// where that binary cannot be had, and behaves like version 5.2.0 of it.
package tlsplugin

import (
	"context"
	"fmt"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
)

const (
	name = "tls"
	// version is that of the SDK whose default provider asks for this plugin.
	version = "5.2.0"
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
		WithResources(infer.Resource(&PrivateKey{})).
		Build()
	if err != nil {
		return p.Provider{}, fmt.Errorf("describe the %s plugin: %w", name, err)
	}
	return bridged(provider), nil
}
