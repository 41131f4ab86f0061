package cmd

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testtool"
)

// startProgram starts a program at the given path that waits for its standard input. The channel receives its result.
func startProgram(t *testing.T, path, verb string) (exited <-chan error) {
	t.Helper()
	bash, err := exec.LookPath("bash")
	require.NoError(t, err)
	content, err := os.ReadFile(bash)
	require.NoError(t, err)
	if _, err := os.Stat(path); err != nil {
		testtool.WriteProgram(t, path, string(content))
	}
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(path), verb), []byte("read -r line\n"), 0o644))
	command := exec.Command(path, verb)
	command.Dir = filepath.Dir(path)
	input, err := command.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	done := make(chan error, 1)
	go func() { done <- command.Wait() }()
	t.Cleanup(func() { _ = input.Close() })
	return done
}

func TestDownStopsOnlyOrphanedPlugins(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	own, other := filepath.Join(dir, "localcloud"), filepath.Join(dir, "other")
	plugin := startProgram(t, own, "plugin")
	verb := startProgram(t, own, "registry")
	foreign := startProgram(t, other, "plugin")
	// As if localcloud had been rebuilt since.
	require.NoError(t, os.Remove(own))

	require.NoError(t, stopPlugins(t.Context(), own))
	require.ErrorContains(t, <-plugin, "terminated")
	select {
	case err := <-verb:
		require.Fail(t, "another verb was stopped", "%v", err)
	case err := <-foreign:
		require.Fail(t, "another executable was stopped", "%v", err)
	default:
	}
	require.NoError(t, stopPlugins(t.Context(), own))
}
