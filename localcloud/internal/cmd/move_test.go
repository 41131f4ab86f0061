package cmd

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/state"
)

func TestInvalidMoveSettingIsNamedInError(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(root, "Pulumi.yaml"), nil, 0o644))
	t.Chdir(root)
	t.Setenv(state.Variable, filepath.Join(root, "home"))
	require.NoError(t, Run(t.Context(), []string{"move", "-window", "30s", "-arrive", "old"}))
	for _, bad := range [][]string{{"-window", "soon"}, {"-arrive", "both"}, {"-connections", "all"}} {
		err := Run(t.Context(), append([]string{"move"}, bad...))
		require.ErrorContains(t, err, bad[0][1:]+` "`+bad[1]+`"`)
	}
	require.ErrorContains(t, Run(t.Context(), []string{"move", "30s"}), `move: unknown argument "30s"`)
	saved, err := os.ReadFile(filepath.Join(root, "home", "cloud", "move.json"))
	require.NoError(t, err)
	require.JSONEq(t, `{"window": "30s", "arrive": "old", "connections": "1m0s"}`, string(saved))
}
