package image

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"immutable-infra/localcloud/internal/run"
)

// TraefikVersion is the release of Traefik that tools/traefik builds. It is also the image's tag.
const TraefikVersion = "v3.7.13"

//go:embed traefik/entrypoint.sh
var traefikEntrypoint []byte

// Layer is a set of files that an image adds to a root file system.
type Layer struct {
	Name  string
	Files []File
}

// Traefik returns the layer that turns Minbase into the Traefik image: the program and the upstream image's entrypoint.
func Traefik(program string) Layer {
	return Layer{Name: "traefik", Files: []File{
		{Path: "entrypoint.sh", Content: traefikEntrypoint, Executable: true},
		{Path: "usr/local/bin/traefik", Source: program, Executable: true},
	}}
}

// Layer builds a layer as a gzipped tar archive, unless the cache has a layer with the same content, and returns
// its path.
func (b Builder) Layer(ctx context.Context, layer Layer) (_ string, err error) {
	defer run.Wrap(&err, "image layer %s", layer.Name)
	sums := map[string]string{}
	for _, file := range layer.Files {
		if file.Source != "" {
			if sums[file.Path], err = HashFile(file.Source); err != nil {
				return "", err
			}
		}
	}
	hash, err := hashJSON(struct {
		Layer
		Sums map[string]string
	}{layer, sums})
	if err != nil {
		return "", err
	}
	target := filepath.Join(b.Home.Cache(), layer.Name+"-"+hash+".tar.gz")
	if _, err := os.Stat(target); !errors.Is(err, fs.ErrNotExist) {
		return target, err
	}
	temporary, err := os.CreateTemp(b.Home.Cache(), layer.Name+"-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(temporary.Name())
	compressed := gzip.NewWriter(temporary)
	err = writeArchive(ctx, compressed, layer.Files)
	if err = errors.Join(err, compressed.Close(), temporary.Close()); err != nil {
		return "", err
	}
	return target, os.Rename(temporary.Name(), target)
}

// hashJSON returns a short hash of a value's JSON encoding, in hexadecimal digits.
func hashJSON(value any) (string, error) {
	data, err := json.Marshal(value)
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8]), err
}

// HashFile returns the SHA-256 of a file's content, in hexadecimal digits.
func HashFile(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", fmt.Errorf("cannot read %s: %w", path, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// writeArchive writes a tar archive of files, reproducibly, unless ctx ends.
func writeArchive(ctx context.Context, out io.Writer, files []File) error {
	archive := tar.NewWriter(out)
	for _, file := range files {
		content, err := file.Content, ctx.Err()
		if err == nil && file.Source != "" {
			content, err = os.ReadFile(file.Source)
		}
		mode := int64(0o644)
		if file.Executable {
			mode = 0o755
		}
		if err == nil {
			err = archive.WriteHeader(&tar.Header{
				Name: file.Path, Mode: mode, Size: int64(len(content)), Format: tar.FormatGNU,
			})
		}
		if err == nil {
			_, err = archive.Write(content)
		}
		if err != nil {
			return fmt.Errorf("cannot add %s: %w", file.Path, err)
		}
	}
	return archive.Close()
}
