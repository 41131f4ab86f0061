package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnAdminNeedNotKnowTheBucketsName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.env")
	require.NoError(t, os.WriteFile(path, []byte("CONTENT_BUCKET=content-1\nAWS_REGION=eu-central-1\n\n# no value\n"), 0o644))
	values, err := readServerEnv(path)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"CONTENT_BUCKET": "content-1", "AWS_REGION": "eu-central-1"}, values)

	_, err = readServerEnv(t.TempDir())
	require.ErrorContains(t, err, "read the server's environment")
}

func TestTheServerIsNamedAsEC2NamesIt(t *testing.T) {
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
	require.ErrorContains(t, err, "find the instance id", "another name would be taken for another server")
}

func TestARuntimeFileIsInTheUnitsOwnDirectory(t *testing.T) {
	require.Equal(t, "/run/agent-watch/holder", runtimeFile("/run/agent-watch", "holder"))
	require.Equal(t, "/run/agent-watch/holder", runtimeFile("/run/agent-watch:/run/other", "holder"))
	require.Empty(t, runtimeFile("", "holder"), "not run by systemd")
}
