package toolchain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/sync/errgroup"

	"immutable-infra/localcloud/internal/home"
	"immutable-infra/localcloud/internal/run"
)

const (
	downloadTimeout = 20 * time.Second
	// refusalLifetime is how long a failed download is not tried again.
	refusalLifetime = 24 * time.Hour
)

// plugin is one resource plugin and the Go module of its SDK, whose version it has.
type plugin struct {
	name, module string
	// replaceable plugins are localcloud's own only where the real one cannot be had.
	replaceable bool
}

func plugins() []plugin {
	return []plugin{
		{"aws", "github.com/pulumi/pulumi-aws/sdk/v6", false},
		{"tls", "github.com/pulumi/pulumi-tls/sdk/v5", true},
		{"command", "github.com/pulumi/pulumi-command/sdk", true},
	}
}

// Plugins installs the resource plugins, in the versions of the SDKs that the
// program requires. It needs Pulumi's CLI in place.
func (t Tools) Plugins(ctx context.Context) error {
	versions, err := t.requiredVersions()
	if err != nil {
		return fmt.Errorf("install plugins: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range plugins() {
		version, found := versions[p.module]
		if !found {
			return fmt.Errorf("install plugins: go.mod of the program does not require %s", p.module)
		}
		group.Go(func() error {
			if err := t.plugin(ctx, p, version); err != nil {
				return fmt.Errorf("install plugin %s %s: %w", p.name, version, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func (t Tools) plugin(ctx context.Context, p plugin, version string) error {
	directory := "resource-" + p.name + "-" + version
	binary := "pulumi-resource-" + p.name
	target := filepath.Join(t.Home.Pulumi(), "plugins", directory)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if p.replaceable {
		switch real, err := t.realPlugin(ctx, p, version, directory, binary); {
		case err != nil:
			return err
		case real == target:
			return nil
		case real != "":
			return link(real, target)
		}
	}
	if err := os.RemoveAll(target); err != nil {
		return err
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	return t.script(filepath.Join(target, binary), p.name)
}

// realPlugin finds or downloads the real plugin and returns its directory; ""
// means that it cannot be had.
func (t Tools) realPlugin(ctx context.Context, p plugin, version, directory, binary string) (string, error) {
	user, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	cached := filepath.Join(t.Home.Cache(), "plugins", directory)
	for _, candidate := range []string{filepath.Join(user, ".pulumi", "plugins", directory), cached} {
		if executable(filepath.Join(candidate, binary)) {
			return candidate, nil
		}
	}
	refusal := filepath.Join(t.Home.Cache(), directory+".refused")
	if info, err := os.Stat(refusal); err == nil && time.Since(info.ModTime()) < refusalLifetime {
		return "", nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	download, cancel := context.WithTimeout(ctx, downloadTimeout)
	defer cancel()
	_, err = t.Runner.Run(download, run.Command{
		Name: filepath.Join(t.Home.Bin(), "pulumi"),
		Args: []string{"plugin", "install", "resource", p.name, version},
		// Into the cache, so that it outlives `down`.
		Env: []string{"PULUMI_HOME=" + t.Home.Cache(), "PULUMI_SKIP_UPDATE_CHECK=true"},
	})
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err == nil && executable(filepath.Join(cached, binary)) {
		return cached, nil
	}
	reason := "installed, but not found afterwards"
	if err != nil {
		reason = err.Error()
	}
	return "", home.WriteFile(refusal, []byte(reason+"\n"), 0o644)
}

// requiredVersions reads the program's go.mod.
func (t Tools) requiredVersions() (map[string]string, error) {
	path := filepath.Join(t.Root, "go.mod")
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	file, err := modfile.ParseLax(path, data, nil)
	if err != nil {
		return nil, err
	}
	versions := map[string]string{}
	for _, require := range file.Require {
		versions[require.Mod.Path] = require.Mod.Version
	}
	return versions, nil
}
