package tlsplugin

import (
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/blang/semver"
	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/integration"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

const privateKeyURN = resource.URN("urn:pulumi:local::site::tls:index/privateKey:PrivateKey::hostKey")

func server(t *testing.T) integration.Server {
	t.Helper()
	server, err := integration.NewServer(t.Context(), name, semver.MustParse(version),
		integration.WithProvider(provider()))
	require.NoError(t, err)
	return server
}

func inputs(values map[string]any) property.Map {
	inputs := map[string]property.Value{}
	for key, value := range values {
		switch value := value.(type) {
		case string:
			inputs[key] = property.New(value)
		case int:
			inputs[key] = property.New(float64(value))
		}
	}
	return property.NewMap(inputs)
}

func create(t *testing.T, values map[string]any) p.CreateResponse {
	t.Helper()
	server := server(t)
	checked, err := server.Check(p.CheckRequest{Urn: privateKeyURN, Inputs: inputs(values)})
	require.NoError(t, err)
	require.Empty(t, checked.Failures)
	created, err := server.Create(p.CreateRequest{Urn: privateKeyURN, Properties: checked.Inputs})
	require.NoError(t, err)
	return created
}

func outputText(t *testing.T, created p.CreateResponse, key string) string {
	t.Helper()
	value, ok := created.Properties.GetOk(key)
	require.True(t, ok, "output %s is missing", key)
	require.True(t, value.IsString(), "output %s is not a string", key)
	return value.AsString()
}

func TestAllFormatsContainTheSameKey(t *testing.T) {
	created := create(t, map[string]any{"algorithm": "ED25519"})
	require.Regexp(t, "^[0-9a-f]{40}$", created.ID)

	public, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(outputText(t, created, "publicKeyOpenssh")))
	require.NoError(t, err)
	require.Empty(t, rest)
	require.Equal(t, "ssh-ed25519", public.Type())
	require.True(t, strings.HasSuffix(outputText(t, created, "publicKeyOpenssh"), "\n"))
	require.Equal(t, ssh.FingerprintSHA256(public), outputText(t, created, "publicKeyFingerprintSha256"))
	require.Equal(t, ssh.FingerprintLegacyMD5(public), outputText(t, created, "publicKeyFingerprintMd5"))

	for _, key := range []string{"privateKeyOpenssh", "privateKeyPem", "privateKeyPemPkcs8"} {
		signer, err := ssh.ParsePrivateKey([]byte(outputText(t, created, key)))
		require.NoError(t, err, key)
		require.Equal(t, public.Marshal(), signer.PublicKey().Marshal(), key)
	}

	block, _ := pem.Decode([]byte(outputText(t, created, "privateKeyPem")))
	require.Equal(t, "PRIVATE KEY", block.Type)
	_, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(t, err)

	block, _ = pem.Decode([]byte(outputText(t, created, "publicKeyPem")))
	require.Equal(t, "PUBLIC KEY", block.Type)
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	require.NoError(t, err)
	fromPEM, err := ssh.NewPublicKey(parsed)
	require.NoError(t, err)
	require.Equal(t, public.Marshal(), fromPEM.Marshal())

	require.Equal(t, "P224", outputText(t, created, "ecdsaCurve"))
	require.InDelta(t, 2048, created.Properties.Get("rsaBits").AsNumber(), 0)
}

func TestOnlyPrivateKeyOutputsAreSecret(t *testing.T) {
	created := create(t, map[string]any{"algorithm": "ED25519"})
	for key, value := range created.Properties.All {
		secret := strings.HasPrefix(key, "privateKey")
		require.Equal(t, secret, value.Secret(), key)
	}
}

func TestPreviewLeavesKeyUnknown(t *testing.T) {
	created, err := server(t).Create(p.CreateRequest{
		Urn: privateKeyURN, Properties: inputs(map[string]any{"algorithm": "ED25519"}), DryRun: true,
	})
	require.NoError(t, err)
	require.Equal(t, "ED25519", outputText(t, created, "algorithm"))
	for _, key := range []string{"publicKeyOpenssh", "privateKeyOpenssh", "publicKeyPem"} {
		require.True(t, created.Properties.Get(key).HasComputed(), key)
	}
}

func TestChangedInputReplacesKey(t *testing.T) {
	for _, test := range []struct{ before, after map[string]any }{
		{map[string]any{"algorithm": "ED25519"}, map[string]any{"algorithm": "RSA"}},
		{map[string]any{"algorithm": "ED25519"}, map[string]any{"algorithm": "ED25519", "rsaBits": 4096}},
		{
			map[string]any{"algorithm": "ED25519", "ecdsaCurve": "P256"},
			map[string]any{"algorithm": "ED25519", "ecdsaCurve": "P384"},
		},
	} {
		created := create(t, test.before)
		diff, err := server(t).Diff(p.DiffRequest{
			ID: created.ID, Urn: privateKeyURN,
			State: created.Properties, OldInputs: inputs(test.before), Inputs: inputs(test.after),
		})
		require.NoError(t, err)
		require.True(t, diff.HasChanges)
		require.NotEmpty(t, diff.DetailedDiff)
		for property, change := range diff.DetailedDiff {
			require.Contains(t, []p.DiffKind{p.AddReplace, p.UpdateReplace, p.DeleteReplace}, change.Kind, property)
		}
	}
}

func TestUnchangedInputsKeepKey(t *testing.T) {
	args := map[string]any{"algorithm": "ED25519"}
	created := create(t, args)
	diff, err := server(t).Diff(p.DiffRequest{
		ID: created.ID, Urn: privateKeyURN, State: created.Properties, OldInputs: inputs(args), Inputs: inputs(args),
	})
	require.NoError(t, err)
	require.False(t, diff.HasChanges)
}

func TestInvalidInputIsNamedInFailure(t *testing.T) {
	for _, test := range []struct {
		inputs   map[string]any
		property string
		reason   string
	}{
		{map[string]any{}, "algorithm", "issing required"},
		{map[string]any{"algorithm": "RSA"}, "algorithm", "write one of ED25519"},
		{map[string]any{"algorithm": "ED25519", "ecdsaCurve": "P1"}, "ecdsaCurve", "write one of P224, P256, P384, P521"},
		{map[string]any{"algorithm": "ED25519", "rsaBits": "512"}, "rsaBits", "must be an integer"},
		{map[string]any{"algorithm": "ED25519", "bits": 2048}, "bits", "nrecognized"},
	} {
		checked, err := server(t).Check(p.CheckRequest{Urn: privateKeyURN, Inputs: inputs(test.inputs)})
		require.NoError(t, err)
		require.Len(t, checked.Failures, 1, "%v: %v", test.inputs, checked.Failures)
		require.Equal(t, test.property, checked.Failures[0].Property)
		require.Contains(t, checked.Failures[0].Reason, test.reason)
	}
}

func TestOtherResourceTypesAreRejected(t *testing.T) {
	_, err := server(t).Check(p.CheckRequest{
		Urn:    "urn:pulumi:local::site::tls:index/selfSignedCert:SelfSignedCert::cert",
		Inputs: property.Map{},
	})
	require.ErrorContains(t, err, "selfSignedCert")
}
