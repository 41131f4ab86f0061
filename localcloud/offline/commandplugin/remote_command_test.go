package commandplugin

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// remoteInputs returns the inputs of a remote command. settings override fields of the server's connection.
func remoteInputs(server *sshServer, create string, settings map[string]property.Value) map[string]property.Value {
	connection := server.connection()
	for key, value := range settings {
		connection[key] = value
	}
	return map[string]property.Value{"connection": property.New(connection), "create": str(create)}
}

func TestRemoteCommandRunsWithItsInputs(t *testing.T) {
	inputs := remoteInputs(startSSHServer(t), `cat; echo; echo "$ALLOWED_NAME"; echo oops >&2`, nil)
	inputs["stdin"] = str("from stdin")
	inputs["environment"] = property.New(map[string]property.Value{"ALLOWED_NAME": str("from environment")})
	command := newResource(t, remoteURN)
	require.NoError(t, command.create(inputs))
	require.Equal(t, "from stdin\nfrom environment", command.stdout())
	require.Equal(t, "oops", command.stderr())
}

func TestRemoteCommandErrorContainsStatusAndOutput(t *testing.T) {
	err := newResource(t, remoteURN).create(remoteInputs(startSSHServer(t), "echo broken >&2; exit 3", nil))
	require.ErrorContains(t, err, "Process exited with status 3")
	require.ErrorContains(t, err, "broken\n")
	require.ErrorContains(t, err, `running "echo broken >&2; exit 3"`)
}

func TestRejectedEnvironmentFailsWithHint(t *testing.T) {
	shown := captureLog(t)
	inputs := remoteInputs(startSSHServer(t), "true", nil)
	inputs["environment"] = property.New(map[string]property.Value{"TOKEN": str("x")})
	err := newResource(t, remoteURN).create(inputs)
	require.ErrorContains(t, err, `could not set environment variable "TOKEN"`)
	require.Len(t, shown(), 1)
	require.Contains(t, shown()[0], "Unable to set 'TOKEN'")
	require.Contains(t, shown()[0], "AcceptEnv")
}

func TestRejectedPreviousOutputOnlyWarns(t *testing.T) {
	inputs := remoteInputs(startSSHServer(t), "echo made", nil)
	command := newResource(t, remoteURN)
	require.NoError(t, command.create(inputs))
	shown := captureLog(t)
	require.NoError(t, command.update(with(inputs, "update", str(`echo "updated $PULUMI_COMMAND_STDOUT"`))))
	require.Equal(t, "updated ", command.stdout())
	require.Contains(t, shown()[0], "Unable to set 'PULUMI_COMMAND_STDOUT'")
}

func TestChangedConnectionRerunsRemoteCommand(t *testing.T) {
	before, after := startSSHServer(t), startSSHServer(t)
	command := newResource(t, remoteURN)
	require.NoError(t, command.create(remoteInputs(before, "echo run", nil)))
	inputs := remoteInputs(after, "echo run", nil)
	require.True(t, command.diff(inputs).HasChanges)
	require.NoError(t, command.update(inputs))
	require.EqualValues(t, 1, after.logins.Load())
}

func TestRemoteDeleteCommandRuns(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "deleted")
	inputs := remoteInputs(startSSHServer(t), "true", nil)
	inputs["delete"] = str("touch " + marker)
	command := newResource(t, remoteURN)
	require.NoError(t, command.create(inputs))
	require.NoFileExists(t, marker)
	require.NoError(t, command.delete())
	require.FileExists(t, marker)
}

func TestPreviewDoesNotConnect(t *testing.T) {
	server := startSSHServer(t)
	preview := newResource(t, remoteURN).previewCreate(remoteInputs(server, "echo", nil))
	require.True(t, preview.Get("stdout").HasComputed())
	require.Zero(t, server.logins.Load())
}

func TestPreviewAcceptsUnknownConnection(t *testing.T) {
	connection := startSSHServer(t).connection()
	connection["host"] = property.New(property.Computed)
	for _, unknown := range []property.Value{property.New(connection), property.New(property.Computed)} {
		inputs := map[string]property.Value{"create": str("echo"), "connection": unknown.WithSecret(true)}
		preview := newResource(t, remoteURN).previewCreate(inputs)
		require.True(t, preview.Get("stdout").HasComputed())

		command := newResource(t, remoteURN)
		require.NoError(t, command.create(remoteInputs(startSSHServer(t), "echo", nil)))
		require.True(t, command.diff(inputs).HasChanges)
		require.True(t, command.previewUpdate(inputs).Get("stdout").HasComputed())
	}
}

func TestWholeConnectionIsSecret(t *testing.T) {
	command := newResource(t, remoteURN)
	require.NoError(t, command.create(remoteInputs(startSSHServer(t), "echo", nil)))
	require.True(t, command.inputs.Get("connection").Secret())
	require.True(t, command.state.Get("connection").Secret())
}

func TestConnectionDefaultsMatchRealPlugin(t *testing.T) {
	checked := newResource(t, remoteURN).check(map[string]property.Value{
		"connection": property.New(map[string]property.Value{"host": str("192.0.2.1")}),
	})
	connection := checked.Get("connection").AsMap()
	require.Equal(t, "root", connection.Get("user").AsString())
	require.InDelta(t, 22, connection.Get("port").AsNumber(), 0)
	require.InDelta(t, 10, connection.Get("dialErrorLimit").AsNumber(), 0)
	require.InDelta(t, 15, connection.Get("perDialTimeout").AsNumber(), 0)
}

func TestHostKeyMismatchIsRejected(t *testing.T) {
	server := startSSHServer(t)
	other, _ := newKey(t)
	inputs := remoteInputs(server, "echo", map[string]property.Value{
		"hostKey":        str(string(ssh.MarshalAuthorizedKey(other.PublicKey()))),
		"dialErrorLimit": property.New(0.0),
	})
	require.ErrorContains(t, newResource(t, remoteURN).create(inputs),
		"after 0 failed attempts: ssh: handshake failed: ssh: host key mismatch")
	require.Zero(t, server.logins.Load())
}

func TestUnpinnedHostKeyIsNotChecked(t *testing.T) {
	inputs := remoteInputs(startSSHServer(t), "echo in", map[string]property.Value{"hostKey": property.New(property.Null)})
	command := newResource(t, remoteURN)
	require.NoError(t, command.create(inputs))
	require.Equal(t, "in", command.stdout())
}

func TestMalformedKeysFailBeforeFirstAttempt(t *testing.T) {
	for key, message := range map[string]string{
		"hostKey": "failed to parse host key: ", "privateKey": "ssh: no key found",
	} {
		shown := captureLog(t)
		server := startSSHServer(t)
		err := newResource(t, remoteURN).create(remoteInputs(server, "echo", map[string]property.Value{key: str("garbage")}))
		require.ErrorContains(t, err, message)
		require.Empty(t, shown())
	}
}

func TestDialRetriesUntilServerIsReadyWithoutShowingReason(t *testing.T) {
	shown := captureLog(t)
	server := startSSHServer(t)
	server.hangUps.Store(2)
	server.refusals.Store(1)
	command := newResource(t, remoteURN)
	require.NoError(t, command.create(remoteInputs(server, "echo in", map[string]property.Value{
		"dialErrorLimit": property.New(-1.0),
	})))
	require.Equal(t, "in", command.stdout())
	require.Equal(t, []string{
		"Dial 1/inf failed: retrying", "Dial 2/inf failed: retrying", "Dial 3/inf failed: retrying", "in",
	}, shown())
}

func TestDialStopsAtErrorLimit(t *testing.T) {
	shown := captureLog(t)
	err := newResource(t, remoteURN).create(remoteInputs(startSSHServer(t), "echo", map[string]property.Value{
		"port": closedPort(t), "dialErrorLimit": property.New(2.0),
	}))
	require.ErrorContains(t, err, "after 2 failed attempts: dial tcp ")
	require.ErrorContains(t, err, "connection refused")
	require.Equal(t, []string{"Dial 1/2 failed: retrying", "Dial 2/2 failed: retrying"}, shown())
}

func TestTimeoutDuringRefusedLoginsHidesReason(t *testing.T) {
	t.Parallel()
	server := startSSHServer(t)
	server.refusals.Store(1 << 30)
	command := newResource(t, remoteURN)
	command.timeout = 1
	err := command.create(remoteInputs(server, "echo", map[string]property.Value{"dialErrorLimit": property.New(-1.0)}))
	require.EqualError(t, err, "context deadline exceeded")
}

func TestCancelDuringDialHidesReason(t *testing.T) {
	server := startSSHServer(t)
	server.hangUps.Store(1 << 30)
	command := newResource(t, remoteURN)
	failed := command.startCreate(remoteInputs(server, "echo", map[string]property.Value{
		"dialErrorLimit": property.New(-1.0),
	}))
	require.Eventually(t, func() bool { return server.hangUps.Load() < 1<<30 }, 5*time.Second, time.Millisecond)
	require.NoError(t, command.server.Cancel())
	require.EqualError(t, <-failed, "context canceled")
}

func TestSilentServerHangsDialPastAllTimeouts(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, silent.Close()) }()
	accepted := make(chan net.Conn, 1)
	go func() {
		if conn, err := silent.Accept(); err == nil {
			accepted <- conn
		}
	}()
	command := newResource(t, remoteURN)
	command.timeout = 1
	failed := command.startCreate(remoteInputs(startSSHServer(t), "echo", map[string]property.Value{
		"port":           property.New(float64(silent.Addr().(*net.TCPAddr).Port)),
		"perDialTimeout": property.New(1.0), "dialErrorLimit": property.New(-1.0),
	}))
	conn := <-accepted
	require.NoError(t, command.server.Cancel())
	select {
	case err := <-failed:
		require.Fail(t, "the dial attempt did not hang", err)
	case <-time.After(time.Second + quietPeriod):
	}
	require.NoError(t, conn.Close())
	require.EqualError(t, <-failed, "context canceled")
}

func TestNeitherTimeoutNorCancelStopsRemoteCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	started, end := filepath.Join(dir, "begun"), filepath.Join(dir, "end")
	command := newResource(t, remoteURN)
	command.timeout = 1
	ended := command.startCreate(remoteInputs(startSSHServer(t),
		"touch "+started+"; until test -e "+end+"; do sleep 0.02; done; echo done", nil))
	require.Eventually(t, func() bool {
		_, err := os.Stat(started)
		return err == nil
	}, 10*time.Second, 5*time.Millisecond)
	require.NoError(t, command.server.Cancel())
	select {
	case err := <-ended:
		require.Fail(t, "the plugin did not wait for the command", err)
	case <-time.After(time.Second + quietPeriod):
	}
	writeFile(t, end, "")
	require.NoError(t, <-ended)
	require.Equal(t, "done", command.stdout())
}

func TestLineOf64KiBHangsFinishedRemoteCommand(t *testing.T) {
	t.Parallel()
	command := newResource(t, remoteURN)
	command.timeout = 1
	server := startSSHServer(t)
	ended := command.startCreate(remoteInputs(server, "head --bytes 70000 /dev/zero", nil))
	require.Eventually(t, func() bool { return server.commandsEnded.Load() == 1 }, 10*time.Second, 5*time.Millisecond)
	select {
	case err := <-ended:
		require.Fail(t, "the command did not hang", err)
	case <-time.After(time.Second + quietPeriod):
	}
}

func TestConnectionStaysOpenAfterCommand(t *testing.T) {
	server := startSSHServer(t)
	require.NoError(t, newResource(t, remoteURN).create(remoteInputs(server, "true", nil)))
	require.Never(t, func() bool { return server.open.Load() == 0 }, quietPeriod, 10*time.Millisecond)
}

// closedPort returns a port on which nothing listens.
func closedPort(t *testing.T) property.Value {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return property.New(float64(listener.Addr().(*net.TCPAddr).Port))
}
