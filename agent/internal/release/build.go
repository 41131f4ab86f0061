package release

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/server/manifest"
)

// parallelTransfers is how many files are on their way at once: enough to hide
// S3's latency, few enough for a server of 1 GB that is serving meanwhile.
const parallelTransfers = 8

// Build is a release in the making, under a temporary name beside the finished
// ones.
type Build struct {
	releases   *Releases
	manifest   manifest.Manifest
	path       string
	bytes      budget
	downloaded atomic.Int64
}

// NewBuild begins the release that list describes. Discard it in the end
// whether or not it was finished.
func (r *Releases) NewBuild(list manifest.Manifest, limits manifest.Limits) (*Build, error) {
	path, err := os.MkdirTemp(filepath.Join(r.dir, releasesName), list.ID()+temporaryMark+"*")
	if err != nil {
		return nil, fmt.Errorf("begin release: %w", err)
	}
	return &Build{
		releases: r,
		manifest: list,
		path:     path,
		bytes:    budget{limit: limits.Bytes},
	}, nil
}

// Fill brings every file of the manifest into the build: by a hard link from
// the first of the releases in from that has it with the right bytes, else
// from the bucket. Each file's SHA-256 is checked either way. The first error
// ends the others.
//
// Links rather than copies: a new post then costs the disk one page and not
// the whole site again, and nothing ever writes to a finished release's file.
func (b *Build) Fill(ctx context.Context, content *bucket.Bucket, from []string) error {
	group, transfers := errgroup.WithContext(ctx)
	group.SetLimit(parallelTransfers)
	for name, digest := range b.manifest.Files() {
		if transfers.Err() != nil {
			break
		}
		group.Go(func() error {
			target := filepath.Join(b.path, siteName, name)
			if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
				return err
			}
			for _, id := range from {
				linked, err := b.link(filepath.Join(b.releases.path(id), siteName, name), target, digest)
				if err != nil || linked {
					return err
				}
			}
			return b.download(transfers, content, name, target, digest)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	// No transfer fails when ctx ends between two of them.
	return ctx.Err()
}

// link gives source, a file of another release, the name target as well, if
// it has the digest. That it has not, or is missing, or cannot be linked or
// read, is no error: the file is then downloaded.
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

// download writes the bucket's copy of the file to target.
func (b *Build) download(ctx context.Context, content *bucket.Bucket, name, target string, digest manifest.Digest) error {
	key := siteName + "/" + name
	object, err := content.Get(ctx, key, "")
	if errors.Is(err, bucket.ErrNotFound) {
		return fmt.Errorf("%w: the build is not complete in the bucket (a sync under way?)", err)
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
		return fmt.Errorf("download %s: %w", content.URL(key), err)
	}
	if got := manifest.Digest(hash.Sum(nil)); got != digest {
		return fmt.Errorf("%s has SHA-256 %s, the manifest says %s (a sync under way?)", content.URL(key), got, digest)
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", target, err)
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("close %s: %w", target, err)
	}
	b.downloaded.Add(size)
	return nil
}

// Finish writes the manifest and release.json, waits until the whole build is
// on the disk, and gives it its final name. It is not switched to.
func (b *Build) Finish() (Info, error) {
	info := Info{Release: b.manifest.ID(), Files: b.manifest.Len(), Bytes: b.bytes.spent.Load()}
	text, err := json.Marshal(info)
	if err != nil {
		return Info{}, fmt.Errorf("finish release: %w", err)
	}
	if err := writeSynced(filepath.Join(b.path, infoName), append(text, '\n')); err != nil {
		return Info{}, fmt.Errorf("finish release: %w", err)
	}
	if err := writeSynced(filepath.Join(b.path, manifest.Name), b.manifest.Text()); err != nil {
		return Info{}, fmt.Errorf("finish release: %w", err)
	}
	// MkdirTemp made it for the owner alone; web servers run as others.
	if err := os.Chmod(b.path, 0o755); err != nil {
		return Info{}, fmt.Errorf("finish release: %w", err)
	}
	if err := syncDirs(b.path); err != nil {
		return Info{}, fmt.Errorf("finish release: %w", err)
	}
	if err := b.releases.install(b.path, info.Release); err != nil {
		return Info{}, fmt.Errorf("finish release: %w", err)
	}
	return info, nil
}

// Downloaded is how many bytes came from the bucket.
func (b *Build) Downloaded() int64 {
	return b.downloaded.Load()
}

// Discard removes what is under the build's temporary name: an unfinished
// build, or the unsound release that a finished one took the place of.
func (b *Build) Discard() error {
	if err := os.RemoveAll(b.path); err != nil {
		return fmt.Errorf("discard unfinished release: %w", err)
	}
	return nil
}
