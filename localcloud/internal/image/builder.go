package image

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"immutable-infra/localcloud/internal/dockerd"
	"immutable-infra/localcloud/internal/run"
	"immutable-infra/localcloud/internal/state"
)

// trustedAuthority is a file from which Debian's ca-certificates adds a certificate authority.
const trustedAuthority = "/usr/local/share/ca-certificates/localcloud.crt"

// Builder builds archives in the cache of a home, and images from the archives.
type Builder struct {
	Home   state.Home
	Runner run.Runner
}

// Archive builds a recipe's root file system unless it is cached, and returns its path.
func (b Builder) Archive(ctx context.Context, recipe Recipe) (archive string, err error) {
	defer run.Wrap(&err, "image %s", recipe.Name)
	name, err := recipe.FileName()
	if err != nil {
		return "", err
	}
	archive = filepath.Join(b.Home.Cache(), name)
	if _, err := os.Stat(archive); !errors.Is(err, fs.ErrNotExist) {
		return archive, err
	}
	work, err := os.MkdirTemp(b.Home.Cache(), recipe.Name+"-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	overlay, target := filepath.Join(work, "files.tar"), filepath.Join(work, name)
	var files bytes.Buffer
	if err := writeArchive(ctx, &files, recipe.Files); err != nil {
		return "", err
	}
	if err := os.WriteFile(overlay, files.Bytes(), 0o600); err != nil {
		return "", err
	}
	mirrors, err := aptSources(ctx, b.Runner)
	if err != nil {
		return "", err
	}
	if _, err := b.Runner.Run(ctx, run.Command{
		Name: "mmdebstrap", Args: recipe.arguments(target, overlay, mirrors),
		Env: []string{"TMPDIR=" + work, "DEBIAN_FRONTEND=noninteractive"},
	}); err != nil {
		return "", err
	}
	return archive, os.Rename(target, archive)
}

// Import imports the recipe's image into the engine unless it is there already, and returns its tag.
func (b Builder) Import(ctx context.Context, docker dockerd.Docker, recipe Recipe) (string, error) {
	hash, err := recipe.Hash()
	if err != nil {
		return "", err
	}
	tag := "localcloud/" + recipe.Name + ":" + hash
	if b.hasImage(ctx, docker, tag) {
		return tag, nil
	}
	archive, err := b.Archive(ctx, recipe)
	if err != nil {
		return "", err
	}
	_, err = docker.Run(ctx, "import", "--change", "LABEL "+dockerd.Label+"="+b.Home.String(), archive, tag)
	return tag, err
}

// ImportTrusting is like Import for an image that also trusts a certificate authority. The cached archive does not
// contain the authority, so that it remains valid when the authority changes.
func (b Builder) ImportTrusting(
	ctx context.Context, docker dockerd.Docker, recipe Recipe, authorityFile string,
) (_ string, err error) {
	base, err := b.Import(ctx, docker, recipe)
	if err != nil {
		return "", err
	}
	sum, err := HashFile(authorityFile)
	if err != nil {
		return "", err
	}
	tag := base + "-" + sum[:8]
	if b.hasImage(ctx, docker, tag) {
		return tag, nil
	}
	defer run.Wrap(&err, "image %s: trust localcloud's certificate authority", recipe.Name)
	container, err := docker.Run(ctx, "create", "--network", "none", "--label", dockerd.Label+"="+b.Home.String(),
		base, "update-ca-certificates")
	if err != nil {
		return "", err
	}
	for _, command := range [][]string{
		{"cp", authorityFile, container + ":" + trustedAuthority},
		{"start", "--attach", container}, {"commit", container, tag},
	} {
		if err == nil {
			_, err = docker.Run(ctx, command...)
		}
	}
	return tag, errors.Join(err, docker.Remove(context.WithoutCancel(ctx), container))
}

func (b Builder) hasImage(ctx context.Context, docker dockerd.Docker, tag string) bool {
	_, err := docker.Run(ctx, "image", "inspect", "--format", "{{.Id}}", tag)
	return err == nil
}
