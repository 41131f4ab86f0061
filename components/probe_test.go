package components

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testsite"
)

// TestProbeNeedsOnlyGoAndBash runs the script of the command resources on a machine that has only Go and bash,
// with a proxy that does not respond.
func TestProbeNeedsOnlyGoAndBash(t *testing.T) {
	site := testsite.Start(t, "localhost", testsite.Serving("i-1", "r-1"))
	bin := t.TempDir()
	for _, name := range []string{"go", "env"} {
		path, err := exec.LookPath(name)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(path, filepath.Join(bin, name)))
	}
	bash, err := exec.LookPath("bash")
	require.NoError(t, err)
	command := exec.CommandContext(t.Context(), bash, "-c", goRun("probe", ""))
	command.Dir = ".."
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "PATH=") {
			command.Env = append(command.Env, variable)
		}
	}
	command.Env = append(command.Env, "PATH="+bin, "HTTPS_PROXY=http://127.0.0.1:9", "https_proxy=http://127.0.0.1:9",
		"NAME=localhost", "ADDRESS="+site.Address.Addr().String(), "PORT="+strconv.Itoa(int(site.Address.Port())),
		"ROOTS="+site.Roots,
		"CERTIFICATE=valid", "SERVER=i-1", "RELEASE=r-1", "WITHIN=0")
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	require.NoError(t, command.Run(), stderr.String())
	require.Equal(t, "https://localhost/ is served at 127.0.0.1 by i-1 with release r-1\n", stdout.String())
	require.Empty(t, stderr.String())
}

// TestProbeEndsWithTheShell: Pulumi kills only the shell, and then waits until standard error is closed.
func TestProbeEndsWithTheShell(t *testing.T) {
	requests := make(chan struct{}, 1000)
	site := testsite.Start(t, "localhost",
		http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests <- struct{}{} }))
	command := exec.CommandContext(t.Context(), "bash", "-c", goRun("probe", ""))
	command.Dir = ".."
	command.Env = append(os.Environ(), "NAME=localhost", "ADDRESS="+site.Address.Addr().String(),
		"PORT="+strconv.Itoa(int(site.Address.Port())),
		"ROOTS="+site.Roots, "CERTIFICATE=valid", "SERVER=i-1", "RELEASE=r-1", "WITHIN=60")
	stderr, err := command.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	select {
	case <-requests:
	case <-time.After(2 * time.Minute):
		require.Fail(t, "the probe sent no request within 2 min")
	}
	require.NoError(t, command.Process.Kill())
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, stderr)
		ended <- err
	}()
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(10 * time.Second):
		require.Fail(t, "the probe is still running 10 s after the shell was killed")
	}
	require.Error(t, command.Wait())
}
