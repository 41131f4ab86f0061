package cmd

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAShellReadsBackWhatEnvPrints(t *testing.T) {
	value := `it's "a" $(false) path`
	text := environment{{"ODD", value}}.export() + `printf %s "$ODD"`
	output, err := exec.CommandContext(t.Context(), "sh", "-c", text).Output()
	require.NoError(t, err)
	require.Equal(t, value, string(output))
}

func TestRepeatedEnvDoesNotGrowThePath(t *testing.T) {
	require.Equal(t, "/usr/bin:/bin", withoutElement("/lc/bin:/usr/bin:/lc/bin:/bin", "/lc/bin"))
}

func TestAnUnknownVerbIsAnsweredWithTheUsage(t *testing.T) {
	require.ErrorContains(t, Run(t.Context(), []string{"start"}), `unknown verb "start"`)
	require.ErrorContains(t, Run(t.Context(), nil), "usage: localcloud <verb>")
}
