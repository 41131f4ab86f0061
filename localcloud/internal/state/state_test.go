package state_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/state"
)

func TestProjectIsFoundFromSubdirectory(t *testing.T) {
	root := t.TempDir()
	subdirectory := filepath.Join(root, "site", "_posts")
	require.NoError(t, os.MkdirAll(subdirectory, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "Pulumi.yaml"), nil, 0o644))
	found, err := state.FindRoot(subdirectory)
	require.NoError(t, err)
	require.Equal(t, root, found)
}

func TestErrorOutsideProjectSaysWhatToDo(t *testing.T) {
	_, err := state.FindRoot(t.TempDir())
	require.ErrorContains(t, err, "run localcloud in the project")
}

func TestHomeDefaultsToProjectDirectory(t *testing.T) {
	t.Setenv(state.Variable, "")
	found, err := state.Find("/project")
	require.NoError(t, err)
	require.Equal(t, state.Home("/project/.localcloud"), found)
	t.Setenv(state.Variable, "/elsewhere")
	found, err = state.Find("/project")
	require.NoError(t, err)
	require.Equal(t, state.Home("/elsewhere"), found)
}

func TestSymlinkToAnotherHomeIsResolved(t *testing.T) {
	t.Setenv(state.Variable, "")
	for name, link := range map[string]string{"absolute": "/elsewhere/.localcloud",
		"relative": "../elsewhere/.localcloud"} {
		t.Run(name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "project")
			require.NoError(t, os.Mkdir(root, 0o755))
			require.NoError(t, os.Symlink(link, filepath.Join(root, ".localcloud")))
			found, err := state.Find(root)
			require.NoError(t, err)
			want := link
			if !filepath.IsAbs(link) {
				want = filepath.Join(root, link)
			}
			require.Equal(t, state.Home(want), found)
		})
	}
}

func TestSecretsAreAccessibleOnlyToOwner(t *testing.T) {
	h := state.Home(t.TempDir())
	require.NoError(t, h.Make())
	for _, dir := range []string{h.TLS(), h.SSH(), h.S3(), h.Cloud(), h.Pulumi()} {
		info, err := os.Stat(dir)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o700), info.Mode().Perm(), dir)
	}
	file := filepath.Join(h.Cloud(), "secret.json")
	require.NoError(t, state.WriteJSON(file, map[string]string{"key": "value"}))
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	var read map[string]string
	require.NoError(t, state.ReadJSON(file, &read))
	require.Equal(t, map[string]string{"key": "value"}, read)
}

func TestFailedWriteLeavesOnlyOldFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "state.json")
	require.NoError(t, state.WriteJSON(file, "old"))
	require.Error(t, state.WriteJSON(file, make(chan int)))
	var read string
	require.NoError(t, state.ReadJSON(file, &read))
	require.Equal(t, "old", read)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}
