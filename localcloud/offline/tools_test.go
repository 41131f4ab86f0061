package offline

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"

	"immutable-infra/localcloud/internal/image"
	"immutable-infra/localcloud/internal/run"
)

// builder is a go command that writes the program that it should build, and a pulumi
// of a given version.
type builder struct {
	version string
	builds  int
	// lego is what it has downloaded of Traefik's ACME client, and sum its checksum.
	lego, sum string
}

func (b *builder) Run(_ context.Context, command run.Command) ([]byte, error) {
	if filepath.Base(command.Name) == "pulumi" {
		return []byte(b.version + "\n"), nil
	}
	if command.Args[0] == "mod" {
		return json.Marshal(map[string]string{"Dir": b.lego, "Sum": b.sum})
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
	tools := project(t, runner, &offline{})
	for _, pinned := range []string{"tools", "tools/pulumi", "tools/traefik"} {
		module := filepath.Join(tools.Root, filepath.FromSlash(pinned))
		require.NoError(t, os.MkdirAll(module, 0o755))
		for _, name := range []string{"go.mod", "go.sum"} {
			content, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(pinned), name))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(module, name), content, 0o644))
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
	require.NoError(t, os.WriteFile(filepath.Join(tools.Root, "tools", "go.sum"), []byte("newer"), 0o644))
	require.NoError(t, tools.S3(t.Context()))
	require.Equal(t, 2, machine.builds)
}

func TestEveryToolIsBuiltFromItsModule(t *testing.T) {
	machine := &builder{lego: t.TempDir(), sum: legoSum}
	require.NoError(t, os.MkdirAll(filepath.Join(machine.lego, "providers"), 0o755))
	tools := withTools(t, machine)
	for tool, of := range map[string]struct {
		build  func(context.Context) error
		module string
	}{
		"versitygw": {tools.S3, "tools"}, "pebble": {tools.ACME, "tools"}, "traefik": {tools.Traefik, "tools/traefik"},
	} {
		require.NoError(t, of.build(t.Context()))
		require.FileExists(t, filepath.Join(tools.Home.Bin(), tool))
		module, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(of.module), "go.mod"))
		require.NoError(t, err)
		require.Contains(t, string(module), "module immutable-infra/"+of.module+"\n")
		require.Contains(t, string(module), "/cmd/"+tool+"\n", "the module has no directive for the tool")
	}
	require.Equal(t, 3, machine.builds)
}

func TestTraefikIsTheOneThatServersRun(t *testing.T) {
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

	// The registry serves it under the tag that servers ask for. Where the newest fixed release cannot be built
	// here, localcloud/README.md says so, and this compares with the one that it names.
	compose, err := os.ReadFile(filepath.Join("..", "..", "server", "files", "compose.yaml"))
	require.NoError(t, err)
	require.Contains(t, string(compose), "image: traefik:"+image.TraefikVersion+"\n")
	readme, err := os.ReadFile(filepath.Join("..", "README.md"))
	require.NoError(t, err)
	require.Contains(t, string(readme), "`traefik:"+image.TraefikVersion+"`")

	require.Equal(t, legoVersion, versions[legoModule])
	for _, replace := range module.Replace {
		if replace.Old.Path == legoModule {
			require.Equal(t, Tools{Root: filepath.Join("..", "..")}.legoDir(),
				filepath.Join("..", "..", "tools", "traefik", replace.New.Path))
			return
		}
	}
	require.Fail(t, "no replacement", "%s has all of the DNS providers", legoModule)
}

func TestTraefiksACMEClientHasNoDNSProvider(t *testing.T) {
	machine := &builder{lego: t.TempDir(), sum: legoSum}
	tools := withTools(t, machine)
	for _, path := range []string{"providers/dns/dns.go", "providers/dns/route53/route53.go", "providers/http/http.go"} {
		path = filepath.Join(machine.lego, filepath.FromSlash(path))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte("package p\n"), 0o444))
	}
	require.NoError(t, tools.lego(t.Context()))
	require.FileExists(t, filepath.Join(tools.legoDir(), "providers", "http", "http.go"))
	left, err := filepath.Glob(filepath.Join(tools.legoDir(), "providers", "dns", "*"))
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(tools.legoDir(), "providers", "dns", "none.go")}, left)

	require.NoError(t, os.RemoveAll(tools.legoDir()))
	machine.sum = "h1:another"
	require.ErrorContains(t, tools.lego(t.Context()), "has the checksum h1:another instead of "+legoSum)
	require.NoDirExists(t, tools.legoDir())
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
