package tlsplugin

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"golang.org/x/crypto/ssh"
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
// which OpenSSH does not know. The PEM forms and PublicKeyOpenssh, a line of authorized_keys, end in
// a newline. PrivateKeyPem is PKCS #1 for RSA, SEC 1 for ECDSA, PKCS #8 for ED25519.
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
func (*PrivateKey) Annotate(a infer.Annotator) { a.SetToken("index/privateKey", "PrivateKey") }

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
	refuse := func(property string, right bool, format string, values ...any) {
		if value, sent := req.NewInputs.GetOk(property); sent && !value.HasComputed() && !right {
			failures = append(failures, p.CheckFailure{Property: property, Reason: fmt.Sprintf(format, values...)})
		}
	}
	wanted := args.state()
	algorithms, curves := []string{"RSA", "ECDSA", "ED25519"}, []string{"P224", "P256", "P384", "P521"}
	refuse("algorithm", slices.Contains(algorithms, wanted.Algorithm),
		"%q is not supported: write one of %s", wanted.Algorithm, strings.Join(algorithms, ", "))
	refuse("ecdsaCurve", slices.Contains(curves, wanted.EcdsaCurve),
		"%q is not supported: write one of %s", wanted.EcdsaCurve, strings.Join(curves, ", "))
	refuse("rsaBits", wanted.RsaBits >= minRSABits,
		"%d bits are too few for an RSA key: write %d or more", wanted.RsaBits, minRSABits)
	return infer.CheckResponse[PrivateKeyArgs]{Inputs: args, Failures: failures}, nil
}

// Diff asks for a replacement where an input, or the default of an unset one,
// differs from what the key was made with.
func (*PrivateKey) Diff(
	_ context.Context, req infer.DiffRequest[PrivateKeyArgs, PrivateKeyState],
) (infer.DiffResponse, error) {
	wanted, changes := req.Inputs.state(), map[string]p.PropertyDiff{}
	for property, changed := range map[string]bool{
		"algorithm":  wanted.Algorithm != req.State.Algorithm,
		"ecdsaCurve": wanted.EcdsaCurve != req.State.EcdsaCurve,
		"rsaBits":    wanted.RsaBits != req.State.RsaBits,
	} {
		if changed {
			changes[property] = p.PropertyDiff{Kind: p.UpdateReplace}
		}
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
	key, err := state.generate()
	var id string
	if err == nil {
		id, err = state.encode(key)
	}
	if err != nil {
		return infer.CreateResponse[PrivateKeyState]{}, fmt.Errorf("make an %s key: %w", state.Algorithm, err)
	}
	return infer.CreateResponse[PrivateKeyState]{ID: id, Output: state}, nil
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

// generate makes a new key; the curve matters to ECDSA only, the bits to RSA only.
func (s PrivateKeyState) generate() (crypto.Signer, error) {
	curve := map[string]elliptic.Curve{
		"P224": elliptic.P224(), "P256": elliptic.P256(), "P384": elliptic.P384(), "P521": elliptic.P521(),
	}[s.EcdsaCurve]
	switch {
	case s.Algorithm == "RSA":
		return rsa.GenerateKey(rand.Reader, s.RsaBits)
	case s.Algorithm == "ECDSA" && curve != nil:
		return ecdsa.GenerateKey(curve, rand.Reader)
	case s.Algorithm == "ED25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("unknown algorithm %q or curve %q", s.Algorithm, s.EcdsaCurve)
}

// encode sets the key in all its forms, and returns the resource's id, which is public: the SHA-1 of
// the public key, as the real plugin has it.
func (s *PrivateKeyState) encode(key crypto.Signer) (id string, err error) {
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	publicDER, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return "", err
	}
	kind, own := "PRIVATE KEY", pkcs8
	switch key := key.(type) {
	case *rsa.PrivateKey:
		kind, own = "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)
	case *ecdsa.PrivateKey:
		kind = "EC PRIVATE KEY"
		if own, err = x509.MarshalECPrivateKey(key); err != nil {
			return "", err
		}
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	s.PrivateKeyPem, s.PrivateKeyPemPkcs8 = block(kind, own), block("PRIVATE KEY", pkcs8)
	s.PublicKeyPem = block("PUBLIC KEY", publicDER)
	sum := sha1.Sum(publicDER)
	id = hex.EncodeToString(sum[:])
	if s.Algorithm == "ECDSA" && s.EcdsaCurve == "P224" {
		return id, nil
	}
	openSSH, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return "", err
	}
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return "", err
	}
	s.PrivateKeyOpenssh, s.PublicKeyOpenssh = string(pem.EncodeToMemory(openSSH)), string(ssh.MarshalAuthorizedKey(public))
	s.PublicKeyFingerprintMd5 = ssh.FingerprintLegacyMD5(public)
	s.PublicKeyFingerprintSha256 = ssh.FingerprintSHA256(public)
	return id, nil
}
