package history

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// assemble makes Prometheus' data directory of what was fetched, in the place of the
// one that was there, and returns what a backup has to know of it.
//
// Blocks are links, since nobody writes to them. Prometheus repairs and removes files
// of the write-ahead log, so that these are copies.
func (r Restore) assemble(manifest backup) (*state, error) {
	dir := r.path(DataDir + ".new")
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	known := &state{Prepared: true, Catalogue: manifest.Catalogue, Files: map[string]sentFile{}, Blocks: manifest.blocks}
	for _, file := range manifest.files() {
		sent, err := r.copy(file, filepath.Join(dir, file.Path))
		if err != nil {
			return nil, fmt.Errorf("make %s: %w", file.Path, err)
		}
		known.Files[file.Path] = sent
	}
	for _, block := range manifest.blocks {
		for _, file := range block.Files {
			name := filepath.Join(block.ULID, file.Path)
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
				return nil, err
			}
			if err := os.Link(r.path(restoredDir, name), filepath.Join(dir, name)); err != nil {
				return nil, err
			}
		}
	}
	if err := r.giveAway(dir); err != nil {
		return nil, err
	}
	if err := syncFileSystem(dir); err != nil {
		return nil, err
	}
	return known, r.swap(dir)
}

// copy copies a file of the write-ahead log.
func (r Restore) copy(file File, to string) (sentFile, error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return sentFile{}, err
	}
	from, err := os.Open(r.path(restoredDir, file.Path))
	if err != nil {
		return sentFile{}, err
	}
	defer from.Close()
	copied, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return sentFile{}, err
	}
	defer copied.Close()
	hasher := sha256.New()
	if _, err := io.Copy(io.MultiWriter(copied, hasher), from); err != nil {
		return sentFile{}, err
	}
	stat, err := copied.Stat()
	if err != nil {
		return sentFile{}, err
	}
	sent := sentFile{File: file, Inode: inode(stat)}
	sent.note(hasher)
	return sent, copied.Close()
}

// makeDir makes a directory that belongs to Prometheus' user, if it is not there.
func (r Restore) makeDir(name string) error {
	err := os.Mkdir(r.path(name), 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return r.giveAway(r.path(name))
}

// giveAway makes the owner of the directory of all this that of a directory and of all
// in it, if this process is root's.
func (r Restore) giveAway(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	stat, err := os.Stat(r.Dir)
	if err != nil {
		return err
	}
	owner, ok := stat.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(name, int(owner.Uid), int(owner.Gid))
	})
}

// swap puts the new data directory in the place of the old one, which is removed.
func (r Restore) swap(dir string) error {
	data := r.path(DataDir)
	err := unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, data, unix.RENAME_EXCHANGE)
	if errors.Is(err, fs.ErrNotExist) {
		err = os.Rename(dir, data)
	}
	if err != nil {
		return fmt.Errorf("put %s in its place: %w", data, err)
	}
	if err := syncFileSystem(r.Dir); err != nil {
		return err
	}
	// By its name, it is the old one now.
	return os.RemoveAll(dir)
}

// syncFileSystem makes what was written on a directory's file system survive a loss of
// power. There may be thousands of files, of which each would be waited for.
func syncFileSystem(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.Syncfs(int(file.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
