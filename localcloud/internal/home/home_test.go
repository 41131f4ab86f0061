package home_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/home"
)

func TestTheProjectIsFoundFromBelow(t *testing.T) {
	root := t.TempDir()
	below := filepath.Join(root, "site", "_posts")
	require.NoError(t, os.MkdirAll(below, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "Pulumi.yaml"), nil, 0o644))
	found, err := home.FindRoot(below)
	require.NoError(t, err)
	require.Equal(t, root, found)
}

func TestOutsideAProjectTheErrorSaysWhatToDo(t *testing.T) {
	_, err := home.FindRoot(t.TempDir())
	require.ErrorContains(t, err, "run localcloud in the project")
}

func TestTheHomeIsInTheProjectUnlessNamed(t *testing.T) {
	t.Setenv(home.Variable, "")
	found, err := home.Find("/project")
	require.NoError(t, err)
	require.Equal(t, home.Home("/project/.localcloud"), found)
	t.Setenv(home.Variable, "/elsewhere")
	found, err = home.Find("/project")
	require.NoError(t, err)
	require.Equal(t, home.Home("/elsewhere"), found)
}

func TestALinkToAnotherCheckoutsHomeIsThatHome(t *testing.T) {
	t.Setenv(home.Variable, "")
	for name, link := range map[string]string{"absolute": "/elsewhere/.localcloud", "relative": "../elsewhere/.localcloud"} {
		t.Run(name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "project")
			require.NoError(t, os.Mkdir(root, 0o755))
			require.NoError(t, os.Symlink(link, filepath.Join(root, ".localcloud")))
			found, err := home.Find(root)
			require.NoError(t, err)
			want := link
			if !filepath.IsAbs(link) {
				want = filepath.Join(root, link)
			}
			require.Equal(t, home.Home(want), found)
		})
	}
}

func TestSecretsAreClosedToOthers(t *testing.T) {
	h := home.Home(t.TempDir())
	require.NoError(t, h.Make())
	for _, dir := range []string{h.TLS(), h.SSH(), h.S3(), h.Cloud(), h.Pulumi()} {
		info, err := os.Stat(dir)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o700), info.Mode().Perm(), dir)
	}
	file := filepath.Join(h.Cloud(), "secret.json")
	require.NoError(t, home.WriteJSON(file, map[string]string{"key": "value"}))
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	var read map[string]string
	require.NoError(t, home.ReadJSON(file, &read))
	require.Equal(t, map[string]string{"key": "value"}, read)
}

func TestAFailedWriteLeavesTheOldContentAndNoRest(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "state.json")
	require.NoError(t, home.WriteJSON(file, "old"))
	require.Error(t, home.WriteJSON(file, make(chan int)))
	var read string
	require.NoError(t, home.ReadJSON(file, &read))
	require.Equal(t, "old", read)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}
