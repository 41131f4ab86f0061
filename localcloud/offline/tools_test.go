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

// fakeRunner imitates the go command, which writes an executable instead of building it, and a pulumi CLI.
type fakeRunner struct {
	version string // that pulumi prints
	builds  int    // counts go's builds
	// lego is the directory to which go has downloaded Traefik's ACME client, and sum the module's checksum.
	lego, sum string
}

func (r *fakeRunner) Run(_ context.Context, command run.Command) ([]byte, error) {
	if filepath.Base(command.Name) == "pulumi" {
		return []byte(r.version + "\n"), nil
	}
	if command.Args[0] == "mod" {
		return json.Marshal(map[string]string{"Dir": r.lego, "Sum": r.sum})
	}
	r.builds++
	for i, argument := range command.Args {
		if argument == "-o" {
			return nil, os.WriteFile(command.Args[i+1], []byte("#!/bin/sh\n"), 0o755)
		}
	}
	return nil, nil
}

// newToolsWithModules returns newTools with the module files that pin the tools.
func newToolsWithModules(t *testing.T, runner run.Runner) Tools {
	t.Helper()
	tools := newTools(t, runner, &offlineTransport{})
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

// installUserPulumi puts a pulumi CLI with its Go language host on PATH and returns their directory.
func installUserPulumi(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"pulumi", "pulumi-language-go"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o755))
	}
	t.Setenv("PATH", dir)
	return dir
}

func TestToolIsRebuiltOnlyWhenModuleChanges(t *testing.T) {
	runner := &fakeRunner{}
	tools := newToolsWithModules(t, runner)
	t.Setenv("PATH", "")
	require.NoError(t, tools.S3(t.Context()))
	require.NoError(t, tools.S3(t.Context()))
	require.Equal(t, 1, runner.builds)
	require.NoError(t, os.WriteFile(filepath.Join(tools.Root, "tools", "go.sum"), []byte("newer"), 0o644))
	require.NoError(t, tools.S3(t.Context()))
	require.Equal(t, 2, runner.builds)
}

func TestEveryToolIsBuiltFromItsModule(t *testing.T) {
	runner := &fakeRunner{lego: t.TempDir(), sum: legoSum}
	require.NoError(t, os.MkdirAll(filepath.Join(runner.lego, "providers"), 0o755))
	tools := newToolsWithModules(t, runner)
	for tool, source := range map[string]struct {
		build  func(context.Context) error
		module string
	}{
		"versitygw": {tools.S3, "tools"}, "pebble": {tools.ACME, "tools"}, "traefik": {tools.Traefik, "tools/traefik"},
	} {
		require.NoError(t, source.build(t.Context()))
		require.FileExists(t, filepath.Join(tools.Home.Bin(), tool))
		module, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(source.module), "go.mod"))
		require.NoError(t, err)
		require.Contains(t, string(module), "module immutable-infra/"+source.module+"\n")
		require.Contains(t, string(module), "/cmd/"+tool+"\n", "the module lacks the tool directive")
	}
	require.Equal(t, 3, runner.builds)
}

func TestTraefikVersionMatchesServers(t *testing.T) {
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

	// The registry serves this version under the tag that servers pull. If the newest fixed release cannot be built
	// here, localcloud/README.md must say so and name the release that is built instead.
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
	require.Fail(t, "missing replace directive", "without it, %s has all DNS providers", legoModule)
}

func TestTraefikACMEClientHasNoDNSProviders(t *testing.T) {
	runner := &fakeRunner{lego: t.TempDir(), sum: legoSum}
	tools := newToolsWithModules(t, runner)
	for _, path := range []string{"providers/dns/dns.go", "providers/dns/route53/route53.go", "providers/http/http.go"} {
		path = filepath.Join(runner.lego, filepath.FromSlash(path))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte("package p\n"), 0o444))
	}
	require.NoError(t, tools.prepareLego(t.Context()))
	require.FileExists(t, filepath.Join(tools.legoDir(), "providers", "http", "http.go"))
	left, err := filepath.Glob(filepath.Join(tools.legoDir(), "providers", "dns", "*"))
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(tools.legoDir(), "providers", "dns", "none.go")}, left)

	require.NoError(t, os.RemoveAll(tools.legoDir()))
	runner.sum = "h1:another"
	require.ErrorContains(t, tools.prepareLego(t.Context()), "has the checksum h1:another instead of "+legoSum)
	require.NoDirExists(t, tools.legoDir())
}

func TestUsersPulumiIsUsedIfRecentEnough(t *testing.T) {
	runner := &fakeRunner{version: "v3.251.0"}
	tools := newToolsWithModules(t, runner)
	dir := installUserPulumi(t)
	require.NoError(t, tools.Pulumi(t.Context()))
	target, err := os.Readlink(filepath.Join(tools.Home.Bin(), "pulumi-language-go"))
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "pulumi-language-go"), target)
	require.Zero(t, runner.builds)
}

func TestUsersOldPulumiIsNeitherUsedNorChanged(t *testing.T) {
	runner := &fakeRunner{version: "v3.249.9"}
	tools := newToolsWithModules(t, runner)
	dir := installUserPulumi(t)
	require.NoError(t, tools.Pulumi(t.Context()))
	require.Equal(t, 1, runner.builds)
	host, err := os.ReadFile(filepath.Join(tools.Home.Bin(), "pulumi-language-go"))
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(string(host), "plugin language-go \"$@\"\n"), string(host))
	untouched, err := os.ReadFile(filepath.Join(dir, "pulumi"))
	require.NoError(t, err)
	require.Equal(t, "#!/bin/sh\n", string(untouched))
}
