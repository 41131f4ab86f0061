package toolchain

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/home"
	"immutable-infra/localcloud/internal/run"
)

// offline is a machine that cannot download; it counts the tries.
type offline struct {
	mu    sync.Mutex
	tries int
}

func (o *offline) Run(_ context.Context, command run.Command) ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tries++
	return nil, &run.Error{Command: command, Output: "no such host", Err: errors.New("exit status 1")}
}

func project(t *testing.T, runner run.Runner) Tools {
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
	h := home.Home(filepath.Join(root, ".localcloud"))
	require.NoError(t, h.Make())
	return Tools{Root: root, Home: h, Runner: runner}
}

func TestOfflineLocalcloudStandsInForEveryPlugin(t *testing.T) {
	machine := &offline{}
	tools := project(t, machine)
	require.NoError(t, tools.Plugins(t.Context()))
	for _, path := range []string{
		"resource-aws-v6.83.4/pulumi-resource-aws", "resource-tls-v5.2.0/pulumi-resource-tls", "resource-command-v1.2.1/pulumi-resource-command",
	} {
		script, err := os.ReadFile(filepath.Join(tools.Home.Pulumi(), "plugins", path))
		require.NoError(t, err)
		require.Contains(t, string(script), "bin/localcloud' plugin ")
	}
	require.Equal(t, 2, machine.tries, "tls and command are tried once; the real aws plugin would talk to AWS")
	require.NoError(t, tools.Plugins(t.Context()))
	require.Equal(t, 2, machine.tries, "a refusal is remembered")
}

func TestThePluginsThatTheUserHasAreUsed(t *testing.T) {
	machine := &offline{}
	tools := project(t, machine)
	user, err := os.UserHomeDir()
	require.NoError(t, err)
	real := filepath.Join(user, ".pulumi", "plugins", "resource-tls-v5.2.0")
	require.NoError(t, os.MkdirAll(real, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(real, "pulumi-resource-tls"), []byte("#!/bin/sh\n"), 0o755))
	require.NoError(t, tools.Plugins(t.Context()))
	target, err := os.Readlink(filepath.Join(tools.Home.Pulumi(), "plugins", "resource-tls-v5.2.0"))
	require.NoError(t, err)
	require.Equal(t, real, target)
	require.Equal(t, 1, machine.tries)
}

func TestAProgramWithoutAnSDKIsAnErrorThatNamesIt(t *testing.T) {
	tools := project(t, &offline{})
	require.NoError(t, os.WriteFile(filepath.Join(tools.Root, "go.mod"), []byte("module program\n"), 0o644))
	require.ErrorContains(t, tools.Plugins(t.Context()), "does not require github.com/pulumi/pulumi-aws/sdk/v6")
}

func TestMissingProgramsAreListedWithTheirPackages(t *testing.T) {
	text := instructions([]requirement{{"nft", "nftables", "the host's firewall table"}})
	require.True(t, strings.HasSuffix(text, "\n  nft: the host's firewall table (Debian package nftables)"), text)
}
