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
func (r restoring) assemble(manifest backup) (*state, error) {
	const dir = DataDir + ".new"
	if err := r.dir.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := r.dir.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	known := &state{Prepared: true, Catalogue: manifest.Catalogue, Files: map[string]sentFile{}, Blocks: manifest.blocks}
	for _, file := range manifest.files() {
		sent, err := r.copy(file, filepath.Join(dir, file.Path))
		if err != nil {
			return nil, fmt.Errorf("cannot make %s: %w", file.Path, err)
		}
		known.Files[file.Path] = sent
	}
	for _, block := range manifest.blocks {
		for _, file := range block.Files {
			name := filepath.Join(block.ULID, file.Path)
			if err := r.dir.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
				return nil, err
			}
			if err := r.dir.Link(filepath.Join(restoredDir, name), filepath.Join(dir, name)); err != nil {
				return nil, err
			}
		}
	}
	if err := r.giveAway(dir); err != nil {
		return nil, err
	}
	if err := r.sync(); err != nil {
		return nil, err
	}
	return known, r.swap(dir)
}

func (r restoring) copy(file File, to string) (sentFile, error) {
	if err := r.dir.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return sentFile{}, err
	}
	from, err := r.dir.Open(filepath.Join(restoredDir, file.Path))
	if err != nil {
		return sentFile{}, err
	}
	defer from.Close()
	copied, err := r.dir.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
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
func (r restoring) makeDir(name string) error {
	err := r.dir.Mkdir(name, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return r.giveAway(name)
}

// giveAway makes the owner of the directory of all this that of a directory and of all
// in it, if this process is root's.
func (r restoring) giveAway(name string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	stat, err := r.dir.Stat(".")
	if err != nil {
		return err
	}
	owner, ok := stat.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return fs.WalkDir(r.dir.FS(), name, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return r.dir.Lchown(name, int(owner.Uid), int(owner.Gid))
	})
}

// swap puts the new data directory in the place of the old one, which is removed.
func (r restoring) swap(name string) error {
	parent, err := r.dir.Open(".")
	if err != nil {
		return err
	}
	defer parent.Close()
	fd := int(parent.Fd())
	err = unix.Renameat2(fd, name, fd, DataDir, unix.RENAME_EXCHANGE)
	if errors.Is(err, fs.ErrNotExist) {
		err = r.dir.Rename(name, DataDir)
	}
	if err != nil {
		return fmt.Errorf("cannot put %s in its place: %w", filepath.Join(r.Dir, DataDir), err)
	}
	if err := r.sync(); err != nil {
		return err
	}
	// By its name, it is the old one now.
	return r.dir.RemoveAll(name)
}

// sync makes what was written survive a loss of power. There may be thousands of files, of which
// each would be waited for.
func (r restoring) sync() error {
	file, err := r.dir.Open(".")
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.Syncfs(int(file.Fd())); err != nil {
		return fmt.Errorf("cannot sync %s: %w", r.Dir, err)
	}
	return nil
}
