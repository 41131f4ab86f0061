package commandplugin

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"github.com/stretchr/testify/require"
)

// copyTo are the inputs that copy source, a path on this machine.
func copyTo(t *testing.T, server *sshServer, source, target string) map[string]property.Value {
	t.Helper()
	asset, err := resource.NewPathAsset(source)
	require.NoError(t, err)
	return map[string]property.Value{
		"connection": property.New(server.connection()), "remotePath": str(target), "source": property.New(asset),
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

func requireContent(t *testing.T, path, content string) {
	t.Helper()
	found, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, content, string(found))
}

func TestAFileIsCopiedToAPathIntoADirectoryAndOverAFile(t *testing.T) {
	server, here, there := startSSHServer(t), t.TempDir(), t.TempDir()
	source := filepath.Join(here, "bundle.tgz")
	write(t, source, "bundle")
	write(t, filepath.Join(there, "old"), "something longer that was there before")

	require.NoError(t, newResource(t, copyURN).create(copyTo(t, server, source, filepath.Join(there, "new"))))
	requireContent(t, filepath.Join(there, "new"), "bundle")
	require.NoError(t, newResource(t, copyURN).create(copyTo(t, server, source, there)))
	requireContent(t, filepath.Join(there, "bundle.tgz"), "bundle")
	require.NoError(t, newResource(t, copyURN).create(copyTo(t, server, source, filepath.Join(there, "old"))))
	requireContent(t, filepath.Join(there, "old"), "bundle")
}

func TestMissingParentDirectoriesAreMade(t *testing.T) {
	server, here, there := startSSHServer(t), t.TempDir(), t.TempDir()
	write(t, filepath.Join(here, "file"), "x")
	file := filepath.Join(there, "for", "a", "file")
	require.NoError(t, newResource(t, copyURN).create(copyTo(t, server, filepath.Join(here, "file"), file)))
	requireContent(t, file, "x")
}

func TestChangedContentIsCopiedAgainAndUnchangedContentIsNot(t *testing.T) {
	server, here, there := startSSHServer(t), t.TempDir(), t.TempDir()
	source, target := filepath.Join(here, "file"), filepath.Join(there, "file")
	write(t, source, "one")
	copied := newResource(t, copyURN)
	require.NoError(t, copied.create(copyTo(t, server, source, target)))
	require.False(t, copied.diff(copyTo(t, server, source, target)).HasChanges)

	write(t, source, "two")
	inputs := copyTo(t, server, source, target)
	require.True(t, copied.diff(inputs).HasChanges)
	require.NoError(t, copied.update(inputs))
	requireContent(t, target, "two")

	logins := server.logins.Load()
	moved := startSSHServer(t)
	inputs = copyTo(t, moved, source, target)
	require.NoError(t, copied.update(inputs))
	require.Equal(t, logins, server.logins.Load())
	require.Zero(t, moved.logins.Load(), "a changed connection alone copies nothing")
}

func TestAPreviewCopiesNothing(t *testing.T) {
	server, here := startSSHServer(t), t.TempDir()
	write(t, filepath.Join(here, "file"), "x")
	newResource(t, copyURN).previewCreate(copyTo(t, server, filepath.Join(here, "file"), filepath.Join(here, "target")))
	require.Zero(t, server.logins.Load())
}

func TestASourceThatIsNoFileIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "x")
	uri, err := resource.NewURIAsset("file://" + file)
	require.NoError(t, err)
	text, err := resource.NewTextAsset("text")
	require.NoError(t, err)
	archive, err := resource.NewPathArchive(filepath.Dir(file))
	require.NoError(t, err)
	for name, sources := range map[string][]property.Value{
		"asset": {property.New(uri), property.New(text)}, "archive": {property.New(archive)},
	} {
		for _, source := range sources {
			failures := newResource(t, copyURN).failures(map[string]property.Value{
				"connection": property.New(startSSHServer(t).connection()), "remotePath": str("/tmp/x"), "source": source,
			})
			require.Len(t, failures, 1)
			require.Equal(t, name, failures[0].Property)
		}
	}
}
