package main

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// settingsIn reads the settings in a file, for a verb without flags.
func settingsIn(path string) (*settings, error) {
	return loadSettings(flag.NewFlagSet("agent test", flag.ContinueOnError), path)
}

func TestSettingsAreReadFromFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.env")
	require.NoError(t,
		os.WriteFile(path, []byte("CONTENT_BUCKET=content-1\nAWS_REGION=eu-central-1\n\n# no value\n"), 0o644))
	read, err := settingsIn(path)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"CONTENT_BUCKET": "content-1", "AWS_REGION": "eu-central-1"}, read.values)

	require.NoError(t,
		os.WriteFile(path, []byte("HSTS='max-age=31536000; includeSubDomains'\nUSER=\"o'neill\"\nEMPTY=''\nONE='\n"), 0o644))
	read, err = settingsIn(path)
	require.NoError(t, err)
	require.Equal(t, map[string]string{
		"HSTS": "max-age=31536000; includeSubDomains", "USER": "o'neill", "EMPTY": "", "ONE": "'",
	}, read.values)

	_, err = settingsIn(t.TempDir())
	require.ErrorContains(t, err, "cannot read the settings of the stack")
}

func TestServerNameIsTheInstanceID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "instance-id")
	require.NoError(t, os.WriteFile(path, []byte("i-0123456789abcdef0\n"), 0o644))
	name, err := serverName(path)
	require.NoError(t, err)
	require.Equal(t, "i-0123456789abcdef0", name)

	host, err := os.Hostname()
	require.NoError(t, err)
	name, err = serverName(path + "-missing")
	require.NoError(t, err)
	require.Equal(t, host, name)

	_, err = serverName(t.TempDir())
	require.ErrorContains(t, err, "cannot read the instance ID", "under another name this would be another server")
}

func TestUnitsGiveTheAgentItsRuntimeDirectories(t *testing.T) {
	unit := func(name string) string {
		text, err := os.ReadFile(filepath.Join("..", "server", "files", "systemd", name))
		require.NoError(t, err)
		return string(text)
	}
	require.Contains(t, unit("agent-watch.service"), "\nRuntimeDirectory="+filepath.Base(filepath.Dir(holderPath))+"\n")
	require.Equal(t, "/run/agent-watch/holder", holderPath)
	require.Contains(t, unit("agent-pull.service"), "\nRuntimeDirectory=site-agent\n")
	require.Contains(t, unit("agent-pull.service"), " --runtime /run/site-agent --reload /run/site-agent/reload ")
}

// A setting on a command line would be a second source, and could contradict the first.
func TestUnitsLeaveSettingsToTheirFile(t *testing.T) {
	units, err := filepath.Glob("../server/files/systemd/agent-*.service")
	require.NoError(t, err)
	require.Len(t, units, 4)
	for _, unit := range units {
		text, err := os.ReadFile(unit)
		require.NoError(t, err)
		require.Contains(t, string(text), "\nExecStart=/usr/local/bin/agent ")
		require.NotContains(t, string(text), "${", unit)
		require.NotContains(t, string(text), "EnvironmentFile", unit)
	}
}
