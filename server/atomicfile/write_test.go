package atomicfile

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Root writes to directories that belong to users of containers.
func TestWriteFollowsNoLink(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "shadow")
	require.NoError(t, os.WriteFile(secret, []byte("root"), 0o640))
	dir := t.TempDir()
	path := filepath.Join(dir, "collecting")
	require.NoError(t, os.Symlink(secret, path))
	require.NoError(t, Write(path, []byte("text"), 0o644))
	text, err := Read(path, 10)
	require.NoError(t, err)
	require.Equal(t, "text", string(text))
	text, err = os.ReadFile(secret)
	require.NoError(t, err)
	require.Equal(t, "root", string(text))

	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(filepath.Dir(secret), link))
	require.ErrorContains(t, Write(filepath.Join(link, "shadow"), nil, 0o644), "it is a link")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing is left over")
}

func TestOnlyARegularFileOfTheExpectedSizeIsRead(t *testing.T) {
	dir := t.TempDir()
	target, link, pipe := filepath.Join(dir, "target"), filepath.Join(dir, "link"), filepath.Join(dir, "pipe")
	require.NoError(t, os.WriteFile(target, []byte("text"), 0o644))
	require.NoError(t, os.Symlink(target, link))
	require.NoError(t, syscall.Mkfifo(pipe, 0o644))
	for path, limit := range map[string]int64{link: 10, pipe: 10, target: 3, dir: 1 << 20, "/dev/zero": 10} {
		_, err := Read(path, limit)
		require.Error(t, err, path)
	}
	text, err := Read(target, 4)
	require.NoError(t, err)
	require.Equal(t, "text", string(text))
}
