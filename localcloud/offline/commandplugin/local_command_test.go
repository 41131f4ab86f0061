package commandplugin

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	rpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
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

func TestLocalCommandErrorContainsStatusAndOutput(t *testing.T) {
	command := newResource(t, localURN)
	err := command.create(map[string]property.Value{"create": str("echo working; echo broken >&2; exit 3")})
	require.ErrorContains(t, err, "exit status 3")
	require.ErrorContains(t, err, "working\n")
	require.ErrorContains(t, err, "broken\n")
	require.ErrorContains(t, err, `running "echo working; echo broken >&2; exit 3"`)
}

func TestLocalCommandFailsInMissingDirectory(t *testing.T) {
	err := newResource(t, localURN).create(map[string]property.Value{
		"create": str("true"), "dir": str(filepath.Join(t.TempDir(), "missing")),
	})
	require.ErrorContains(t, err, "no such file or directory")
}

func TestPreviewDoesNotRunLocalCommand(t *testing.T) {
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

func TestChangedInputRunsUpdateOrElseCreateCommand(t *testing.T) {
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

func TestNewTriggersReplaceResource(t *testing.T) {
	inputs := map[string]property.Value{"create": str("true")}
	command := newResource(t, localURN)
	require.NoError(t, command.create(inputs))
	diff := command.diff(with(inputs, "triggers", list("a")))
	require.Equal(t, p.AddReplace, diff.DetailedDiff["triggers"].Kind)
}

func TestUpdateAndDeleteReceivePreviousOutput(t *testing.T) {
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

func TestTimeoutKillsOnlyInterpreterAndWaitsForChildren(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	command := newResource(t, localURN)
	command.timeout = 1
	failed := command.startCreate(map[string]property.Value{
		"dir":         str(dir),
		"interpreter": list("bash", "-c"),
		// The child keeps the pipes open until the file named end exists.
		"create": str("trap '' TERM; (until test -e end; do sleep 0.02; done; echo child; touch ended) & " +
			"echo $$ > bash; wait"),
	})
	requireExited(t, filepath.Join(dir, "bash"))
	select {
	case err := <-failed:
		require.Fail(t, "the plugin did not wait for the child", err)
	case <-time.After(quietPeriod):
	}
	writeFile(t, filepath.Join(dir, "end"), "")
	err := <-failed
	require.ErrorContains(t, err, "signal: killed: running ")
	require.ErrorContains(t, err, "child\n")
	require.FileExists(t, filepath.Join(dir, "ended"))
}

func TestChildrenWithoutPipesOutliveCanceledCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	command := newResource(t, localURN)
	failed := command.startCreate(map[string]property.Value{
		"dir": str(dir),
		"create": str("(until test -e end; do sleep 0.02; done; touch ended) >/dev/null 2>&1 & " +
			"echo $$ > shell; wait"),
	})
	require.Eventually(t, func() bool { return fileHasContent(filepath.Join(dir, "shell")) }, 10*time.Second,
		5*time.Millisecond)
	require.NoError(t, command.server.Cancel())
	require.ErrorContains(t, <-failed, "signal: killed")
	writeFile(t, filepath.Join(dir, "end"), "")
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(dir, "ended"))
		return err == nil
	}, 10*time.Second, 5*time.Millisecond)
}

func TestLineOf64KiBHangsLocalCommandPastTimeout(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	command := newResource(t, localURN)
	command.timeout = 1
	ended := command.startCreate(map[string]property.Value{
		"dir":         str(dir),
		"interpreter": list("bash", "-c"),
		"create":      str("echo $$ > bash; head --bytes 1000000 /dev/zero"),
	})
	requireExited(t, filepath.Join(dir, "bash"))
	select {
	case err := <-ended:
		require.Fail(t, "the command did not hang", err)
	case <-time.After(quietPeriod):
	}
}

func TestNonUTF8OutputFailsSuccessfulCommand(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "ran")
	provider, err := provider()
	require.NoError(t, err)
	server, err := p.RawServer(name, version, provider)(nil)
	require.NoError(t, err)
	inputs, err := plugin.MarshalProperties(resource.PropertyMap{
		"create": resource.NewStringProperty(`printf 'caf\351\n'; touch ` + marker),
	}, plugin.MarshalOptions{})
	require.NoError(t, err)
	_, err = server.Create(t.Context(), &rpc.CreateRequest{Urn: string(localURN), Properties: inputs})
	require.ErrorContains(t, err, "non-UTF8")
	require.FileExists(t, marker)
}

func fileHasContent(path string) bool {
	content, err := os.ReadFile(path)
	return err == nil && len(content) > 0
}

// requireExited waits until the process whose ID will be in pidFile has exited. A zombie, which only its parent can
// reap, counts as exited.
func requireExited(t *testing.T, pidFile string) {
	t.Helper()
	require.Eventually(t, func() bool {
		content, err := os.ReadFile(pidFile)
		if err != nil || len(content) == 0 {
			return false
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
		require.NoError(t, err)
		status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		return err != nil || strings.Contains(string(status), ") Z ")
	}, 10*time.Second, 10*time.Millisecond)
}
