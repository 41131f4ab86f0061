// Package release keeps the releases of the site on a server's disk and downloads new ones from the
// content bucket.
package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"immutable-infra/agent/internal/lockfile"
	"immutable-infra/server/atomicfile"
	"immutable-infra/server/manifest"
)

// Names below the directory of releases. See README.md for the layout.
const (
	currentName  = "current"
	releasesName = "releases"
	siteName     = "site"
	infoName     = "release.json"
	nginxName    = "nginx"
	etagName     = "manifest.etag"
	lockName     = ".lock"

	// temporaryMark is in the name of everything unfinished.
	temporaryMark = ".tmp-"
)

// Releases is the directory on a server that holds the releases of the site and `current`, the symlink to the one
// that is served. Nothing writes to the files of a release after it has got its final name. Releases can therefore
// share files by hard links, and readers need no locks.
type Releases struct {
	// dir is absolute where releases are written: nginx's configuration names it.
	dir string
	// hsts is the value of Strict-Transport-Security, or "" for none.
	hsts string
}

// OpenReleases opens dir, an absolute or relative path, and creates missing directories. Releases are served with
// hsts as the value of Strict-Transport-Security, or without the header if hsts is "".
func OpenReleases(dir, hsts string) (*Releases, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot find the directory of releases: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, releasesName), 0o755); err != nil {
		return nil, fmt.Errorf("cannot create the directory of releases: %w", err)
	}
	return &Releases{dir: dir, hsts: hsts}, nil
}

// ReadReleases opens dir read-only and creates nothing: for a caller that does not own the
// releases. Without such a directory there is no current release.
func ReadReleases(dir string) *Releases {
	return &Releases{dir: dir}
}

// Lock waits until no other process works on the releases, or until ctx ends, and returns the
// function that releases the lock. The kernel releases the lock of a process that dies.
func (r *Releases) Lock(ctx context.Context) (unlock func(), err error) {
	return lockfile.Lock(ctx, filepath.Join(r.dir, lockName))
}

// RemoveTemporary removes the unfinished files of a killed run. The caller must hold the lock.
func (r *Releases) RemoveTemporary() error {
	for _, dir := range []string{r.dir, filepath.Join(r.dir, releasesName)} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("cannot list unfinished releases: %w", err)
		}
		for _, entry := range entries {
			if !isTemporary(entry.Name()) {
				continue
			}
			if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
				return fmt.Errorf("cannot remove an unfinished release: %w", err)
			}
		}
	}
	return nil
}

// Current returns the id of the release that `current` points to, whether or not that release exists. It is empty
// when `current` is missing or points elsewhere.
func (r *Releases) Current() (string, error) {
	link := filepath.Join(r.dir, currentName)
	target, err := os.Readlink(link)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if errors.Is(err, syscall.EINVAL) {
		return "", fmt.Errorf("%s is not a symlink: move it out of the way", link)
	}
	if err != nil {
		return "", fmt.Errorf("cannot read the current release: %w", err)
	}
	dir, id := filepath.Split(target)
	if filepath.Clean(dir) != releasesName || !manifest.IsID(id) {
		return "", nil
	}
	return id, nil
}

// Exists reports whether a release of this id is on disk, damaged or not.
func (r *Releases) Exists(id string) (bool, error) {
	_, err := os.Lstat(r.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot check for release %s: %w", id, err)
	}
	return true, nil
}

// Check checks that a release is complete: its name is the id of its manifest, its site has every
// file of the manifest and no other, release.json has the same counts, and nginx's configuration is
// the one rendered from the site's rules. With contents, it also hashes each file. The error names
// the first problem.
func (r *Releases) Check(ctx context.Context, id string, contents bool, limits manifest.Limits) (Info, error) {
	text, err := os.ReadFile(filepath.Join(r.path(id), manifest.Name))
	if err != nil {
		return Info{}, fmt.Errorf("release %s: %w", id, err)
	}
	list, err := manifest.Parse(text, limits)
	if err != nil {
		return Info{}, fmt.Errorf("release %s: %w", id, err)
	}
	if list.ID() != id {
		return Info{}, fmt.Errorf("release %s: its %s is that of %s", id, manifest.Name, list.ID())
	}
	info := Info{Release: id}
	site := filepath.Join(r.path(id), siteName)
	err = filepath.WalkDir(site, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if entry.IsDir() {
			return nil
		}
		name, err := filepath.Rel(site, path)
		if err != nil {
			return err
		}
		want, listed := list.Digest(name)
		if !listed {
			return fmt.Errorf("%s is not in %s", path, manifest.Name)
		}
		size, err := checkFile(path, entry, want, contents)
		if err != nil {
			return err
		}
		info.Files++
		info.Bytes += size
		return nil
	})
	if err != nil {
		return Info{}, fmt.Errorf("release %s: %w", id, err)
	}
	if info.Files != list.Len() {
		return Info{}, fmt.Errorf("release %s: %d of %d files are missing", id, list.Len()-info.Files, list.Len())
	}
	written, err := readInfo(filepath.Join(r.path(id), infoName))
	if err != nil {
		return Info{}, fmt.Errorf("release %s: %w", id, err)
	}
	if written != info {
		return Info{}, fmt.Errorf("release %s: %s says %+v, the files say %+v", id, infoName, written, info)
	}
	if err := r.checkNGINX(id); err != nil {
		return Info{}, fmt.Errorf("release %s: %w", id, err)
	}
	return info, nil
}

// checkFile checks one file of a release and returns its size. With contents, its bytes must have
// the manifest's digest.
func checkFile(path string, entry fs.DirEntry, want manifest.Digest, contents bool) (int64, error) {
	if !entry.Type().IsRegular() {
		return 0, fmt.Errorf("%s is not a regular file", path)
	}
	if !contents {
		stat, err := entry.Info()
		if err != nil {
			return 0, err
		}
		return stat.Size(), nil
	}
	got, size, err := manifest.DigestFile(path)
	if err != nil {
		return 0, err
	}
	if got != want {
		return 0, fmt.Errorf("%s has SHA-256 %s, the manifest says %s", path, got, want)
	}
	return size, nil
}

// Switch makes `current` point to a release on disk. Readers see the old release or the new one, never neither:
// rename(2) replaces the symlink in one step.
func (r *Releases) Switch(id string) error {
	// The modification time of its directory records when a release was last in use.
	now := time.Now()
	if err := os.Chtimes(r.path(id), now, now); err != nil {
		return fmt.Errorf("cannot switch to release %s: %w", id, err)
	}
	link := filepath.Join(r.dir, currentName)
	temporary := link + temporaryMark + id
	// The target is relative, so that the link is valid where the directory is mounted under
	// another name, as in a container.
	if err := os.Symlink(filepath.Join(releasesName, id), temporary); err != nil {
		return fmt.Errorf("cannot switch to release %s: %w", id, err)
	}
	if err := os.Rename(temporary, link); err != nil {
		return fmt.Errorf("cannot switch to release %s: %w", id, errors.Join(err, os.Remove(temporary)))
	}
	if err := syncDir(r.dir); err != nil {
		return fmt.Errorf("cannot switch to release %s: %w", id, err)
	}
	return nil
}

// Prune removes all releases but the current one and the keep others that were in use most
// recently.
func (r *Releases) Prune(keep int) error {
	current, err := r.Current()
	if err != nil {
		return fmt.Errorf("cannot prune releases: %w", err)
	}
	entries, err := os.ReadDir(filepath.Join(r.dir, releasesName))
	if err != nil {
		return fmt.Errorf("cannot prune releases: %w", err)
	}
	type candidate struct {
		id   string
		used time.Time
	}
	var others []candidate
	for _, entry := range entries {
		if !manifest.IsID(entry.Name()) || entry.Name() == current {
			continue
		}
		stat, err := entry.Info()
		if err != nil {
			return fmt.Errorf("cannot prune releases: %w", err)
		}
		others = append(others, candidate{entry.Name(), stat.ModTime()})
	}
	slices.SortFunc(others, func(a, b candidate) int { return b.used.Compare(a.used) })
	for _, old := range others[min(keep, len(others)):] {
		// Renamed first: after a kill half way, the rest is clearly not a release.
		doomed := r.path(old.id) + temporaryMark + "pruned"
		if err := os.Rename(r.path(old.id), doomed); err != nil {
			return fmt.Errorf("cannot prune releases: %w", err)
		}
		if err := os.RemoveAll(doomed); err != nil {
			return fmt.Errorf("cannot prune releases: %w", err)
		}
	}
	return nil
}

// ETag returns the ETag of the release's manifest in the bucket, or "" if it is unknown. Losing it costs one
// download of the manifest.
func (r *Releases) ETag(id string) (string, error) {
	text, err := os.ReadFile(filepath.Join(r.dir, etagName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot read the ETag: %w", err)
	}
	release, etag, ok := strings.Cut(strings.TrimSuffix(string(text), "\n"), " ")
	if !ok || release != id {
		return "", nil
	}
	return etag, nil
}

// RememberETag records the ETag of a release's manifest for ETag.
func (r *Releases) RememberETag(id, etag string) error {
	if err := atomicfile.Write(filepath.Join(r.dir, etagName), []byte(id+" "+etag+"\n"), 0o644); err != nil {
		return fmt.Errorf("cannot save the ETag: %w", err)
	}
	return nil
}

// install gives a finished build its final name, and replaces a damaged release of that name.
func (r *Releases) install(temporary, id string) error {
	err := unix.Renameat2(unix.AT_FDCWD, temporary, unix.AT_FDCWD, r.path(id), unix.RENAME_NOREPLACE)
	if errors.Is(err, fs.ErrExist) {
		// Exchanged, so that `current` always points to a release. The damaged one now has the
		// temporary name, under which it is removed.
		err = unix.Renameat2(unix.AT_FDCWD, temporary, unix.AT_FDCWD, r.path(id), unix.RENAME_EXCHANGE)
	}
	if err != nil {
		return fmt.Errorf("cannot rename %s to %s: %w", temporary, id, err)
	}
	return syncDir(filepath.Join(r.dir, releasesName))
}

func (r *Releases) path(id string) string {
	return filepath.Join(r.dir, releasesName, id)
}

// isTemporary reports whether this package uses a name for unfinished files.
func isTemporary(name string) bool {
	finished, _, marked := strings.Cut(name, temporaryMark)
	return marked && (manifest.IsID(finished) || finished == currentName || finished == etagName)
}

// Info is the content of release.json in a release's directory.
type Info struct {
	Release string `json:"release"`
	Files   int    `json:"files"`
	Bytes   int64  `json:"bytes"`
}

func readInfo(path string) (Info, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Info{}, err
	}
	var info Info
	if err := json.Unmarshal(text, &info); err != nil {
		return Info{}, fmt.Errorf("cannot parse %s: %w", path, err)
	}
	return info, nil
}
