package toolchain

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

	"golang.org/x/mod/semver"

	"immutable-infra/localcloud/internal/home"
	"immutable-infra/localcloud/internal/image"
	"immutable-infra/localcloud/internal/run"
)

const (
	// PulumiVersion is the CLI that localcloud builds, and the oldest of the
	// user's that it takes.
	PulumiVersion = "v3.250.0"
	pulumiPackage = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
	s3Package     = "github.com/versity/versitygw/cmd/versitygw"
	acmePackage   = "github.com/letsencrypt/pebble/v2/cmd/pebble"
	proxyPackage  = "github.com/traefik/traefik/v3/cmd/traefik"
)

// Tools builds tools into the home's bin directory.
type Tools struct {
	Root   string // of the project
	Home   home.Home
	Runner run.Runner
}

// Pulumi makes bin/pulumi: a link to the user's CLI when that is new enough
// and has its Go language host beside it, and one built from its Go module
// otherwise, for which localcloud is the language host.
func (t Tools) Pulumi(ctx context.Context) error {
	binary, host := filepath.Join(t.Home.Bin(), "pulumi"), filepath.Join(t.Home.Bin(), "pulumi-language-go")
	if user := t.userPulumi(ctx); user != "" {
		if err := link(user, binary); err != nil {
			return err
		}
		return link(filepath.Join(filepath.Dir(user), "pulumi-language-go"), host)
	}
	if target, err := os.Readlink(binary); err == nil && target != "" {
		// The user's CLI of an earlier start is gone or too old.
		if err := os.Remove(binary); err != nil {
			return err
		}
	}
	if err := t.build(ctx, "pulumi", pulumiPackage, "-ldflags", "-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version="+PulumiVersion); err != nil {
		return err
	}
	return t.script(host, "language-go")
}

// S3 makes bin/versitygw, which runs in a container without libraries.
func (t Tools) S3(ctx context.Context) error {
	return t.build(ctx, "versitygw", s3Package)
}

// ACME makes bin/pebble, which runs in a container without libraries.
func (t Tools) ACME(ctx context.Context) error {
	return t.build(ctx, "pebble", acmePackage)
}

// Traefik makes bin/traefik, which servers get as an image. Without the tables
// of a debugger it is a third smaller.
func (t Tools) Traefik(ctx context.Context) error {
	if err := t.lego(ctx); err != nil {
		return err
	}
	version := strings.TrimPrefix(image.TraefikVersion, "v")
	return t.build(ctx, "traefik", proxyPackage, "-ldflags", "-s -w -X github.com/traefik/traefik/v3/pkg/version.Version="+version)
}

// userPulumi finds a suitable CLI outside the home; "" means none.
func (t Tools) userPulumi(ctx context.Context) string {
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		candidate := filepath.Join(dir, "pulumi")
		if dir == t.Home.Bin() || !executable(candidate) || !executable(filepath.Join(dir, "pulumi-language-go")) {
			continue
		}
		output, err := t.Runner.Run(ctx, run.Command{Name: candidate, Args: []string{"version"}, Env: []string{"PULUMI_SKIP_UPDATE_CHECK=true"}})
		if err == nil && semver.Compare(strings.TrimSpace(string(output)), PulumiVersion) >= 0 {
			return candidate
		}
	}
	return ""
}

// build builds one package of a tool's module, unless bin has what the same
// module files and the same Go made.
func (t Tools) build(ctx context.Context, tool, pkg string, flags ...string) error {
	module := filepath.Join(t.Root, "localcloud", "tools", tool)
	recipe := sha256.New()
	fmt.Fprintln(recipe, runtime.Version(), pkg, flags)
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return fmt.Errorf("build %s: %w", tool, err)
		}
		recipe.Write(content)
	}
	hash := hex.EncodeToString(recipe.Sum(nil))
	binary, stamp := filepath.Join(t.Home.Bin(), tool), filepath.Join(t.Home.Cache(), tool+".stamp")
	built, err := os.ReadFile(stamp)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("build %s: %w", tool, err)
	}
	if string(built) == hash && executable(binary) {
		return nil
	}
	args := append([]string{"build", "-C", module, "-o", binary}, flags...)
	if _, err := t.Runner.Run(ctx, run.Command{Name: "go", Args: append(args, pkg), Env: []string{"CGO_ENABLED=0"}}); err != nil {
		return fmt.Errorf("build %s: %w", tool, err)
	}
	return home.WriteFile(stamp, []byte(hash), 0o644)
}

// script makes an executable that is localcloud under one of its plugin names.
func (t Tools) script(path, plugin string) error {
	text := fmt.Sprintf("#!/bin/sh\n%s='%s' exec '%s' plugin %s \"$@\"\n", home.Variable,
		escape(t.Home.String()), escape(t.Home.Executable()), plugin)
	// A link to the user's own is replaced, not written through.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return home.WriteFile(path, []byte(text), 0o755)
}

// escape prepares a text for single quotes in a shell.
func escape(text string) string { return strings.ReplaceAll(text, "'", `'\''`) }

// link makes path a symbolic link to target, in place of whatever was there.
func link(target, path string) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return os.Symlink(target, path)
}

func executable(path string) bool {
	found, err := exec.LookPath(path)
	return err == nil && found == path
}
