package secrets

import (
	"context"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestConfiguredReturnsValuesMarkedAsSecret(t *testing.T) {
	found, err := Configured(
		[]byte(`{"p:domain": {"value": "example.org", "secret": false}, "p:key": {"value": "hush", "secret": true}}`),
	)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"p:key": "hush"}, found)
}

func TestPrivateKeysAreFoundAnywhereInAState(t *testing.T) {
	//nolint:lll // a raw string
	state := `{"deployment": {"resources": [
		{"outputs": {"privateKey": {"4dabf": "1b47",
			"plaintext": "\"-----BEGIN PRIVATE KEY-----\\nAAAA\\n-----END PRIVATE KEY-----\\n\""}}},
		{"outputs": {
			"userData": "#cloud-config\n  -----BEGIN OPENSSH PRIVATE KEY-----\n  SAME\n  BBBB\n  CC\n  -----END OPENSSH PRIVATE KEY-----\n",
			"again": {"plaintext": "{\"key\": \"-----BEGIN PRIVATE KEY-----\\nAAAA\\n-----END PRIVATE KEY-----\\n\"}"},
			"publicKey": "-----BEGIN PUBLIC KEY-----\nDDDD\n-----END PUBLIC KEY-----\n"}}]}}`
	keys, err := PrivateKeys([]byte(state))
	require.NoError(t, err)
	require.Equal(t, []string{"AAAA", "BBBB"}, keys)
}

func TestSecretIsFoundInJSON(t *testing.T) {
	require.True(t, In([]byte("a hush b"), "hush"))
	require.True(t, In([]byte(`{"a": "https://x/?a=1\u0026b=2"}`), "https://x/?a=1&b=2"))
	require.False(t, In([]byte("a hus h"), "hush"))
}

func TestShortLivedProcessesAreSeen(t *testing.T) {
	watcher := Watch(t.Context())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, exec.CommandContext(ctx, "sleep", "1.0000001").Run())
	require.True(t, In(watcher.End(), "sleep 1.0000001"))
}
