// Package tlsplugin is a resource plugin for the one type of the Pulumi
// package tls that the program uses, and its one algorithm. It stands in for pulumi-resource-tls
// where that binary is not available, and behaves like version 5.2.0 of it.
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
	version = "5.2.0" // of the SDK whose default provider asks for this plugin

	// privateKey is the one type. It has no update: every change of an input replaces the key.
	privateKey = "tls:index/privateKey:PrivateKey"
	// meta is the version of the Terraform resource's schema, which the real plugin, a bridged
	// Terraform provider, stores in __meta. Without it the real plugin would convert a key from an
	// older version.
	meta = `{"schema_version":"1"}`
)

// Serve runs the plugin until the engine ends it. It reads the engine's address from the command
// line and prints its own port on standard output, as every Pulumi plugin does.
func Serve(ctx context.Context) error {
	if err := provider().Run(ctx, name, version); err != nil {
		return fmt.Errorf("serve the %s plugin: %w", name, err)
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
		// A key is what the state says of it.
		Read: func(_ context.Context, req p.ReadRequest) (p.ReadResponse, error) {
			return p.ReadResponse{ID: req.ID, Properties: req.Properties, Inputs: req.Inputs}, nil
		},
		Delete: func(context.Context, p.DeleteRequest) error { return nil },
	}
}

// input is an input of a key, named as in the Go SDK pulumi-tls/sdk/v5@v5.2.0.
type input struct {
	fallback property.Value // null for a required input
	values   []string       // empty for a number
}

func keyInputs() map[string]input {
	return map[string]input{
		"algorithm":  {values: []string{"ED25519"}},
		"ecdsaCurve": {fallback: property.New("P224"), values: []string{"P224", "P256", "P384", "P521"}},
		"rsaBits":    {fallback: property.New(2048.0)},
	}
}

func wanted(given property.Map) property.Map {
	for name, in := range keyInputs() {
		if given.Get(name).IsNull() {
			given = given.Set(name, in.fallback)
		}
	}
	return given
}

func checkKey(_ context.Context, req p.CheckRequest) (response p.CheckResponse, err error) {
	if token := string(req.Urn.Type()); token != privateKey {
		return response, fmt.Errorf("localcloud does not support resource type %s; it supports %s", token, privateKey)
	}
	// The real plugin keeps here which inputs have their default.
	response.Inputs = req.Inputs.Delete("__defaults")
	fail := func(property, format string, args ...any) {
		response.Failures = append(response.Failures,
			p.CheckFailure{Property: property, Reason: fmt.Sprintf(format, args...)})
	}
	for name, value := range wanted(response.Inputs).AllStable {
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

// diffKey asks for a replacement where an input, or the default of an unset one,
// differs from what the key was made with.
func diffKey(_ context.Context, req p.DiffRequest) (p.DiffResponse, error) {
	plain := func(v property.Value) property.Value { return v.WithSecret(false).WithDependencies(nil) }
	next, changes := wanted(req.Inputs), map[string]p.PropertyDiff{}
	for name := range keyInputs() {
		if !plain(next.Get(name)).Equals(plain(req.State.Get(name))) {
			changes[name] = p.PropertyDiff{Kind: p.UpdateReplace}
		}
	}
	return p.DiffResponse{HasChanges: len(changes) > 0, DetailedDiff: changes}, nil
}

func createKey(_ context.Context, req p.CreateRequest) (response p.CreateResponse, err error) {
	response.Properties = wanted(req.Properties)
	forms := map[string]string{}
	if !req.DryRun {
		if response.ID, err = generate(forms); err != nil {
			return p.CreateResponse{}, fmt.Errorf("make an ED25519 key: %w", err)
		}
		response.Properties = response.Properties.Set("__meta", property.New(meta)).Set("id", property.New(response.ID))
	}
	for _, output := range []string{
		"privateKeyOpenssh", "privateKeyPem", "privateKeyPemPkcs8",
		"publicKeyFingerprintMd5", "publicKeyFingerprintSha256", "publicKeyOpenssh", "publicKeyPem",
	} {
		value := property.New(forms[output])
		if req.DryRun {
			value = property.New(property.Computed)
		}
		// The private forms must never be shown.
		secret := strings.HasPrefix(output, "private")
		response.Properties = response.Properties.Set(output, value.WithSecret(secret))
	}
	return response, nil
}

// generate makes a new key and sets its forms, by the names of the outputs. The id is public: the
// SHA-1 of the public key, as the real plugin has it. The PEM forms, both PKCS #8, and
// publicKeyOpenssh, a line of authorized_keys, end in a newline.
func generate(forms map[string]string) (id string, err error) {
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
	forms["privateKeyPem"] = block("PRIVATE KEY", pkcs8)
	forms["privateKeyPemPkcs8"], forms["publicKeyPem"] = forms["privateKeyPem"], block("PUBLIC KEY", publicDER)
	sum := sha1.Sum(publicDER)
	openSSH, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return "", err
	}
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return "", err
	}
	forms["privateKeyOpenssh"] = string(pem.EncodeToMemory(openSSH))
	forms["publicKeyOpenssh"] = string(ssh.MarshalAuthorizedKey(public))
	forms["publicKeyFingerprintMd5"] = ssh.FingerprintLegacyMD5(public)
	forms["publicKeyFingerprintSha256"] = ssh.FingerprintSHA256(public)
	return hex.EncodeToString(sum[:]), nil
}
