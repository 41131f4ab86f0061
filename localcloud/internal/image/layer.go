package image

import (
	"archive/tar"
	"bytes"
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
	hash, err := layer.hash(ctx)
	if err != nil {
		return "", fmt.Errorf("image layer %s: %w", layer.Name, err)
	}
	target := filepath.Join(b.Home.Cache(), layer.Name+"-"+hash+".tar.gz")
	if _, err := os.Stat(target); err == nil {
		return target, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("image layer %s: %w", layer.Name, err)
	}
	temporary, err := os.CreateTemp(b.Home.Cache(), layer.Name+"-*")
	if err != nil {
		return "", fmt.Errorf("image layer %s: %w", layer.Name, err)
	}
	defer os.Remove(temporary.Name())
	err = errors.Join(layer.write(ctx, temporary), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), target)
	}
	if err != nil {
		return "", fmt.Errorf("image layer %s: %w", layer.Name, err)
	}
	return target, nil
}

// hash names the layer's content.
func (l Layer) hash(ctx context.Context) (string, error) {
	sums := map[string]string{}
	for path, program := range l.Programs {
		sum, err := HashFile(ctx, program)
		if err != nil {
			return "", err
		}
		sums[path] = sum
	}
	data, err := json.Marshal(struct {
		Files    []File
		Programs map[string]string
	}{l.Files, sums})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8]), nil
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
	for _, file := range l.Files {
		mode := int64(0o644)
		if file.Executable {
			mode = 0o755
		}
		if err := add(ctx, archive, file.Path, mode, int64(len(file.Content)), bytes.NewReader(file.Content)); err != nil {
			return err
		}
	}
	for _, path := range slices.Sorted(maps.Keys(l.Programs)) {
		if err := addProgram(ctx, archive, path, l.Programs[path]); err != nil {
			return err
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return compressed.Close()
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
	return add(ctx, archive, path, 0o755, info.Size(), file)
}

func add(ctx context.Context, archive *tar.Writer, path string, mode, size int64, content io.Reader) error {
	if err := archive.WriteHeader(&tar.Header{Name: path, Mode: mode, Size: size, Format: tar.FormatGNU}); err != nil {
		return fmt.Errorf("add %s: %w", path, err)
	}
	if _, err := io.Copy(archive, cancellable{ctx, content}); err != nil {
		return fmt.Errorf("add %s: %w", path, err)
	}
	return nil
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
