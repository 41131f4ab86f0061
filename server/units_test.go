package server

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testtool"
)

func TestUnitsAreValid(t *testing.T) {
	analyze := program(t, "systemd-analyze")
	dir := t.TempDir()
	args := []string{"verify", "--man=no"}
	for _, source := range []struct {
		files fs.ReadFileFS
		glob  string
	}{{boot, "boot/*.*"}, {files, "files/systemd/*"}} {
		names, err := fs.Glob(source.files, source.glob)
		require.NoError(t, err)
		for _, name := range names {
			if ext := filepath.Ext(name); ext == ".json" || ext == ".yaml" {
				continue
			}
			text, err := source.files.ReadFile(name)
			require.NoError(t, err)
			// The programs of a server are not on this machine.
			text = regexp.MustCompile(`(?m)^(Exec(?:Start|Stop)=-?)\S+`).ReplaceAll(text, []byte("${1}/bin/true"))
			path := filepath.Join(dir, filepath.Base(name))
			require.NoError(t, os.WriteFile(path, text, 0o644))
			args = append(args, path)
		}
	}
	output, err := exec.CommandContext(t.Context(), analyze, args...).CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.NotContains(t, string(output), dir, "messages about these units")
}

func TestServerWithoutTheVIPShutsDownAnHourAfterItsBoot(t *testing.T) {
	unit := func(name string) string {
		text, err := boot.ReadFile("boot/" + name)
		require.NoError(t, err)
		return string(text)
	}
	require.Contains(t, unit("unclaimed.timer"), "\nOnStartupSec=1h\n")
	require.Contains(t, unit("unclaimed.service"), "\nConditionPathExists=!/run/agent-watch/holder\n")
	require.Contains(t, unit("unclaimed.service"), "\nExecStart=/usr/bin/systemctl poweroff\n")
	path, err := files.ReadFile("files/systemd/bootstrap-remove.path")
	require.NoError(t, err)
	require.Contains(t, string(path), "\nPathExists=/run/agent-watch/holder\n")

	// The script that runs when the server gets the VIP. One of its commands fails.
	dir := t.TempDir()
	calls := filepath.Join(dir, "calls")
	for name, status := range map[string]string{"systemctl": "0", "id": "0", "userdel": "1", "rm": "0", "sed": "0"} {
		script := "#!/bin/sh\necho \"" + name + " $*\" >>" + calls + "\nexit " + status + "\n"
		testtool.WriteProgram(t, filepath.Join(dir, name), script)
	}
	remove := exec.CommandContext(t.Context(), "/bin/bash", "boot/bootstrap-remove")
	remove.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
	require.Error(t, remove.Run())
	recorded, err := os.ReadFile(calls)
	require.NoError(t, err)
	require.Equal(t, "systemctl disable --quiet --now unclaimed.timer", strings.Split(string(recorded), "\n")[0],
		"the active server must keep running, whatever else fails, also after a reboot")
}

func TestBootstrapLoginIsAcceptedFromTheMachinesThatDeploy(t *testing.T) {
	args := exampleArgs()
	require.Equal(t, "from=\"192.0.2.7/32,198.51.100.0/24\" ssh-ed25519 AAAAbootstrap\n", bootstrapKey(args))
	args.BootstrapFrom = nil
	require.Equal(t, "ssh-ed25519 AAAAbootstrap\n", bootstrapKey(args), "the address of a runner is not known at boot")
}
