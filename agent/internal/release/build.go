package release

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/server/manifest"
)

// parallelTransfers is how many files are transferred at a time: enough to hide S3's latency, few enough for a
// server of 1 GB that serves the site at the same time.
const parallelTransfers = 8

// Build is an unfinished release, under a temporary name next to the finished ones.
type Build struct {
	releases   *Releases
	manifest   manifest.Manifest
	path       string
	bytes      budget
	downloaded atomic.Int64
}

// NewBuild begins the release that list describes. The caller must call Discard in the end, whether the build was
// finished or not.
func (r *Releases) NewBuild(list manifest.Manifest, limits manifest.Limits) (*Build, error) {
	path, err := os.MkdirTemp(filepath.Join(r.dir, releasesName), list.ID()+temporaryMark+"*")
	if err != nil {
		return nil, fmt.Errorf("cannot begin the release: %w", err)
	}
	return &Build{
		releases: r,
		manifest: list,
		path:     path,
		bytes:    budget{limit: limits.Bytes},
	}, nil
}

// Fill adds every file of the manifest to the build: as a hard link from the first of the releases in from that
// has the file with the right bytes, or else from the bucket. It checks each file's SHA-256 in both cases. The
// first error ends the other transfers. If the downloads would leave less than reserve bytes of the disk free,
// Fill fails before the first of them.
//
// Links instead of copies: a new post then takes one page on the disk instead of the whole site. This is safe
// because nothing ever writes to a file of a finished release.
func (b *Build) Fill(ctx context.Context, content *bucket.Bucket, from []string, reserve int64) error {
	var names []string
	for name := range b.manifest.Files() {
		names = append(names, name)
	}
	var mutex sync.Mutex
	var missing []string
	err := each(ctx, names, func(_ context.Context, name string) error {
		linked, err := b.linkFrom(from, name)
		if err == nil && !linked {
			mutex.Lock()
			defer mutex.Unlock()
			missing = append(missing, name)
		}
		return err
	})
	if err != nil || len(missing) == 0 {
		return err
	}
	size, err := totalSize(ctx, content, missing)
	if err != nil {
		return err
	}
	if err := b.bytes.fits(size); err != nil {
		return err
	}
	if err := checkSpace(b.releases.dir, size, reserve); err != nil {
		return err
	}
	slices.Sort(missing)
	return each(ctx, missing, func(transfers context.Context, name string) error {
		return b.download(transfers, content, name)
	})
}

// each runs a job for each file, several at a time, until one fails.
func each(ctx context.Context, names []string, job func(ctx context.Context, name string) error) error {
	group, jobs := errgroup.WithContext(ctx)
	group.SetLimit(parallelTransfers)
	for _, name := range names {
		if jobs.Err() != nil {
			break
		}
		group.Go(func() error { return job(jobs, name) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	// If ctx ends between two jobs, none fails.
	return ctx.Err()
}

func (b *Build) target(name string) string {
	return filepath.Join(b.path, siteName, name)
}

// linkFrom creates the file's directory, and links the file from the first of the releases that has
// it with the right bytes.
func (b *Build) linkFrom(from []string, name string) (linked bool, err error) {
	target := b.target(name)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return false, err
	}
	digest, _ := b.manifest.Digest(name)
	for _, id := range from {
		linked, err := b.link(filepath.Join(b.releases.path(id), siteName, name), target, digest)
		if err != nil || linked {
			return linked, err
		}
	}
	return false, nil
}

// link gives source, a file of another release, the additional name target if it has the digest. It is not an
// error if source differs, is missing, or cannot be linked or read: the file is then downloaded.
func (b *Build) link(source, target string, digest manifest.Digest) (bool, error) {
	stat, err := os.Lstat(source)
	if err != nil || !stat.Mode().IsRegular() {
		return false, nil
	}
	got, size, err := manifest.DigestFile(source)
	if err != nil || got != digest {
		return false, nil
	}
	if err := os.Link(source, target); err != nil {
		return false, nil
	}
	return true, b.bytes.spend(size)
}

// download writes the bucket's copy of the file to its target.
func (b *Build) download(ctx context.Context, content *bucket.Bucket, name string) error {
	target, key := b.target(name), siteName+"/"+name
	digest, _ := b.manifest.Digest(name)
	object, err := content.Get(ctx, key, "")
	if errors.Is(err, bucket.ErrNotFound) {
		return fmt.Errorf("%w: the build is not complete in the bucket: run pulumi up, unless one is running", err)
	}
	if err != nil {
		return err
	}
	defer object.Body.Close()
	file, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	hash := sha256.New()
	size, err := io.Copy(io.MultiWriter(&b.bytes, hash, file), object.Body)
	if err != nil {
		return fmt.Errorf("cannot download %s: %w", content.URL(key), err)
	}
	if got := manifest.Digest(hash.Sum(nil)); got != digest {
		return fmt.Errorf("%s has SHA-256 %s, the manifest says %s: run pulumi up, unless one is running", content.URL(key),
			got, digest)
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("cannot sync %s: %w", target, err)
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("cannot close %s: %w", target, err)
	}
	b.downloaded.Add(size)
	return nil
}

// Finish writes nginx's configuration, the manifest and release.json, syncs the whole build to the disk, and gives
// it its final name. It does not switch to the release. It rejects a build whose rules cannot be parsed.
func (b *Build) Finish() (Info, error) {
	info := Info{Release: b.manifest.ID(), Files: b.manifest.Len(), Bytes: b.bytes.spent.Load()}
	text, err := json.Marshal(info)
	if err != nil {
		return Info{}, fmt.Errorf("cannot finish the release: %w", err)
	}
	for _, step := range []func() error{
		b.writeNGINX,
		func() error { return writeSynced(filepath.Join(b.path, infoName), append(text, '\n')) },
		func() error { return writeSynced(filepath.Join(b.path, manifest.Name), b.manifest.Text()) },
		// MkdirTemp creates the directory for its owner only, but web servers run as other users.
		func() error { return os.Chmod(b.path, 0o755) },
		func() error { return syncDirs(b.path) },
		func() error { return b.releases.install(b.path, info.Release) },
	} {
		if err := step(); err != nil {
			return Info{}, fmt.Errorf("cannot finish release %s: %w", info.Release, err)
		}
	}
	return info, nil
}

func (b *Build) writeNGINX() error {
	files, err := b.releases.nginxFiles(b.manifest.ID(), filepath.Join(b.path, siteName))
	if err != nil {
		return err
	}
	dir := filepath.Join(b.path, nginxName)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := writeSynced(filepath.Join(dir, name), []byte(text)); err != nil {
			return err
		}
	}
	return nil
}

func (b *Build) Downloaded() int64 {
	return b.downloaded.Load()
}

// Discard removes the files under the build's temporary name: an unfinished build, or the damaged
// release that a finished one replaced.
func (b *Build) Discard() error {
	if err := os.RemoveAll(b.path); err != nil {
		return fmt.Errorf("cannot discard an unfinished release: %w", err)
	}
	return nil
}

// syncDir makes the names in a directory survive a power loss.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("cannot sync %s: %w", path, err)
	}
	return nil
}

// syncDirs calls syncDir for a directory and all directories below it.
func syncDirs(root string) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		return syncDir(path)
	})
}

// writeSynced creates a file and syncs it to the disk.
func writeSynced(path string, text []byte) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.Write(text); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	return file.Close()
}
