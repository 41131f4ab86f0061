package cmd

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

func TestShellReadsBackEnvOutput(t *testing.T) {
	value := `it's "a" $(false) path`
	t.Setenv("STALE", "from before")
	text := environment{"ODD": value, "STALE": ""}.export() + `printf %s "$ODD${STALE-}"`
	output, err := exec.CommandContext(t.Context(), "sh", "-c", text).Output()
	require.NoError(t, err)
	require.Equal(t, value, string(output))
}

func TestWithAccountReplacesOnlyTheAccessKey(t *testing.T) {
	before := environment{"PATH": "/bin", "AWS_ACCESS_KEY_ID": "AKIAROOT", "AWS_SECRET_ACCESS_KEY": "root's",
		"AWS_SESSION_TOKEN": ""}
	after := before.withAccount(store.Account{AccessKeyID: "AKIAROLE", SecretAccessKey: "role's"})
	require.Equal(t, environment{"PATH": "/bin", "AWS_ACCESS_KEY_ID": "AKIAROLE", "AWS_SECRET_ACCESS_KEY": "role's",
		"AWS_SESSION_TOKEN": ""}, after)
	require.Equal(t, "AKIAROOT", before["AWS_ACCESS_KEY_ID"])
}

func TestRepeatedEnvDoesNotGrowPath(t *testing.T) {
	require.Equal(t, "/usr/bin:/bin", withoutElement("/lc/bin:/usr/bin:/lc/bin:/bin", "/lc/bin"))
}

func TestUnknownOrMissingVerbIsAnError(t *testing.T) {
	require.ErrorContains(t, Run(t.Context(), []string{"start"}), `unknown verb "start"`)
	require.ErrorContains(t, Run(t.Context(), nil), "usage: localcloud <verb>")
}
