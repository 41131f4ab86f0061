package publish

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"immutable-infra/internal/awsclient"
	"immutable-infra/server/manifest"
)

// prefix is the prefix of the keys of a site's files.
const prefix = "site/"

// Sync brings the bucket to the state of the last build, and returns its manifest. It uploads first the files, then
// the manifest by which servers verify them, and finally deletes old objects. After an error, it does not begin the
// next step, and any later Sync completes the rest. If the build is not on this machine, Sync builds first.
func Sync(ctx context.Context, s Settings, bucket *Bucket) (manifest.Manifest, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// List the bucket while reading the build, because both take about the same time.
	listing := make(chan listed, 1)
	go func() {
		objects, err := bucket.list(ctx, s.lastKeys())
		listing <- listed{objects, err}
	}()
	list, tags, err := s.lastBuild()
	if err != nil {
		fmt.Fprintf(s.Log, "Building again: %v\n", err)
		if _, err := Build(ctx, s); err != nil {
			return manifest.Manifest{}, err
		}
		if list, tags, err = s.lastBuild(); err != nil {
			return manifest.Manifest{}, fmt.Errorf("the build changed while it was read: %w", err)
		}
	}
	want := make(map[string]string, list.Len()+1)
	var keys []string
	i := 0
	for name := range list.Files() {
		want[prefix+name] = tags[i]
		keys = append(keys, prefix+name)
		i++
	}
	result := <-listing
	if result.err != nil {
		return manifest.Manifest{}, result.err
	}
	have := result.objects

	upload := slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return have[key] == want[key] })
	_, err = concurrently(awsclient.MaxRequests, upload, func(key string) (struct{}, error) {
		name := strings.TrimPrefix(key, prefix)
		digest, _ := list.Digest(name)
		return struct{}{}, bucket.put(ctx, key, mime.TypeByExtension(path.Ext(name)), digest,
			func() (io.ReadCloser, int64, error) {
				return openFile(filepath.Join(s.siteCopy(), filepath.FromSlash(name)))
			})
	})
	if err != nil {
		return manifest.Manifest{}, err
	}

	if text := list.Text(); have[manifest.Name] != etag(text) {
		err := bucket.put(ctx, manifest.Name, "text/plain; charset=utf-8", sha256.Sum256(text),
			func() (io.ReadCloser, int64, error) {
				return io.NopCloser(bytes.NewReader(text)), int64(len(text)), nil
			})
		if err != nil {
			return manifest.Manifest{}, err
		}
	}

	var obsolete []string
	for key := range have {
		if _, ok := want[key]; !ok && strings.HasPrefix(key, prefix) {
			obsolete = append(obsolete, key)
		}
	}
	_, err = concurrently(awsclient.MaxRequests, obsolete,
		func(key string) (struct{}, error) { return struct{}{}, bucket.delete(ctx, key) })
	if err != nil {
		return manifest.Manifest{}, err
	}
	fmt.Fprintf(s.Log, "Release %s: %d files uploaded, %d unchanged, %d deleted.\n", list.ID(), len(upload),
		list.Len()-len(upload), len(obsolete))
	return list, nil
}

// listed is the result of listing the bucket.
type listed struct {
	objects map[string]string
	err     error
}

// lastKeys returns the keys of the last build's files, sorted; none if the build is not on this machine.
func (s Settings) lastKeys() (keys []string) {
	text, err := os.ReadFile(s.manifestFile())
	if err != nil {
		return nil
	}
	list, err := manifest.Parse(text, manifest.DefaultLimits())
	if err != nil {
		return nil
	}
	for name := range list.Files() {
		keys = append(keys, prefix+name)
	}
	return keys
}

// lastBuild returns the build in the work directory, and the ETags of its files in the manifest's order. It fails if
// the build is of another source, or if a file is missing or has changed.
func (s Settings) lastBuild() (manifest.Manifest, []string, error) {
	text, err := os.ReadFile(s.manifestFile())
	if errors.Is(err, fs.ErrNotExist) {
		return manifest.Manifest{}, nil, errors.New("there is no build on this machine")
	}
	if err != nil {
		return manifest.Manifest{}, nil, fmt.Errorf("cannot read the manifest of the build: %w", err)
	}
	if origin, err := os.ReadFile(s.originFile()); err != nil || string(origin) != s.origin() {
		return manifest.Manifest{}, nil, errors.New("the build on this machine is of another source")
	}
	list, err := manifest.Parse(text, manifest.DefaultLimits())
	if err != nil {
		return manifest.Manifest{}, nil, err
	}
	var names []string
	for name := range list.Files() {
		names = append(names, name)
	}
	tags, err := inParallel(names, func(name string) (string, error) {
		file, err := os.Open(filepath.Join(s.siteCopy(), filepath.FromSlash(name)))
		if err != nil {
			return "", err
		}
		defer file.Close()
		digest, tag := sha256.New(), md5.New()
		if _, err := io.Copy(io.MultiWriter(digest, tag), file); err != nil {
			return "", err
		}
		if expected, _ := list.Digest(name); manifest.Digest(digest.Sum(nil)) != expected {
			return "", fmt.Errorf("%s has changed since it was built", name)
		}
		return hex.EncodeToString(tag.Sum(nil)), nil
	})
	return list, tags, err
}

// openFile opens a file and returns its size in bytes.
func openFile(path string) (io.ReadCloser, int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}
