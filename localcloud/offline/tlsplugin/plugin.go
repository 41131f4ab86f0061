// Package tlsplugin is a resource plugin for the only type of the Pulumi package tls that the program uses, with the
// only algorithm that it uses. It stands in for pulumi-resource-tls if that binary is not available, and behaves like
// its version 5.2.0.
package tlsplugin

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math"
	"slices"
	"strings"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"golang.org/x/crypto/ssh"
)

const (
	name    = "tls"
	version = "5.2.0" // the version of the SDK whose default provider requests this plugin

	// privateKey is the supported type. It has no update: every change of an input replaces the key.
	privateKey = "tls:index/privateKey:PrivateKey"
	// meta is the schema version of the Terraform resource. The real plugin, a bridged Terraform provider, stores it in
	// __meta and would migrate a key without it from an older version.
	meta = `{"schema_version":"1"}`
)

// Serve runs the plugin until the engine stops it. Like every Pulumi plugin, it reads the engine's address from the
// command line and prints its own port on standard output.
func Serve(ctx context.Context) error {
	if err := provider().Run(ctx, name, version); err != nil {
		return fmt.Errorf("cannot serve the %s plugin: %w", name, err)
	}
	return nil
}

func provider() p.Provider {
	return p.Provider{
		CheckConfig: func(_ context.Context, req p.CheckRequest) (p.CheckResponse, error) {
			return p.CheckResponse{Inputs: req.Inputs}, nil
		},
		DiffConfig: func(context.Context, p.DiffRequest) (p.DiffResponse, error) { return p.DiffResponse{}, nil },
		Check:      checkKey,
		Diff:       diffKey,
		Create:     createKey,
		// A key exists only in the state, so a refresh cannot find a difference.
		Read: func(_ context.Context, req p.ReadRequest) (p.ReadResponse, error) {
			return p.ReadResponse{ID: req.ID, Properties: req.Properties, Inputs: req.Inputs}, nil
		},
		Delete: func(context.Context, p.DeleteRequest) error { return nil },
	}
}

// input is an input of a key, named as in the Go SDK pulumi-tls/sdk/v5@v5.2.0.
type input struct {
	defaultValue property.Value // null for a required input
	values       []string       // the valid values; empty for a number
}

func keyInputs() map[string]input {
	return map[string]input{
		"algorithm":  {values: []string{"ED25519"}},
		"ecdsaCurve": {defaultValue: property.New("P224"), values: []string{"P224", "P256", "P384", "P521"}},
		"rsaBits":    {defaultValue: property.New(2048.0)},
	}
}

func withDefaults(inputs property.Map) property.Map {
	for name, in := range keyInputs() {
		if inputs.Get(name).IsNull() {
			inputs = inputs.Set(name, in.defaultValue)
		}
	}
	return inputs
}

func checkKey(_ context.Context, req p.CheckRequest) (response p.CheckResponse, err error) {
	if token := string(req.Urn.Type()); token != privateKey {
		return response, fmt.Errorf("localcloud does not support resource type %s; it supports %s", token, privateKey)
	}
	// In __defaults, the real plugin lists the inputs that have their default value.
	response.Inputs = req.Inputs.Delete("__defaults")
	fail := func(property, format string, args ...any) {
		response.Failures = append(response.Failures,
			p.CheckFailure{Property: property, Reason: fmt.Sprintf(format, args...)})
	}
	for name, value := range withDefaults(response.Inputs).AllStable {
		in, known := keyInputs()[name]
		switch {
		case !known:
			fail(name, "unrecognized property %q", name)
		case value.IsNull():
			fail(name, "missing required property %q", name)
		case value.HasComputed():
		case len(in.values) == 0 && (!value.IsNumber() || value.AsNumber() != math.Trunc(value.AsNumber())):
			fail(name, "%q must be an integer", name)
		case len(in.values) > 0 && (!value.IsString() || !slices.Contains(in.values, value.AsString())):
			fail(name, "the value of %q is not supported: write one of %s", name, strings.Join(in.values, ", "))
		}
	}
	return response, nil
}

// diffKey requests a replacement if an input, or the default of an unset input, differs from the state.
func diffKey(_ context.Context, req p.DiffRequest) (p.DiffResponse, error) {
	plain := func(v property.Value) property.Value { return v.WithSecret(false).WithDependencies(nil) }
	next, changes := withDefaults(req.Inputs), map[string]p.PropertyDiff{}
	for name := range keyInputs() {
		if !plain(next.Get(name)).Equals(plain(req.State.Get(name))) {
			changes[name] = p.PropertyDiff{Kind: p.UpdateReplace}
		}
	}
	return p.DiffResponse{HasChanges: len(changes) > 0, DetailedDiff: changes}, nil
}

func createKey(_ context.Context, req p.CreateRequest) (response p.CreateResponse, err error) {
	response.Properties = withDefaults(req.Properties)
	outputs := map[string]string{}
	if !req.DryRun {
		if response.ID, err = generate(outputs); err != nil {
			return p.CreateResponse{}, fmt.Errorf("cannot create an ED25519 key: %w", err)
		}
		response.Properties = response.Properties.Set("__meta", property.New(meta)).Set("id", property.New(response.ID))
	}
	for _, output := range []string{
		"privateKeyOpenssh", "privateKeyPem", "privateKeyPemPkcs8",
		"publicKeyFingerprintMd5", "publicKeyFingerprintSha256", "publicKeyOpenssh", "publicKeyPem",
	} {
		value := property.New(outputs[output])
		if req.DryRun {
			value = property.New(property.Computed)
		}
		// The private key must never be shown, in any format.
		secret := strings.HasPrefix(output, "private")
		response.Properties = response.Properties.Set(output, value.WithSecret(secret))
	}
	return response, nil
}

// generate creates a key and stores it in outputs in all formats. The ID is not secret: like the real plugin's, it is
// the SHA-1 hash of the public key. The PEM outputs of the private key are both PKCS #8. The PEM outputs and
// publicKeyOpenssh, a line for authorized_keys, end with a newline.
func generate(outputs map[string]string) (id string, err error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	publicDER, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return "", err
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	outputs["privateKeyPem"] = block("PRIVATE KEY", pkcs8)
	outputs["privateKeyPemPkcs8"], outputs["publicKeyPem"] = outputs["privateKeyPem"], block("PUBLIC KEY", publicDER)
	sum := sha1.Sum(publicDER)
	openSSH, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return "", err
	}
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return "", err
	}
	outputs["privateKeyOpenssh"] = string(pem.EncodeToMemory(openSSH))
	outputs["publicKeyOpenssh"] = string(ssh.MarshalAuthorizedKey(public))
	outputs["publicKeyFingerprintMd5"] = ssh.FingerprintLegacyMD5(public)
	outputs["publicKeyFingerprintSha256"] = ssh.FingerprintSHA256(public)
	return hex.EncodeToString(sum[:]), nil
}
