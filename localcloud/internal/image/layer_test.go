package image

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testtool"
	"immutable-infra/localcloud/internal/state"
)

func builder(t *testing.T) Builder {
	t.Helper()
	h := state.Home(t.TempDir())
	require.NoError(t, h.Make())
	return Builder{Home: h}
}

func program(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o700))
	return path
}

// unpack returns the contents and modes of the files in a gzipped tar archive.
func unpack(t *testing.T, path string) (contents map[string]string, modes map[string]int64) {
	t.Helper()
	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()
	uncompressed, err := gzip.NewReader(file)
	require.NoError(t, err)
	contents, modes = map[string]string{}, map[string]int64{}
	archive := tar.NewReader(uncompressed)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return contents, modes
		}
		require.NoError(t, err)
		content, err := io.ReadAll(archive)
		require.NoError(t, err)
		contents[header.Name], modes[header.Name] = string(content), header.Mode
	}
}

func TestTraefikLayerHasEntrypointAndBinary(t *testing.T) {
	path, err := builder(t).Layer(t.Context(), Traefik(program(t, "traefik itself")))
	require.NoError(t, err)
	contents, modes := unpack(t, path)
	require.Equal(t, "traefik itself", contents["usr/local/bin/traefik"])
	require.True(t, strings.HasPrefix(contents["entrypoint.sh"], "#!/bin/sh\n"))
	require.Equal(t, map[string]int64{"entrypoint.sh": 0o755, "usr/local/bin/traefik": 0o755}, modes)
}

func TestLayerIsCachedByContent(t *testing.T) {
	b := builder(t)
	first, err := b.Layer(t.Context(), Traefik(program(t, "v1")))
	require.NoError(t, err)
	before, err := os.Stat(first)
	require.NoError(t, err)
	again, err := b.Layer(t.Context(), Traefik(program(t, "v1")))
	require.NoError(t, err)
	require.Equal(t, first, again)
	after, err := os.Stat(again)
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after))

	other, err := b.Layer(t.Context(), Traefik(program(t, "v2")))
	require.NoError(t, err)
	require.NotEqual(t, first, other)
}

func TestInterruptedLayerIsNotCached(t *testing.T) {
	b := builder(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := b.Layer(ctx, Traefik(program(t, "v1")))
	require.ErrorIs(t, err, context.Canceled)
	_, err = b.Layer(t.Context(), Traefik(filepath.Join(t.TempDir(), "missing")))
	require.ErrorContains(t, err, "image layer traefik: open ")
	left, err := os.ReadDir(b.Home.Cache())
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestTraefikEntrypointHandlesArgumentsLikeUpstream(t *testing.T) {
	dir := t.TempDir()
	// Each program prints its name and its arguments.
	for _, name := range []string{"traefik", "other"} {
		testtool.WriteProgram(t, filepath.Join(dir, name), "#!/bin/sh\necho \""+name+" $*\"\n")
	}
	for arguments, want := range map[string]string{
		"":                               "traefik ",
		"traefik":                        "traefik ",
		"traefik --ping":                 "traefik --ping",
		"--configFile=/etc/a.yml --ping": "traefik --configFile=/etc/a.yml --ping",
		"healthcheck --ping":             "traefik healthcheck --ping",
		"version":                        "traefik version",
		"other --ping":                   "other --ping",
	} {
		command := exec.Command("/bin/sh", append([]string{"traefik/entrypoint.sh"}, strings.Fields(arguments)...)...)
		command.Env = []string{"PATH=" + dir}
		output, err := command.CombinedOutput()
		require.NoError(t, err, string(output))
		require.Equal(t, want+"\n", string(output), "with the arguments %q", arguments)
	}
}
