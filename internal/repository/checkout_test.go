package repository

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// project lists the files of this checkout that git tracks or would track.
func project(t *testing.T) (root string, files []string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(entry.Name(), ".") && entry.Name() != ".github" && entry.Name() != ".gitattributes"
		if name != "." && (hidden || entry.Name() == "_site" || entry.Name() == "node_modules") {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if entry.Type().IsRegular() {
			files = append(files, name)
		}
		return nil
	}))
	require.Greater(t, len(files), 100)
	return root, files
}

// TestCheckoutHasTheSameBytesOnWindows: core.autocrlf is true by default on Windows.
func TestCheckoutHasTheSameBytesOnWindows(t *testing.T) {
	root, files := project(t)
	dir := t.TempDir()
	git := func(args ...string) {
		command := exec.CommandContext(t.Context(), "git", args...)
		command.Dir, command.Env = dir, append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
		output, err := command.CombinedOutput()
		require.NoError(t, err, string(output))
	}
	git("init", "--quiet")
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(root, file))
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(file)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), content, 0o644))
	}
	// A conversion of line ends would change these bytes.
	picture := []byte("GIF89a\r\n\n\r")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "picture.gif"), picture, 0o644))
	git("add", "--all")
	git("-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "--message", "all of it")
	clone := filepath.Join(t.TempDir(), "clone")
	git("clone", "--quiet", "--no-hardlinks", "--config", "core.autocrlf=true", "--config", "core.eol=crlf", dir, clone)

	for _, file := range files {
		expected, err := os.ReadFile(filepath.Join(root, file))
		require.NoError(t, err)
		content, err := os.ReadFile(filepath.Join(clone, file))
		require.NoError(t, err)
		require.True(t, bytes.Equal(expected, content), "%s differs in a checkout with core.autocrlf=true", file)
	}
	content, err := os.ReadFile(filepath.Join(clone, "picture.gif"))
	require.NoError(t, err)
	require.Equal(t, picture, content)
}
