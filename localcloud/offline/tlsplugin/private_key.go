package tlsplugin

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
)

// minRSABits is the smallest RSA key that Go's crypto/rsa generates.
const minRSABits = 1024

// PrivateKey is tls:index/privateKey:PrivateKey. It has no update: every
// change of an input replaces the key.
type PrivateKey struct{}

// PrivateKeyArgs are the inputs, named as in the Go SDK
// pulumi-tls/sdk/v5@v5.2.0.
type PrivateKeyArgs struct {
	// Algorithm is RSA, ECDSA or ED25519.
	Algorithm string `pulumi:"algorithm"`
	// EcdsaCurve is P224 (the default), P256, P384 or P521.
	EcdsaCurve *string `pulumi:"ecdsaCurve,optional"`
	// RsaBits is the size of an RSA key, 2048 by default.
	RsaBits *int `pulumi:"rsaBits,optional"`
}

// PrivateKeyState are the outputs. The curve and the number of bits are always
// set, whatever the algorithm; the OpenSSH forms are empty for curve P224,
// which OpenSSH does not know.
type PrivateKeyState struct {
	Algorithm                  string `pulumi:"algorithm"`
	EcdsaCurve                 string `pulumi:"ecdsaCurve"`
	RsaBits                    int    `pulumi:"rsaBits"`
	PrivateKeyOpenssh          string `pulumi:"privateKeyOpenssh"`
	PrivateKeyPem              string `pulumi:"privateKeyPem"`
	PrivateKeyPemPkcs8         string `pulumi:"privateKeyPemPkcs8"`
	PublicKeyFingerprintMd5    string `pulumi:"publicKeyFingerprintMd5"`
	PublicKeyFingerprintSha256 string `pulumi:"publicKeyFingerprintSha256"`
	PublicKeyOpenssh           string `pulumi:"publicKeyOpenssh"`
	PublicKeyPem               string `pulumi:"publicKeyPem"`
}

// Annotate gives the type the token under which the SDK registers it.
func (*PrivateKey) Annotate(a infer.Annotator) {
	a.SetToken("index/privateKey", "PrivateKey")
}

// WireDependencies marks what must never be shown.
func (*PrivateKey) WireDependencies(f infer.FieldSelector, _ *PrivateKeyArgs, state *PrivateKeyState) {
	f.OutputField(&state.PrivateKeyOpenssh).AlwaysSecret()
	f.OutputField(&state.PrivateKeyPem).AlwaysSecret()
	f.OutputField(&state.PrivateKeyPemPkcs8).AlwaysSecret()
}

// Check refuses an algorithm, curve or size that the real plugin refuses.
func (*PrivateKey) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[PrivateKeyArgs], error) {
	args, failures, err := infer.DefaultCheck[PrivateKeyArgs](ctx, req.NewInputs)
	if err != nil {
		return infer.CheckResponse[PrivateKeyArgs]{}, fmt.Errorf("read the inputs of %s: %w", req.Name, err)
	}
	known := func(property string) bool {
		value, ok := req.NewInputs.GetOk(property)
		return ok && !value.HasComputed()
	}
	if known("algorithm") && !slices.Contains(algorithms(), args.Algorithm) {
		failures = append(failures, notOneOf("algorithm", args.Algorithm, algorithms()))
	}
	if known("ecdsaCurve") && args.EcdsaCurve != nil && !slices.Contains(curves(), *args.EcdsaCurve) {
		failures = append(failures, notOneOf("ecdsaCurve", *args.EcdsaCurve, curves()))
	}
	if known("rsaBits") && args.RsaBits != nil && *args.RsaBits < minRSABits {
		failures = append(failures, p.CheckFailure{
			Property: "rsaBits",
			Reason:   fmt.Sprintf("%d bits are too few for an RSA key: write %d or more", *args.RsaBits, minRSABits),
		})
	}
	return infer.CheckResponse[PrivateKeyArgs]{Inputs: args, Failures: failures}, nil
}

// Diff asks for a replacement where an input, or the default of an unset one,
// differs from what the key was made with.
func (*PrivateKey) Diff(
	_ context.Context, req infer.DiffRequest[PrivateKeyArgs, PrivateKeyState],
) (infer.DiffResponse, error) {
	wanted := req.Inputs.state()
	changes := map[string]p.PropertyDiff{}
	if wanted.Algorithm != req.State.Algorithm {
		changes["algorithm"] = p.PropertyDiff{Kind: p.UpdateReplace}
	}
	if wanted.EcdsaCurve != req.State.EcdsaCurve {
		changes["ecdsaCurve"] = p.PropertyDiff{Kind: p.UpdateReplace}
	}
	if wanted.RsaBits != req.State.RsaBits {
		changes["rsaBits"] = p.PropertyDiff{Kind: p.UpdateReplace}
	}
	return infer.DiffResponse{HasChanges: len(changes) > 0, DetailedDiff: changes}, nil
}

// Create generates the key pair. A preview generates nothing.
func (*PrivateKey) Create(
	_ context.Context, req infer.CreateRequest[PrivateKeyArgs],
) (infer.CreateResponse[PrivateKeyState], error) {
	state := req.Inputs.state()
	if req.DryRun {
		return infer.CreateResponse[PrivateKeyState]{Output: state}, nil
	}

	key, err := generate(state.Algorithm, state.EcdsaCurve, state.RsaBits)
	if err != nil {
		return infer.CreateResponse[PrivateKeyState]{}, fmt.Errorf("generate an %s key: %w", state.Algorithm, err)
	}
	encoded, err := encode(key)
	if err != nil {
		return infer.CreateResponse[PrivateKeyState]{}, fmt.Errorf("encode an %s key: %w", state.Algorithm, err)
	}
	state.PrivateKeyOpenssh = encoded.privateOpenSSH
	state.PrivateKeyPem = encoded.privatePEM
	state.PrivateKeyPemPkcs8 = encoded.privatePKCS8
	state.PublicKeyFingerprintMd5 = encoded.fingerprintMD5
	state.PublicKeyFingerprintSha256 = encoded.fingerprintSHA256
	state.PublicKeyOpenssh = encoded.publicOpenSSH
	state.PublicKeyPem = encoded.publicPEM

	// The id is public: the SHA-1 of the public key, as the real plugin has it.
	id := sha1.Sum(encoded.publicDER)
	return infer.CreateResponse[PrivateKeyState]{ID: hex.EncodeToString(id[:]), Output: state}, nil
}

// state is a state without keys: the inputs, with defaults for unset ones.
func (a PrivateKeyArgs) state() PrivateKeyState {
	state := PrivateKeyState{Algorithm: a.Algorithm, EcdsaCurve: "P224", RsaBits: 2048}
	if a.EcdsaCurve != nil {
		state.EcdsaCurve = *a.EcdsaCurve
	}
	if a.RsaBits != nil {
		state.RsaBits = *a.RsaBits
	}
	return state
}

func notOneOf(property, value string, allowed []string) p.CheckFailure {
	return p.CheckFailure{
		Property: property,
		Reason:   fmt.Sprintf("%q is not supported: write one of %s", value, strings.Join(allowed, ", ")),
	}
}
