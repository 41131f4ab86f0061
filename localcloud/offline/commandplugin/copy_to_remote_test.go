package commandplugin

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"github.com/stretchr/testify/require"
)

// copyInputs returns the inputs that copy source, a path on this machine, to target on the server.
func copyInputs(t *testing.T, server *sshServer, source, target string) map[string]property.Value {
	t.Helper()
	asset, err := resource.NewPathAsset(source)
	require.NoError(t, err)
	return map[string]property.Value{
		"connection": property.New(server.connection()), "remotePath": str(target), "source": property.New(asset),
	}
}

func writeFile(t *testing.T, path, content string) {
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

func TestCopyToNewPathDirectoryAndExistingFile(t *testing.T) {
	server, localDir, remoteDir := startSSHServer(t), t.TempDir(), t.TempDir()
	source := filepath.Join(localDir, "bundle.tgz")
	writeFile(t, source, "bundle")
	writeFile(t, filepath.Join(remoteDir, "old"), "something longer that was there before")

	require.NoError(t, newResource(t, copyURN).create(copyInputs(t, server, source, filepath.Join(remoteDir, "new"))))
	requireContent(t, filepath.Join(remoteDir, "new"), "bundle")
	require.NoError(t, newResource(t, copyURN).create(copyInputs(t, server, source, remoteDir)))
	requireContent(t, filepath.Join(remoteDir, "bundle.tgz"), "bundle")
	require.NoError(t, newResource(t, copyURN).create(copyInputs(t, server, source, filepath.Join(remoteDir, "old"))))
	requireContent(t, filepath.Join(remoteDir, "old"), "bundle")
}

func TestCopyCreatesParentDirectories(t *testing.T) {
	server, localDir, remoteDir := startSSHServer(t), t.TempDir(), t.TempDir()
	writeFile(t, filepath.Join(localDir, "file"), "x")
	file := filepath.Join(remoteDir, "for", "a", "file")
	require.NoError(t, newResource(t, copyURN).create(copyInputs(t, server, filepath.Join(localDir, "file"), file)))
	requireContent(t, file, "x")
}

func TestOnlyChangedContentIsCopiedAgain(t *testing.T) {
	server, localDir, remoteDir := startSSHServer(t), t.TempDir(), t.TempDir()
	source, target := filepath.Join(localDir, "file"), filepath.Join(remoteDir, "file")
	writeFile(t, source, "one")
	copied := newResource(t, copyURN)
	require.NoError(t, copied.create(copyInputs(t, server, source, target)))
	require.False(t, copied.diff(copyInputs(t, server, source, target)).HasChanges)

	writeFile(t, source, "two")
	inputs := copyInputs(t, server, source, target)
	require.True(t, copied.diff(inputs).HasChanges)
	require.NoError(t, copied.update(inputs))
	requireContent(t, target, "two")

	logins := server.logins.Load()
	moved := startSSHServer(t)
	inputs = copyInputs(t, moved, source, target)
	require.NoError(t, copied.update(inputs))
	require.Equal(t, logins, server.logins.Load())
	require.Zero(t, moved.logins.Load(), "a changed connection alone copies nothing")
}

func TestPreviewCopiesNothing(t *testing.T) {
	server, localDir := startSSHServer(t), t.TempDir()
	writeFile(t, filepath.Join(localDir, "file"), "x")
	newResource(t, copyURN).previewCreate(copyInputs(t, server, filepath.Join(localDir, "file"),
		filepath.Join(localDir, "target")))
	require.Zero(t, server.logins.Load())
}

func TestNonFileSourceIsRejected(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, "x")
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
