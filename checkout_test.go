package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestB9ACheckoutHasTheSameBytesWithAutocrlf(t *testing.T) {
	checkout := func(autocrlf string) string {
		dir := t.TempDir()
		git := exec.Command("git", "-c", "core.autocrlf="+autocrlf, "checkout-index", "--all", "--prefix="+dir+"/")
		output, err := git.CombinedOutput()
		require.NoError(t, err, string(output))
		return dir
	}
	plain, converted := checkout("false"), checkout("true")
	files := 0
	require.NoError(t, filepath.WalkDir(plain, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		files++
		name, err := filepath.Rel(plain, path)
		require.NoError(t, err)
		expected, err := os.ReadFile(path)
		require.NoError(t, err)
		content, err := os.ReadFile(filepath.Join(converted, name))
		require.NoError(t, err)
		require.Equal(t, string(expected), string(content), name)
		return nil
	}))
	require.Greater(t, files, 100)
}
