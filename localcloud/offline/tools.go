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

// PulumiVersion is the CLI that localcloud gets, and the oldest of the user's that it takes.
const PulumiVersion = "v3.250.0"

// Tools gets tools into the home's bin directory.
type Tools struct {
	Root    string // of the project
	Home    state.Home
	Runner  run.Runner
	Network *Network
}

// tool is a program that is downloaded, or built from its Go module.
type tool struct {
	name, pkg string
	pinned    string   // the directory, in the project, of the module that pins its version
	release   string   // the address of the publisher's archive
	beside    []string // further programs in that archive
	flags     []string // of go build
	// prepare, if any, makes what the build needs beside its modules.
	prepare func(context.Context) error
}

// Pulumi makes bin/pulumi: a link to the user's CLI when that is new enough and has its Go language
// host beside it, otherwise the pinned release. Where that cannot be downloaded, it is built from its
// Go module, and localcloud is the language host.
func (t Tools) Pulumi(ctx context.Context) error {
	binary, host := filepath.Join(t.Home.Bin(), "pulumi"), filepath.Join(t.Home.Bin(), "pulumi-language-go")
	if user := t.userPulumi(ctx); user != "" {
		return errors.Join(link(user, binary), link(filepath.Join(filepath.Dir(user), "pulumi-language-go"), host))
	}
	if _, err := os.Readlink(binary); err == nil {
		// The user's CLI of an earlier start is gone or too old.
		if err := os.Remove(binary); err != nil {
			return err
		}
	}
	downloaded, err := t.get(ctx, tool{
		name: "pulumi", pkg: "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi", beside: []string{"pulumi-language-go"},
		pinned:  "tools/pulumi",
		release: "https://get.pulumi.com/releases/sdk/pulumi-" + PulumiVersion + "-linux-" + arch("x64") + ".tar.gz",
		flags:   []string{"-ldflags", "-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=" + PulumiVersion},
	})
	if err != nil || downloaded {
		return err
	}
	return t.script(host, "language-go")
}

// S3 makes bin/versitygw, which runs in a container without libraries.
func (t Tools) S3(ctx context.Context) error {
	return t.onGitHub(ctx, "github.com/versity/versitygw", "versitygw_%s_Linux_"+arch("x86_64"),
		tool{name: "versitygw", pinned: "tools"})
}

// ACME makes bin/pebble, which runs in a container without libraries.
func (t Tools) ACME(ctx context.Context) error {
	return t.onGitHub(ctx, "github.com/letsencrypt/pebble/v2", "pebble-linux-"+runtime.GOARCH,
		tool{name: "pebble", pinned: "tools"})
}

// Traefik makes bin/traefik, which servers get as an image. Without the tables of a debugger it is a
// third smaller.
func (t Tools) Traefik(ctx context.Context) error {
	version := "-X github.com/traefik/traefik/v3/pkg/version.Version=" + strings.TrimPrefix(image.TraefikVersion, "v")
	return t.onGitHub(ctx, "github.com/traefik/traefik/v3", "traefik_%s_linux_"+runtime.GOARCH,
		tool{name: "traefik", pinned: "tools/traefik", flags: []string{"-ldflags", "-s -w " + version}, prepare: t.lego})
}

// onGitHub gets a tool that is released at GitHub, under the version of its module; archive is the
// name of the release's archive, which may have the version in it.
func (t Tools) onGitHub(ctx context.Context, path, archive string, tool tool) error {
	version, err := t.version(path, filepath.FromSlash(tool.pinned))
	if err != nil {
		return err
	}
	repository, _, _ := module.SplitPathVersion(path)
	tool.pkg = path + "/cmd/" + tool.name
	tool.release = fmt.Sprintf("https://%s/releases/download/%s/%s.tar.gz",
		repository, version, strings.ReplaceAll(archive, "%s", version))
	_, err = t.get(ctx, tool)
	return err
}

// arch is this machine's architecture in a publisher's words, who calls amd64 as given.
func arch(amd64 string) string {
	if runtime.GOARCH == "amd64" {
		return amd64
	}
	return runtime.GOARCH
}

// version is that of a module which the go.mod in a directory of the project requires.
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

// userPulumi finds a suitable CLI outside the home; "" means none.
func (t Tools) userPulumi(ctx context.Context) string {
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		candidate := filepath.Join(dir, "pulumi")
		if dir == t.Home.Bin() || !executable(candidate) || !executable(filepath.Join(dir, "pulumi-language-go")) {
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

// get downloads or builds a tool, unless bin has what the same pin, or the same module files and the
// same Go, made. It reports whether bin has the publisher's program.
func (t Tools) get(ctx context.Context, tool tool) (downloaded bool, err error) {
	binary, stamp := filepath.Join(t.Home.Bin(), tool.name), filepath.Join(t.Home.Cache(), tool.name+".stamp")
	made, err := os.ReadFile(stamp)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if !executable(binary) {
		made = nil
	}
	pin := t.Network.Pin(tool.release)
	if pin != "" && string(made) == pin {
		return true, nil
	}
	targets := map[string]string{}
	for _, name := range append(tool.beside, tool.name) {
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
	recipe := sha256.New()
	fmt.Fprintln(recipe, runtime.Version(), tool.pkg, tool.flags)
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return false, err
		}
		recipe.Write(content)
	}
	hash := hex.EncodeToString(recipe.Sum(nil))
	if string(made) == hash {
		return false, nil
	}
	args := append(append([]string{"build", "-C", dir, "-o", binary}, tool.flags...), tool.pkg)
	if _, err := t.Runner.Run(ctx, run.Command{Name: "go", Args: args, Env: []string{"CGO_ENABLED=0"}}); err != nil {
		return false, err
	}
	return false, state.WriteFile(stamp, []byte(hash), 0o644)
}

// Plugins installs the resource plugins, in the versions of the SDKs that the program requires: the
// user's where there is one, otherwise the pinned release. Where that cannot be downloaded, localcloud
// stands in for it. It always does for the aws plugin, since the real one would talk to AWS.
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

// plugin installs a plugin. user is the user's own PULUMI_HOME.
func (t Tools) plugin(ctx context.Context, name, version, user string) error {
	directory, binary := filepath.Join("plugins", "resource-"+name+"-"+version), "pulumi-resource-"+name
	target := filepath.Join(t.Home.Pulumi(), directory)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if name != "aws" {
		cached := filepath.Join(t.Home.Cache(), directory) // there, it outlives `down`
		for _, dir := range []string{filepath.Join(user, directory), cached} {
			if executable(filepath.Join(dir, binary)) {
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
	return t.script(filepath.Join(target, binary), name)
}

// script makes an executable that is localcloud under one of its plugin names.
func (t Tools) script(path, plugin string) error {
	quote := func(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
	// A link to the user's own is replaced, not written through.
	return writeProgram(path, strings.NewReader(fmt.Sprintf("#!/bin/sh\n%s=%s exec %s plugin %s \"$@\"\n",
		state.Variable, quote(t.Home.String()), quote(t.Home.Executable()), plugin)))
}

// link makes path a symbolic link to target, in place of whatever was there.
func link(target, path string) error {
	return errors.Join(os.RemoveAll(path), os.Symlink(target, path))
}

func executable(path string) bool {
	found, err := exec.LookPath(path)
	return err == nil && found == path
}
