package scripts

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// An attacker on a server, the build of the site and Pulumi's state can all influence the output of these commands.
func TestRunnerIgnoresCommandsThatADeploymentPrints(t *testing.T) {
	const prints = "echo ::add-mask::a; echo ::set-output name=a::b >&2; printf ::debug::c; exit 3"
	inert := func(stdout io.Writer) (log string) {
		command := exec.CommandContext(t.Context(), "./inert.sh", "bash", "-c", prints)
		var stderr strings.Builder
		command.Stdout, command.Stderr = stdout, &stderr
		var exit *exec.ExitError
		require.ErrorAs(t, command.Run(), &exit)
		require.Equal(t, 3, exit.ExitCode())
		return stderr.String()
	}
	requireInert := func(log, printed string) {
		require.Regexp(t, `^::stop-commands::[0-9a-f]{32}\n`+printed+`\n::[0-9a-f]{32}::\n$`, log)
		token := strings.TrimPrefix(strings.SplitN(log, "\n", 2)[0], "::stop-commands::")
		require.Equal(t, 2, strings.Count(log, token), "the same token ends it")
	}

	var stdout strings.Builder
	require.Empty(t, inert(&stdout), "the runner reads stderr apart from stdout")
	requireInert(stdout.String(), "::add-mask::a\n::set-output name=a::b\n::debug::c")

	file, err := os.Create(filepath.Join(t.TempDir(), "stdout"))
	require.NoError(t, err)
	requireInert(inert(file), "::set-output name=a::b\n")
	require.NoError(t, file.Close())
	redirected, err := os.ReadFile(file.Name())
	require.NoError(t, err)
	require.Equal(t, "::add-mask::a\n::debug::c", string(redirected), "redirected output contains no line of the script")
}

// A canceled job must stop Pulumi's update before it exits.
func TestCanceledJobStopsItsCommandFirst(t *testing.T) {
	// The outer shell stands in for make, which survives SIGINT but not the other signals, and the inner one for Pulumi.
	// A shell cannot trap a signal that its parent ignores (SIGHUP below nohup), but it can if the parent catches it.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(caught)
	const inner = `trap "sleep 0.2; echo ::debug::stopped; exit 0" INT TERM HUP; echo ready; while :; do sleep 0.05; done`
	for sent, status := range map[syscall.Signal]int{
		syscall.SIGINT: 5, syscall.SIGTERM: 128 + int(syscall.SIGTERM), syscall.SIGHUP: 128 + int(syscall.SIGHUP),
	} {
		t.Run(sent.String(), func(t *testing.T) {
			command := exec.CommandContext(t.Context(), "./inert.sh", "bash", "-c", `trap : INT; bash -c "$0"; exit 5`, inner)
			stdout, err := command.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, command.Start())
			var log []string
			for lines := bufio.NewScanner(stdout); lines.Scan(); {
				log = append(log, lines.Text())
				if lines.Text() == "ready" {
					require.NoError(t, command.Process.Signal(sent))
				}
			}
			var exit *exec.ExitError
			require.ErrorAs(t, command.Wait(), &exit)
			require.Equal(t, status, exit.ExitCode())
			stopped := slices.Index(log, "::debug::stopped")
			require.Positive(t, stopped, "the command was not notified: %q", log)
			end := strings.Replace(log[0], "::stop-commands::", "::", 1) + "::"
			require.Equal(t, end, log[len(log)-1], "the runner obeys commands after this line: %q", log)
			require.Less(t, stopped, len(log)-1)
		})
	}
}
