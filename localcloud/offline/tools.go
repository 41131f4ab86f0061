package offline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"immutable-infra/localcloud/internal/image"
	"immutable-infra/localcloud/internal/run"
	"immutable-infra/localcloud/internal/state"
)

// PulumiVersion is the version of the CLI that localcloud installs, and the minimum version of the user's own CLI.
const PulumiVersion = "v3.250.0"

// Tools installs tools into the home's bin directory.
type Tools struct {
	Root    string // the project's directory
	Home    state.Home
	Runner  run.Runner
	Network *Network
}

// tool is a program that is downloaded, or built from its Go module.
type tool struct {
	name, pkg string
	pinned    string   // the directory of the module that pins its version, relative to the project
	release   string   // the URL of the publisher's archive
	extra     []string // further programs in the archive
	flags     []string // for go build
	// prepare, if not nil, creates what the build needs besides its modules.
	prepare func(context.Context) error
}

// Pulumi installs bin/pulumi: a link to the user's CLI if it is new enough and has the Go language host in the same
// directory, otherwise the pinned release. If the release cannot be downloaded, the CLI is built from its Go module,
// and localcloud is the language host.
func (t Tools) Pulumi(ctx context.Context) error {
	binary, host := filepath.Join(t.Home.Bin(), "pulumi"), filepath.Join(t.Home.Bin(), "pulumi-language-go")
	if user := t.userPulumi(ctx); user != "" {
		return errors.Join(link(user, binary), link(filepath.Join(filepath.Dir(user), "pulumi-language-go"), host))
	}
	if _, err := os.Readlink(binary); err == nil {
		// The user's CLI that an earlier start linked to is gone or too old.
		if err := os.Remove(binary); err != nil {
			return err
		}
	}
	downloaded, err := t.install(ctx, tool{
		name: "pulumi", pkg: "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi", extra: []string{"pulumi-language-go"},
		pinned:  "tools/pulumi",
		release: "https://get.pulumi.com/releases/sdk/pulumi-" + PulumiVersion + "-linux-" + arch("x64") + ".tar.gz",
		flags:   []string{"-ldflags", "-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=" + PulumiVersion},
	})
	if err != nil || downloaded {
		return err
	}
	return t.writeScript(host, "language-go")
}

// S3 installs bin/versitygw, which runs in a container without libraries.
func (t Tools) S3(ctx context.Context) error {
	return t.fromGitHub(ctx, "github.com/versity/versitygw", "versitygw_%s_Linux_"+arch("x86_64"),
		tool{name: "versitygw", pinned: "tools"})
}

// ACME installs bin/pebble, which runs in a container without libraries.
func (t Tools) ACME(ctx context.Context) error {
	return t.fromGitHub(ctx, "github.com/letsencrypt/pebble/v2", "pebble-linux-"+runtime.GOARCH,
		tool{name: "pebble", pinned: "tools"})
}

// Traefik installs bin/traefik, which servers pull as an image. The build omits debug information, which makes it a
// third smaller.
func (t Tools) Traefik(ctx context.Context) error {
	version := "-X github.com/traefik/traefik/v3/pkg/version.Version=" + strings.TrimPrefix(image.TraefikVersion, "v")
	return t.fromGitHub(ctx, "github.com/traefik/traefik/v3", "traefik_%s_linux_"+runtime.GOARCH, tool{
		name: "traefik", pinned: "tools/traefik", flags: []string{"-ldflags", "-s -w " + version}, prepare: t.prepareLego,
	})
}

// fromGitHub installs a tool from its GitHub release, whose tag is the version of the Go module at path. archive is
// the name of the release's archive without .tar.gz; %s in it stands for the version.
func (t Tools) fromGitHub(ctx context.Context, path, archive string, tool tool) error {
	version, err := t.version(path, filepath.FromSlash(tool.pinned))
	if err != nil {
		return err
	}
	repository, _, _ := module.SplitPathVersion(path)
	tool.pkg = path + "/cmd/" + tool.name
	tool.release = fmt.Sprintf("https://%s/releases/download/%s/%s.tar.gz",
		repository, version, strings.ReplaceAll(archive, "%s", version))
	_, err = t.install(ctx, tool)
	return err
}

// arch returns a publisher's name for this machine's architecture. amd64 is the publisher's name for amd64; the other
// names are Go's.
func arch(amd64 string) string {
	if runtime.GOARCH == "amd64" {
		return amd64
	}
	return runtime.GOARCH
}

// version returns the version of a module that the go.mod in a directory of the project requires.
func (t Tools) version(module string, dir ...string) (string, error) {
	path := filepath.Join(append(append([]string{t.Root}, dir...), "go.mod")...)
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	file, err := modfile.ParseLax(path, data, nil)
	if err != nil {
		return "", err
	}
	for _, require := range file.Require {
		if require.Mod.Path == module {
			return require.Mod.Version, nil
		}
	}
	return "", fmt.Errorf("%s does not require %s", path, module)
}

// userPulumi returns the path of a suitable CLI outside the home, or "".
func (t Tools) userPulumi(ctx context.Context) string {
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		candidate := filepath.Join(dir, "pulumi")
		if dir == t.Home.Bin() || !isExecutable(candidate) || !isExecutable(filepath.Join(dir, "pulumi-language-go")) {
			continue
		}
		output, err := t.Runner.Run(ctx, run.Command{
			Name: candidate, Args: []string{"version"}, Env: []string{"PULUMI_SKIP_UPDATE_CHECK=true"},
		})
		if err == nil && semver.Compare(strings.TrimSpace(string(output)), PulumiVersion) >= 0 {
			return candidate
		}
	}
	return ""
}

// install downloads or builds a tool, unless bin already has it from the same pin, or from the same module files and
// the same version of Go. It reports whether the program in bin is the publisher's.
func (t Tools) install(ctx context.Context, tool tool) (downloaded bool, err error) {
	binary, stamp := filepath.Join(t.Home.Bin(), tool.name), filepath.Join(t.Home.Cache(), tool.name+".stamp")
	previous, err := os.ReadFile(stamp)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if !isExecutable(binary) {
		previous = nil
	}
	pin := t.Network.Pin(tool.release)
	if pin != "" && string(previous) == pin {
		return true, nil
	}
	targets := map[string]string{}
	for _, name := range append(tool.extra, tool.name) {
		targets[name] = filepath.Join(t.Home.Bin(), name)
	}
	switch err := t.Network.Fetch(ctx, tool.release, targets); {
	case err == nil:
		return true, state.WriteFile(stamp, []byte(pin), 0o644)
	case !errors.Is(err, ErrOffline):
		return false, err
	}
	if tool.prepare != nil {
		if err := tool.prepare(ctx); err != nil {
			return false, err
		}
	}
	dir := filepath.Join(t.Root, filepath.FromSlash(tool.pinned))
	buildHash := sha256.New()
	fmt.Fprintln(buildHash, runtime.Version(), tool.pkg, tool.flags)
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return false, err
		}
		buildHash.Write(content)
	}
	hash := hex.EncodeToString(buildHash.Sum(nil))
	if string(previous) == hash {
		return false, nil
	}
	args := append(append([]string{"build", "-C", dir, "-o", binary}, tool.flags...), tool.pkg)
	if _, err := t.Runner.Run(ctx, run.Command{Name: "go", Args: args, Env: []string{"CGO_ENABLED=0"}}); err != nil {
		return false, err
	}
	return false, state.WriteFile(stamp, []byte(hash), 0o644)
}

// Plugins installs the resource plugins in the versions of the SDKs that the program requires: the user's own plugin
// if it is installed, otherwise the pinned release. If the release cannot be downloaded, localcloud stands in for the
// plugin. It always stands in for the aws plugin, because the real one would call AWS.
func (t Tools) Plugins(ctx context.Context) error {
	user, err := os.UserHomeDir()
	if err != nil {
		return err
	}
	for _, plugin := range []struct{ name, sdk string }{
		{"aws", "github.com/pulumi/pulumi-aws/sdk/v6"},
		{"tls", "github.com/pulumi/pulumi-tls/sdk/v5"},
		{"command", "github.com/pulumi/pulumi-command/sdk"},
	} {
		version, err := t.version(plugin.sdk)
		if err == nil {
			err = t.plugin(ctx, plugin.name, version, filepath.Join(user, ".pulumi"))
		}
		if err != nil {
			return fmt.Errorf("install plugin %s: %w", strings.TrimSpace(plugin.name+" "+version), err)
		}
	}
	return nil
}

// plugin installs one plugin. user is the user's own PULUMI_HOME.
func (t Tools) plugin(ctx context.Context, name, version, user string) error {
	directory, binary := filepath.Join("plugins", "resource-"+name+"-"+version), "pulumi-resource-"+name
	target := filepath.Join(t.Home.Pulumi(), directory)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if name != "aws" {
		cached := filepath.Join(t.Home.Cache(), directory) // `down` keeps the cache
		for _, dir := range []string{filepath.Join(user, directory), cached} {
			if isExecutable(filepath.Join(dir, binary)) {
				return link(dir, target)
			}
		}
		release := fmt.Sprintf("https://get.pulumi.com/releases/plugins/%s-%s-linux-%s.tar.gz", binary, version,
			runtime.GOARCH)
		err := t.Network.Fetch(ctx, release, map[string]string{binary: filepath.Join(cached, binary)})
		if err == nil {
			return link(cached, target)
		}
		if !errors.Is(err, ErrOffline) {
			return err
		}
	}
	if err := os.RemoveAll(target); err != nil {
		return err
	}
	return t.writeScript(filepath.Join(target, binary), name)
}

// writeScript writes an executable that runs localcloud as one of its plugins.
func (t Tools) writeScript(path, plugin string) error {
	quote := func(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
	// If path is a link to the user's own plugin, the link is replaced and its target stays unchanged.
	return writeProgram(path, strings.NewReader(fmt.Sprintf("#!/bin/sh\n%s=%s exec %s plugin %s \"$@\"\n",
		state.Variable, quote(t.Home.String()), quote(t.Home.Executable()), plugin)))
}

// link creates a symbolic link to target at path, and replaces an existing file or directory.
func link(target, path string) error {
	return errors.Join(os.RemoveAll(path), os.Symlink(target, path))
}

func isExecutable(path string) bool {
	found, err := exec.LookPath(path)
	return err == nil && found == path
}
