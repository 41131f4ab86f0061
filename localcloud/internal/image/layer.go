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
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// TraefikVersion is the release of Traefik that tools/traefik builds, and the
// tag of its image.
const TraefikVersion = "v3.7.13"

//go:embed traefik/entrypoint.sh
var traefikEntrypoint []byte

// Layer is what an image adds to a root file system.
type Layer struct {
	Name  string
	Files []File
	// Programs are executables of this machine, by their paths in the image,
	// which have no leading slash.
	Programs map[string]string
}

// Traefik is the layer that makes Minbase the image of Traefik: the program and
// what upstream's image starts it with.
func Traefik(program string) Layer {
	return Layer{
		Name:     "traefik",
		Files:    []File{{Path: "entrypoint.sh", Content: traefikEntrypoint, Executable: true}},
		Programs: map[string]string{"usr/local/bin/traefik": program},
	}
}

// Layer makes a layer, a gzipped tar archive, if the cache has none with the
// same content, and returns its path.
func (b Builder) Layer(ctx context.Context, layer Layer) (string, error) {
	path, err := b.layer(ctx, layer)
	if err != nil {
		return "", fmt.Errorf("image layer %s: %w", layer.Name, err)
	}
	return path, nil
}

func (b Builder) layer(ctx context.Context, layer Layer) (string, error) {
	hash, err := layer.hash(ctx)
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
	if err := errors.Join(layer.write(ctx, temporary), temporary.Close()); err != nil {
		return "", err
	}
	return target, os.Rename(temporary.Name(), target)
}

// hash names the layer's content.
func (l Layer) hash(ctx context.Context) (string, error) {
	sums := map[string]string{}
	for path, program := range l.Programs {
		var err error
		if sums[path], err = HashFile(ctx, program); err != nil {
			return "", err
		}
	}
	return hashJSON(struct {
		Files    []File
		Programs map[string]string
	}{l.Files, sums})
}

// hashJSON names a value.
func hashJSON(value any) (string, error) {
	data, err := json.Marshal(value)
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8]), err
}

// HashFile is the SHA-256 of a file's content, in hexadecimal digits.
func HashFile(ctx context.Context, path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, cancellable{ctx, file}); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// write writes the layer as a gzipped tar archive, the same for the same content.
func (l Layer) write(ctx context.Context, out io.Writer) error {
	compressed := gzip.NewWriter(out)
	archive := tar.NewWriter(compressed)
	if err := addFiles(archive, l.Files); err != nil {
		return err
	}
	for _, path := range slices.Sorted(maps.Keys(l.Programs)) {
		if err := addProgram(ctx, archive, path, l.Programs[path]); err != nil {
			return fmt.Errorf("add %s: %w", path, err)
		}
	}
	return errors.Join(archive.Close(), compressed.Close())
}

func addProgram(ctx context.Context, archive *tar.Writer, path, program string) error {
	file, err := os.Open(program)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	header := &tar.Header{Name: path, Mode: 0o755, Size: info.Size(), Format: tar.FormatGNU}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(archive, cancellable{ctx, file})
	return err
}

// cancellable is a reader that ends with a context.
type cancellable struct {
	ctx    context.Context
	reader io.Reader
}

func (c cancellable) Read(buffer []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.reader.Read(buffer)
}
