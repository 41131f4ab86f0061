package tlsplugin

import (
	"testing"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"github.com/stretchr/testify/require"
)

// realState returns the ID, inputs and outputs that the real plugin (v5.2.0) stores for a key. The values come from a
// key that this plugin created.
func realState(t *testing.T, args map[string]any) (id string, oldInputs, state property.Map) {
	t.Helper()
	created := create(t, args)
	outputs := map[string]property.Value{
		"__meta": property.New(`{"schema_version":"1"}`),
		"id":     property.New(created.ID),
	}
	for _, key := range []string{
		"algorithm", "ecdsaCurve", "rsaBits",
		"publicKeyFingerprintMd5", "publicKeyFingerprintSha256", "publicKeyOpenssh", "publicKeyPem",
	} {
		outputs[key] = created.Properties.Get(key).WithSecret(false)
	}
	for _, key := range []string{"privateKeyOpenssh", "privateKeyPem", "privateKeyPemPkcs8"} {
		outputs[key] = created.Properties.Get(key).WithSecret(true)
	}
	return created.ID, inputs(args), property.NewMap(outputs)
}

func TestKeyFromRealPluginHasNoDiff(t *testing.T) {
	for _, args := range []map[string]any{
		{"algorithm": "ED25519"},
		{"algorithm": "ED25519", "rsaBits": 2048},
		{"algorithm": "ED25519", "ecdsaCurve": "P256"},
	} {
		id, old, state := realState(t, args)
		for _, old := range []property.Map{old, old.Set("__defaults", property.New([]property.Value{}))} {
			server := server(t)
			checked, err := server.Check(p.CheckRequest{Urn: privateKeyURN, State: old, Inputs: inputs(args)})
			require.NoError(t, err)
			require.Empty(t, checked.Failures)
			diff, err := server.Diff(p.DiffRequest{
				ID: id, Urn: privateKeyURN, State: state, OldInputs: old, Inputs: checked.Inputs,
			})
			require.NoError(t, err)
			require.False(t, diff.HasChanges)

			read, err := server.Read(p.ReadRequest{ID: id, Urn: privateKeyURN, Properties: state, Inputs: old})
			require.NoError(t, err)
			require.Equal(t, id, read.ID)
			require.Equal(t, state, read.Properties, "a refresh changes nothing")
			require.NoError(t, server.Delete(p.DeleteRequest{ID: id, Urn: privateKeyURN, Properties: state, OldInputs: old}))
		}
	}
}

func TestStateMatchesRealPlugin(t *testing.T) {
	created := create(t, map[string]any{"algorithm": "ED25519"})
	_, _, state := realState(t, map[string]any{"algorithm": "ED25519"})
	for key := range state.All {
		_, ok := created.Properties.GetOk(key)
		require.True(t, ok, "%s is missing", key)
		require.Equal(t, state.Get(key).Secret(), created.Properties.Get(key).Secret(), key)
	}
	require.Equal(t, state.Len(), created.Properties.Len())
	require.Equal(t, `{"schema_version":"1"}`, outputText(t, created, "__meta"))
	require.Equal(t, created.ID, outputText(t, created, "id"))
}
