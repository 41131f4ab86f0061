package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"immutable-infra/localcloud/internal/engine"
	"immutable-infra/localcloud/internal/home"
	"immutable-infra/localcloud/internal/run"
)

// trustedAuthority is where Debian's ca-certificates looks for further authorities.
const trustedAuthority = "/usr/local/share/ca-certificates/localcloud.crt"

// Builder builds archives into the cache of a home and images from them.
type Builder struct {
	Home   home.Home
	Runner run.Runner
}

// Archive builds a recipe's root file system, if the cache has none, and
// returns its path.
func (b Builder) Archive(ctx context.Context, recipe Recipe) (string, error) {
	name, err := recipe.FileName()
	if err != nil {
		return "", err
	}
	archive := filepath.Join(b.Home.Cache(), name)
	if _, err := os.Stat(archive); err == nil {
		return archive, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("image %s: %w", recipe.Name, err)
	}
	work, err := os.MkdirTemp(b.Home.Cache(), recipe.Name+"-*")
	if err != nil {
		return "", fmt.Errorf("image %s: %w", recipe.Name, err)
	}
	defer os.RemoveAll(work)
	overlay, err := recipe.overlay()
	if err != nil {
		return "", err
	}
	overlayFile := filepath.Join(work, "files.tar")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		return "", fmt.Errorf("image %s: %w", recipe.Name, err)
	}
	mirrors, err := sources(ctx, b.Runner)
	if err != nil {
		return "", fmt.Errorf("image %s: %w", recipe.Name, err)
	}
	target := filepath.Join(work, name)
	if _, err := b.Runner.Run(ctx, run.Command{
		Name: "mmdebstrap", Args: recipe.arguments(target, overlayFile, mirrors),
		Env: []string{"TMPDIR=" + work, "DEBIAN_FRONTEND=noninteractive"},
	}); err != nil {
		return "", fmt.Errorf("image %s: %w", recipe.Name, err)
	}
	if err := os.Rename(target, archive); err != nil {
		return "", fmt.Errorf("image %s: %w", recipe.Name, err)
	}
	return archive, nil
}

// Import makes sure that the engine has the recipe's image and returns its
// tag.
func (b Builder) Import(ctx context.Context, docker engine.Docker, recipe Recipe) (string, error) {
	hash, err := recipe.Hash()
	if err != nil {
		return "", err
	}
	tag := "localcloud/" + recipe.Name + ":" + hash
	if b.has(ctx, docker, tag) {
		return tag, nil
	}
	archive, err := b.Archive(ctx, recipe)
	if err != nil {
		return "", err
	}
	if _, err := docker.Run(ctx, "import", "--change", "LABEL "+engine.Label+"="+b.Home.String(), archive, tag); err != nil {
		return "", fmt.Errorf("image %s: %w", recipe.Name, err)
	}
	return tag, nil
}

// ImportTrusting is Import of an image that trusts a certificate authority.
// The archive in the cache does not hold it, so that it outlives the authority.
func (b Builder) ImportTrusting(ctx context.Context, docker engine.Docker, recipe Recipe, authorityFile string) (string, error) {
	base, err := b.Import(ctx, docker, recipe)
	if err != nil {
		return "", err
	}
	authority, err := os.ReadFile(authorityFile)
	if err != nil {
		return "", fmt.Errorf("image %s: %w", recipe.Name, err)
	}
	sum := sha256.Sum256(authority)
	tag := base + "-" + hex.EncodeToString(sum[:4])
	if b.has(ctx, docker, tag) {
		return tag, nil
	}
	container, err := docker.Run(ctx, "create", "--network", "none", "--label", engine.Label+"="+b.Home.String(), base, "update-ca-certificates")
	if err != nil {
		return "", fmt.Errorf("image %s: %w", recipe.Name, err)
	}
	err = func() error {
		if _, err := docker.Run(ctx, "cp", authorityFile, container+":"+trustedAuthority); err != nil {
			return err
		}
		if _, err := docker.Run(ctx, "start", "--attach", container); err != nil {
			return err
		}
		_, err := docker.Run(ctx, "commit", container, tag)
		return err
	}()
	if removeErr := docker.Remove(context.WithoutCancel(ctx), container); err == nil {
		err = removeErr
	}
	if err != nil {
		return "", fmt.Errorf("image %s: trust localcloud's certificate authority: %w", recipe.Name, err)
	}
	return tag, nil
}

func (b Builder) has(ctx context.Context, docker engine.Docker, tag string) bool {
	_, err := docker.Run(ctx, "image", "inspect", "--format", "{{.Id}}", tag)
	return err == nil
}
