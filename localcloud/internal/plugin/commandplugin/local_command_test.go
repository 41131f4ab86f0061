package commandplugin

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"github.com/stretchr/testify/require"
)

func TestLocalCommandRunsWithItsInputs(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("INHERITED", "from the plugin")
	command := newResource(t, localURN)
	require.NoError(t, command.create(map[string]property.Value{
		"create":      str(`pwd; cat; echo; echo "$GREETING, $INHERITED"; echo oops >&2`),
		"dir":         str(dir),
		"stdin":       str("from stdin"),
		"environment": property.New(map[string]property.Value{"GREETING": str("hello")}),
	}))
	require.Equal(t, dir+"\nfrom stdin\nhello, from the plugin", command.stdout())
	require.Equal(t, "oops", command.stderr())
	require.Contains(t, command.id, "build")
}

func TestLocalCommandUsesItsInterpreter(t *testing.T) {
	command := newResource(t, localURN)
	require.NoError(t, command.create(map[string]property.Value{
		"create":      str("not a shell command"),
		"interpreter": list("/bin/echo", "-n", "got:"),
	}))
	require.Equal(t, "got: not a shell command", command.stdout())
}

func TestFailedLocalCommandSaysHowAndWhatItWrote(t *testing.T) {
	command := newResource(t, localURN)
	err := command.create(map[string]property.Value{"create": str("echo working; echo broken >&2; exit 3")})
	require.ErrorContains(t, err, "exit status 3")
	require.ErrorContains(t, err, "working\n")
	require.ErrorContains(t, err, "broken\n")
	require.ErrorContains(t, err, `running "echo working; echo broken >&2; exit 3"`)
}

func TestLocalCommandInAMissingDirectoryFails(t *testing.T) {
	err := newResource(t, localURN).create(map[string]property.Value{
		"create": str("true"), "dir": str(filepath.Join(t.TempDir(), "missing")),
	})
	require.ErrorContains(t, err, "no such file or directory")
}

func TestLocalCommandDoesNotRunInPreviews(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "ran")
	inputs := map[string]property.Value{"create": str("echo one; echo x >> " + marker)}
	command := newResource(t, localURN)
	preview := command.previewCreate(inputs)
	require.NoFileExists(t, marker)
	require.True(t, preview.Get("stdout").HasComputed())

	require.NoError(t, command.create(inputs))
	preview = command.previewUpdate(with(inputs, "create", str("echo two; echo x >> "+marker)))
	require.True(t, preview.Get("stdout").HasComputed())
	require.True(t, preview.Get("stderr").HasComputed())
	ran, err := os.ReadFile(marker)
	require.NoError(t, err)
	require.Equal(t, "x\n", string(ran))
}

func TestUnchangedLocalCommandHasNoDiff(t *testing.T) {
	inputs := map[string]property.Value{"create": str("echo one"), "triggers": list("a")}
	command := newResource(t, localURN)
	require.NoError(t, command.create(inputs))
	require.False(t, command.diff(inputs).HasChanges)
	require.Equal(t, "one", command.previewUpdate(inputs).Get("stdout").AsString())
}

func TestChangedInputUpdatesWithTheUpdateCommandOrElseTheCreateCommand(t *testing.T) {
	inputs := map[string]property.Value{
		"create": str("echo created in $PLACE"), "environment": property.New(map[string]property.Value{"PLACE": str("A")}),
	}
	command := newResource(t, localURN)
	require.NoError(t, command.create(inputs))
	require.Equal(t, "created in A", command.stdout())

	inputs = with(inputs, "environment", property.New(map[string]property.Value{"PLACE": str("B")}))
	diff := command.diff(inputs)
	require.True(t, diff.HasChanges)
	for property, change := range diff.DetailedDiff {
		require.Equal(t, p.Update, change.Kind, property)
	}
	require.NoError(t, command.update(inputs))
	require.Equal(t, "created in B", command.stdout())

	require.NoError(t, command.update(with(inputs, "update", str("echo updated in $PLACE"))))
	require.Equal(t, "updated in B", command.stdout())
}

func TestNewTriggersReplace(t *testing.T) {
	inputs := map[string]property.Value{"create": str("true")}
	command := newResource(t, localURN)
	require.NoError(t, command.create(inputs))
	diff := command.diff(with(inputs, "triggers", list("a")))
	require.Equal(t, p.AddReplace, diff.DetailedDiff["triggers"].Kind)
}

func TestUpdateAndDeleteSeeThePreviousOutput(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	print := `echo "$PULUMI_COMMAND_STDOUT/$PULUMI_COMMAND_STDERR"`
	inputs := map[string]property.Value{
		"create": str("echo made; echo noise >&2"), "update": str(print), "delete": str(print + " > " + out),
	}
	command := newResource(t, localURN)
	require.NoError(t, command.create(inputs))
	inputs = with(inputs, "stdin", str("x"))
	require.NoError(t, command.update(inputs))
	require.Equal(t, "made/noise", command.stdout())
	require.NoError(t, command.delete())
	deleted, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, "made/noise/\n", string(deleted))

	require.NoError(t, command.update(with(inputs, "addPreviousOutputInEnv", property.New(false))))
	require.Equal(t, "/", command.stdout())
}

func TestFilesThatACommandMadeAreReturned(t *testing.T) {
	dir := t.TempDir()
	command := newResource(t, localURN)
	require.NoError(t, command.create(map[string]property.Value{
		"create":       str("mkdir -p src && touch src/index.js src/secret.js top.txt"),
		"dir":          str(dir),
		"assetPaths":   list("src/**.js", "!**secret.*"),
		"archivePaths": list("*.txt"),
	}))
	assets := command.state.Get("assets").AsMap()
	require.Equal(t, 1, assets.Len())
	require.Equal(t, filepath.Join(dir, "src/index.js"), assets.Get("src/index.js").AsMap().Get("path").AsString())
	require.Equal(t, filepath.Join(dir, "top.txt"), command.state.Get("archive").
		AsMap().Get("assets").AsMap().Get("top.txt").AsMap().Get("path").AsString())
}

func TestTimeoutEndsALocalCommandAndWhatItStarted(t *testing.T) {
	t.Parallel()
	pidFile := filepath.Join(t.TempDir(), "pid")
	command := newResource(t, localURN)
	command.timeout = 1
	started := time.Now()
	err := command.create(map[string]property.Value{
		"create": str("sleep 300 & echo $! > " + pidFile + "; echo waiting; wait"),
	})
	require.ErrorContains(t, err, "context deadline exceeded")
	require.ErrorContains(t, err, "waiting")
	require.Less(t, time.Since(started), 10*time.Second)
	requireEnded(t, pidFile)
}

func TestCancelEndsALocalCommandThatIgnoresTermination(t *testing.T) {
	t.Parallel()
	pidFile := filepath.Join(t.TempDir(), "pid")
	command := newResource(t, localURN)
	failed := command.startCreate(map[string]property.Value{
		"create": str("trap '' TERM; echo $$ > " + pidFile + "; while true; do sleep 0.1; done"),
	})
	require.Eventually(t, func() bool {
		content, err := os.ReadFile(pidFile)
		return err == nil && len(content) > 0
	}, 10*time.Second, 5*time.Millisecond)
	require.NoError(t, command.server.Cancel())
	require.ErrorContains(t, <-failed, "context canceled")
	requireEnded(t, pidFile)
}

// requireEnded waits until the process whose id the file holds is gone or a
// zombie that only its parent can remove.
func requireEnded(t *testing.T, pidFile string) {
	t.Helper()
	content, err := os.ReadFile(pidFile)
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		return err != nil || strings.Contains(string(status), ") Z ") || syscall.Kill(pid, 0) != nil
	}, 5*time.Second, 10*time.Millisecond)
}
