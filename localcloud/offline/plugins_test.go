package offline

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testtool"
	"immutable-infra/localcloud/internal/run"
	"immutable-infra/localcloud/internal/state"
)

// offlineTransport fails every request, as on a machine without a network, and counts the attempts.
type offlineTransport struct{ attempts atomic.Int32 }

func (o *offlineTransport) RoundTrip(*http.Request) (*http.Response, error) {
	o.attempts.Add(1)
	return nil, errors.New("no such host")
}

// pinnedPlugins returns pins for the plugins that the project's SDKs require.
func pinnedPlugins() string {
	const releases = "https://get.pulumi.com/releases/plugins/pulumi-resource-"
	suffix := "-linux-" + runtime.GOARCH + ".tar.gz\n"
	return "aa " + releases + "aws-v6.83.4" + suffix + "bb " + releases + "tls-v5.2.0" + suffix + "cc " + releases +
		"command-v1.2.1" + suffix
}

// newTools returns Tools for a new project that requires the SDKs.
func newTools(t *testing.T, runner run.Runner, transport http.RoundTripper) Tools {
	t.Helper()
	root := t.TempDir()
	t.Setenv("HOME", t.TempDir())
	require.NoError(t, os.WriteFile(filepath.Join(root, "go.mod"), []byte(`module program
go 1.26
require (
	github.com/pulumi/pulumi-aws/sdk/v6 v6.83.4
	github.com/pulumi/pulumi-command/sdk v1.2.1
	github.com/pulumi/pulumi-tls/sdk/v5 v5.2.0
)
`), 0o644))
	h := state.Home(filepath.Join(root, ".localcloud"))
	require.NoError(t, h.Make())
	network := newNetwork(pinnedPlugins())
	network.client.Transport = transport
	return Tools{Root: root, Home: h, Runner: runner, Network: network}
}

func TestStandInsAreInstalledWhenOffline(t *testing.T) {
	transport := &offlineTransport{}
	tools := newTools(t, nil, transport)
	require.NoError(t, tools.Plugins(t.Context()))
	for _, path := range []string{
		"resource-aws-v6.83.4/pulumi-resource-aws", "resource-tls-v5.2.0/pulumi-resource-tls",
		"resource-command-v1.2.1/pulumi-resource-command",
	} {
		script, err := os.ReadFile(filepath.Join(tools.Home.Pulumi(), "plugins", path))
		require.NoError(t, err)
		require.Contains(t, string(script), "bin/localcloud' plugin ")
	}
	require.EqualValues(t, 1, transport.attempts.Load(),
		"the host of tls and command is tried once; aws is never downloaded, because the real plugin would talk to AWS")
	require.NoError(t, tools.Plugins(t.Context()))
	require.EqualValues(t, 1, transport.attempts.Load(), "an unreachable host is remembered")
}

func TestUsersOwnPluginIsUsed(t *testing.T) {
	transport := &offlineTransport{}
	tools := newTools(t, nil, transport)
	user, err := os.UserHomeDir()
	require.NoError(t, err)
	real := filepath.Join(user, ".pulumi", "plugins", "resource-tls-v5.2.0")
	require.NoError(t, os.MkdirAll(real, 0o755))
	testtool.WriteProgram(t, filepath.Join(real, "pulumi-resource-tls"), "#!/bin/sh\n")
	require.NoError(t, tools.Plugins(t.Context()))
	target, err := os.Readlink(filepath.Join(tools.Home.Pulumi(), "plugins", "resource-tls-v5.2.0"))
	require.NoError(t, err)
	require.Equal(t, real, target)
	require.EqualValues(t, 1, transport.attempts.Load())
}

func TestMissingSDKIsNamedInError(t *testing.T) {
	tools := newTools(t, nil, &offlineTransport{})
	require.NoError(t, os.WriteFile(filepath.Join(tools.Root, "go.mod"), []byte("module program\n"), 0o644))
	require.ErrorContains(t, tools.Plugins(t.Context()), "does not require github.com/pulumi/pulumi-aws/sdk/v6")
}
