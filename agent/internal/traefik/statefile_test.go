package traefik

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/disktest"
	"immutable-infra/agent/internal/handover"
)

// newStateFile returns the state file of a server, with a shipped file for each state.
func newStateFile(t *testing.T, root string) StateFile {
	t.Helper()
	f := StateFile{Path: filepath.Join(root, "dynamic", "state.yaml"), Shipped: t.TempDir()}
	require.NoError(t, os.Mkdir(filepath.Dir(f.Path), 0o755))
	for _, state := range []string{"waiting", "serving", "draining"} {
		require.NoError(t, os.WriteFile(filepath.Join(f.Shipped, state+".yaml"), []byte("# "+state+"\n"), 0o644))
	}
	return f
}

func TestStateFileIsReplacedAsAWhole(t *testing.T) {
	root := t.TempDir()
	f := newStateFile(t, root)
	state, err := f.State()
	require.NoError(t, err)
	require.Empty(t, state, "no state has been set")
	for _, want := range []handover.ProxyState{handover.Waiting, handover.Serving, handover.Serving, handover.Draining} {
		before, beforeErr := os.Stat(f.Path)
		require.NoError(t, f.Set(want))
		text, err := os.ReadFile(f.Path)
		require.NoError(t, err)
		require.Equal(t, "# "+string(want)+"\n", string(text))
		after, err := os.Stat(f.Path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o644), after.Mode().Perm())
		if beforeErr == nil {
			require.False(t, os.SameFile(before, after),
				"the file is replaced even in the same state, so that Traefik notices it")
		}
		state, err := f.State()
		require.NoError(t, err)
		require.Equal(t, want, state)
	}
	for _, dir := range []string{root, filepath.Dir(f.Path)} {
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, left, 1, "nothing else is left")
	}
}

func TestUnshippedStateIsUnknown(t *testing.T) {
	f := newStateFile(t, t.TempDir())
	require.NoError(t, os.WriteFile(f.Path, []byte("# of another bundle\n"), 0o644))
	state, err := f.State()
	require.NoError(t, err)
	require.Empty(t, state)
}

func TestFailedSwitchKeepsTheState(t *testing.T) {
	root := disktest.Small(t)
	f := newStateFile(t, root)
	require.NoError(t, f.Set(handover.Serving))
	full, err := os.Create(filepath.Join(root, "full"))
	require.NoError(t, err)
	_, err = full.Write(make([]byte, 2<<20))
	require.Error(t, err)
	require.NoError(t, full.Close())

	require.ErrorContains(t, f.Set(handover.Draining), "cannot write the state of Traefik: ")
	state, err := f.State()
	require.NoError(t, err)
	require.Equal(t, handover.Serving, state)
}

func TestErrorOfIncompleteBundleNamesTheFile(t *testing.T) {
	f := newStateFile(t, t.TempDir())
	require.NoError(t, os.Remove(filepath.Join(f.Shipped, "draining.yaml")))
	require.ErrorContains(t, f.Set(handover.Draining), "draining.yaml: no such file")
}
