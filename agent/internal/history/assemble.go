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

// assemble builds Prometheus' data directory from the restored files, replaces the current one, and returns the
// state from which a backup continues.
//
// Blocks are hard links, because nothing writes to them. Prometheus repairs and removes files of
// the write-ahead log, so these are copies.
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
			return nil, fmt.Errorf("cannot copy %s: %w", file.Path, err)
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
	if err := r.chown(dir); err != nil {
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
	sent.setHash(hasher)
	return sent, copied.Close()
}

// makeDir creates a directory that Prometheus' user owns, unless it exists.
func (r restoring) makeDir(name string) error {
	err := r.dir.Mkdir(name, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return r.chown(name)
}

// chown gives a directory and its contents to the owner of the restore's directory, if this process runs as root.
func (r restoring) chown(name string) error {
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

// swap replaces the data directory with the new one, and removes the old one.
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
		return fmt.Errorf("cannot replace %s: %w", filepath.Join(r.Dir, DataDir), err)
	}
	if err := r.sync(); err != nil {
		return err
	}
	// The name now refers to the old one.
	return r.dir.RemoveAll(name)
}

// sync makes the written files survive a power loss, with one system call for all of them: there may be thousands.
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
