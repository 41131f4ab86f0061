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

	"immutable-infra/localcloud/internal/run"
	"immutable-infra/localcloud/internal/state"
)

// offline is a machine that cannot download; it counts the tries.
type offline struct{ tries atomic.Int32 }

func (o *offline) RoundTrip(*http.Request) (*http.Response, error) {
	o.tries.Add(1)
	return nil, errors.New("no such host")
}

// pinnedPlugins are pins of the plugins that the project's SDKs ask for.
func pinnedPlugins() string {
	const releases = "https://get.pulumi.com/releases/plugins/pulumi-resource-"
	suffix := "-linux-" + runtime.GOARCH + ".tar.gz\n"
	return "aa " + releases + "aws-v6.83.4" + suffix + "bb " + releases + "tls-v5.2.0" + suffix + "cc " + releases +
		"command-v1.2.1" + suffix
}

func project(t *testing.T, runner run.Runner, machine http.RoundTripper) Tools {
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
	network.client.Transport = machine
	return Tools{Root: root, Home: h, Runner: runner, Network: network}
}

func TestOfflineLocalcloudStandsInForEveryPlugin(t *testing.T) {
	machine := &offline{}
	tools := project(t, nil, machine)
	require.NoError(t, tools.Plugins(t.Context()))
	for _, path := range []string{
		"resource-aws-v6.83.4/pulumi-resource-aws", "resource-tls-v5.2.0/pulumi-resource-tls",
		"resource-command-v1.2.1/pulumi-resource-command",
	} {
		script, err := os.ReadFile(filepath.Join(tools.Home.Pulumi(), "plugins", path))
		require.NoError(t, err)
		require.Contains(t, string(script), "bin/localcloud' plugin ")
	}
	require.EqualValues(t, 1, machine.tries.Load(),
		"the host of tls and command is tried once; the real aws plugin would talk to AWS")
	require.NoError(t, tools.Plugins(t.Context()))
	require.EqualValues(t, 1, machine.tries.Load(), "an unreachable host is remembered")
}

func TestThePluginsThatTheUserHasAreUsed(t *testing.T) {
	machine := &offline{}
	tools := project(t, nil, machine)
	user, err := os.UserHomeDir()
	require.NoError(t, err)
	real := filepath.Join(user, ".pulumi", "plugins", "resource-tls-v5.2.0")
	require.NoError(t, os.MkdirAll(real, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(real, "pulumi-resource-tls"), []byte("#!/bin/sh\n"), 0o755))
	require.NoError(t, tools.Plugins(t.Context()))
	target, err := os.Readlink(filepath.Join(tools.Home.Pulumi(), "plugins", "resource-tls-v5.2.0"))
	require.NoError(t, err)
	require.Equal(t, real, target)
	require.EqualValues(t, 1, machine.tries.Load())
}

func TestAProgramWithoutAnSDKIsAnErrorThatNamesIt(t *testing.T) {
	tools := project(t, nil, &offline{})
	require.NoError(t, os.WriteFile(filepath.Join(tools.Root, "go.mod"), []byte("module program\n"), 0o644))
	require.ErrorContains(t, tools.Plugins(t.Context()), "does not require github.com/pulumi/pulumi-aws/sdk/v6")
}
