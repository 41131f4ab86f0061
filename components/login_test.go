package components

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLoginScriptRunsTheProbeWithTheKey(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	command := exec.CommandContext(t.Context(), "bash", "-c", goRun("sshprobe", ""))
	command.Dir = ".."
	command.Env = append(os.Environ(), "SSHPROBE_WITHIN=100ms", "SSHPROBE_USER=bootstrap",
		"SSHPROBE_ADDRESS="+listener.Addr().String(),
		"SSHPROBE_HOST_KEY=ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBwjAnBqwWECWmSUc4u5iN66n+sEu8UKNIIGfMPiY6jL")
	command.Stdin = strings.NewReader("not a key")
	output, err := command.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(output), "cannot read the private key: ")
}
