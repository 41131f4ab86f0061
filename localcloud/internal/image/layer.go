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

// TraefikVersion is the release of Traefik that tools/traefik builds, and the tag of its image.
const TraefikVersion = "v3.7.13"

//go:embed traefik/entrypoint.sh
var traefikEntrypoint []byte

// Layer is what an image adds to a root file system.
type Layer struct {
	Name  string
	Files []File
}

// Traefik is the layer that makes Minbase the image of Traefik: the program and
// what upstream's image starts it with.
func Traefik(program string) Layer {
	return Layer{Name: "traefik", Files: []File{
		{Path: "entrypoint.sh", Content: traefikEntrypoint, Executable: true},
		{Path: "usr/local/bin/traefik", Source: program, Executable: true},
	}}
}

// Layer makes a layer, a gzipped tar archive, if the cache has none with the
// same content, and returns its path.
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

// hashJSON names a value.
func hashJSON(value any) (string, error) {
	data, err := json.Marshal(value)
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8]), err
}

// HashFile is the SHA-256 of a file's content, in hexadecimal digits.
func HashFile(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// writeArchive writes files as a tar archive, the same for the same content, unless ctx ends.
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
			return fmt.Errorf("add %s: %w", file.Path, err)
		}
	}
	return archive.Close()
}
