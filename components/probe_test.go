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

// TestB11ProbeNeedsGoAndBashAlone runs the script of the command resources on a machine without any
// other program, and with a proxy that does not respond.
func TestB11ProbeNeedsGoAndBashAlone(t *testing.T) {
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

// TestProbeEndsWithTheShell: Pulumi kills the shell alone, and waits until its standard error is closed.
func TestProbeEndsWithTheShell(t *testing.T) {
	asked := make(chan struct{}, 1000)
	site := testsite.Start(t, "localhost",
		http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- struct{}{} }))
	command := exec.CommandContext(t.Context(), "bash", "-c", goRun("probe", ""))
	command.Dir = ".."
	command.Env = append(os.Environ(), "NAME=localhost", "ADDRESS="+site.Address.Addr().String(),
		"PORT="+strconv.Itoa(int(site.Address.Port())),
		"ROOTS="+site.Roots, "CERTIFICATE=valid", "SERVER=i-1", "RELEASE=r-1", "WITHIN=60")
	stderr, err := command.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	select {
	case <-asked:
	case <-time.After(2 * time.Minute):
		require.Fail(t, "the probe has not asked the site within 2 min of its compilation")
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
		require.Fail(t, "the probe runs on 10 s after the shell was killed")
	}
	require.Error(t, command.Wait())
}
