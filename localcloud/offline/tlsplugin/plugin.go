// Package tlsplugin is a resource plugin for the one type of the Pulumi
// package tls that the program uses. It stands in for pulumi-resource-tls
// where that binary cannot be had, and behaves like version 5.2.0 of it.
package tlsplugin

import (
	"context"
	"fmt"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
)

const (
	name = "tls"
	// version is that of the SDK whose default provider asks for this plugin.
	version = "5.2.0"
)

// What the real plugin, a bridged Terraform provider, stores beside the
// properties of the schema.
const (
	// metaProperty and idProperty are in the outputs.
	metaProperty = "__meta"
	idProperty   = "id"
	// defaultsProperty may be in the inputs.
	defaultsProperty = "__defaults"

	// meta is the version of the Terraform resource's schema. Without it the real
	// plugin would convert a key from an older version.
	meta = `{"schema_version":"1"}`
)

// Serve runs the plugin until the engine ends it. It reads the engine's
// address from the command line and prints its own port on standard output, as
// every Pulumi plugin does.
func Serve(ctx context.Context) error {
	provider, err := provider()
	if err == nil {
		err = provider.Run(ctx, name, version)
	}
	if err != nil {
		return fmt.Errorf("serve the %s plugin: %w", name, err)
	}
	return nil
}

func provider() (p.Provider, error) {
	provider, err := infer.NewProviderBuilder().WithResources(infer.Resource(&PrivateKey{})).Build()
	return bridged(provider), err
}

// bridged makes inner, which knows the properties of the schema only, store
// what the real plugin stores and read a state that the real plugin wrote.
func bridged(inner p.Provider) p.Provider {
	outer := inner
	outer.Check = func(ctx context.Context, req p.CheckRequest) (p.CheckResponse, error) {
		req.State = withoutBridge(req.State)
		return inner.Check(ctx, req)
	}
	outer.Create = func(ctx context.Context, req p.CreateRequest) (p.CreateResponse, error) {
		created, err := inner.Create(ctx, req)
		if err != nil || req.DryRun {
			return created, err
		}
		created.Properties = created.Properties.
			Set(metaProperty, property.New(meta)).
			Set(idProperty, property.New(created.ID))
		return created, nil
	}
	outer.Diff = func(ctx context.Context, req p.DiffRequest) (p.DiffResponse, error) {
		req.State, req.OldInputs = withoutBridge(req.State), withoutBridge(req.OldInputs)
		return inner.Diff(ctx, req)
	}
	outer.Read = func(ctx context.Context, req p.ReadRequest) (p.ReadResponse, error) {
		properties, inputs := req.Properties, req.Inputs
		req.Properties, req.Inputs = withoutBridge(properties), withoutBridge(inputs)
		read, err := inner.Read(ctx, req)
		// A key is what the state says of it.
		read.Properties, read.Inputs = properties, inputs
		return read, err
	}
	outer.Delete = func(ctx context.Context, req p.DeleteRequest) error {
		req.Properties, req.OldInputs = withoutBridge(req.Properties), withoutBridge(req.OldInputs)
		return inner.Delete(ctx, req)
	}
	return outer
}

func withoutBridge(properties property.Map) property.Map {
	return properties.Delete(metaProperty, idProperty, defaultsProperty)
}
