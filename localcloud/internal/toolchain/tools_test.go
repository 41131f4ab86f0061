package toolchain

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"

	"immutable-infra/localcloud/internal/image"
	"immutable-infra/localcloud/internal/run"
)

// builder is a go command that writes what it is told to build, and a pulumi
// of a given version.
type builder struct {
	version string
	builds  int
}

func (b *builder) Run(_ context.Context, command run.Command) ([]byte, error) {
	if filepath.Base(command.Name) == "pulumi" {
		return []byte(b.version + "\n"), nil
	}
	b.builds++
	for i, argument := range command.Args {
		if argument == "-o" {
			return nil, os.WriteFile(command.Args[i+1], []byte("#!/bin/sh\n"), 0o755)
		}
	}
	return nil, nil
}

func withTools(t *testing.T, runner run.Runner) Tools {
	t.Helper()
	tools := project(t, runner)
	for _, tool := range []string{"pulumi", "versitygw", "pebble", "traefik"} {
		module := filepath.Join(tools.Root, "localcloud", "tools", tool)
		require.NoError(t, os.MkdirAll(module, 0o755))
		for _, name := range []string{"go.mod", "go.sum"} {
			require.NoError(t, os.WriteFile(filepath.Join(module, name), []byte(name), 0o644))
		}
	}
	return tools
}

// userCLI puts a pulumi with its Go language host on the path.
func userCLI(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"pulumi", "pulumi-language-go"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o755))
	}
	t.Setenv("PATH", dir)
	return dir
}

func TestAToolIsBuiltOnceForOneVersion(t *testing.T) {
	machine := &builder{}
	tools := withTools(t, machine)
	t.Setenv("PATH", "")
	require.NoError(t, tools.S3(t.Context()))
	require.NoError(t, tools.S3(t.Context()))
	require.Equal(t, 1, machine.builds)
	require.NoError(t, os.WriteFile(filepath.Join(tools.Root, "localcloud", "tools", "versitygw", "go.sum"), []byte("newer"), 0o644))
	require.NoError(t, tools.S3(t.Context()))
	require.Equal(t, 2, machine.builds)
}

func TestEveryToolIsBuiltFromItsModule(t *testing.T) {
	machine := &builder{}
	tools := withTools(t, machine)
	for tool, build := range map[string]func(context.Context) error{
		"versitygw": tools.S3, "pebble": tools.ACME, "traefik": tools.Traefik,
	} {
		require.NoError(t, build(t.Context()))
		require.FileExists(t, filepath.Join(tools.Home.Bin(), tool))
		module, err := os.ReadFile(filepath.Join("..", "..", "tools", tool, "go.mod"))
		require.NoError(t, err)
		require.Contains(t, string(module), "module immutable-infra/localcloud/tools/"+tool+"\n")
	}
	require.Equal(t, 3, machine.builds)
}

func TestTraefiksImageHasTheVersionOfWhatIsBuilt(t *testing.T) {
	path := filepath.Join("..", "..", "tools", "traefik", "go.mod")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	module, err := modfile.Parse(path, data, nil)
	require.NoError(t, err)
	versions := map[string]string{}
	for _, dependency := range module.Require {
		versions[dependency.Mod.Path] = dependency.Mod.Version
	}
	require.Equal(t, image.TraefikVersion, versions["github.com/traefik/traefik/v3"])
}

func TestANewEnoughPulumiOfTheUsersIsTaken(t *testing.T) {
	machine := &builder{version: "v3.251.0"}
	tools := withTools(t, machine)
	dir := userCLI(t)
	require.NoError(t, tools.Pulumi(t.Context()))
	target, err := os.Readlink(filepath.Join(tools.Home.Bin(), "pulumi-language-go"))
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "pulumi-language-go"), target)
	require.Zero(t, machine.builds)
}

func TestAnOldPulumiOfTheUsersIsLeftAlone(t *testing.T) {
	machine := &builder{version: "v3.249.9"}
	tools := withTools(t, machine)
	dir := userCLI(t)
	require.NoError(t, tools.Pulumi(t.Context()))
	require.Equal(t, 1, machine.builds)
	host, err := os.ReadFile(filepath.Join(tools.Home.Bin(), "pulumi-language-go"))
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(string(host), "plugin language-go \"$@\"\n"), string(host))
	untouched, err := os.ReadFile(filepath.Join(dir, "pulumi"))
	require.NoError(t, err)
	require.Equal(t, "#!/bin/sh\n", string(untouched))
}
