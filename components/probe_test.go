package components

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testsite"
)

// TestB11ProbeNeedsGoAndBashAlone runs the script of the command resources on a machine that has
// no other program, and a proxy that does not answer.
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
		"NAME=localhost", "ADDRESS="+site.Address.Addr().String(), "PORT="+strconv.Itoa(int(site.Address.Port())), "ROOTS="+site.Roots,
		"CERTIFICATE=valid", "SERVER=i-1", "RELEASE=r-1", "WITHIN=0")
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	require.NoError(t, command.Run(), stderr.String())
	require.Equal(t, "https://localhost/ is served at 127.0.0.1 by i-1 with release r-1\n", stdout.String())
	require.Empty(t, stderr.String())
}
