// Package atomicfile replaces files atomically, and reads them. Both are safe for root in a directory that another user
// owns: no link in it is followed.
package atomicfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Write replaces a file atomically, even across a power failure. The temporary file's name contains ".tmp-". If root
// calls it, the owner of the directory becomes the owner of the file. It fails if the directory is a link.
func Write(path string, text []byte, mode fs.FileMode) error {
	dir, err := OpenDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	stat, err := dir.Stat(".")
	if err != nil {
		return err
	}
	name := filepath.Base(path)
	temporary := name + ".tmp-" + rand.Text()
	file, err := dir.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer dir.Remove(temporary)
	_, err = file.Write(text)
	err = errors.Join(err, file.Chmod(mode))
	if owner, ok := stat.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		err = errors.Join(err, file.Chown(int(owner.Uid), int(owner.Gid)))
	}
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return dir.Rename(temporary, name)
}

// OpenDir opens a directory. It fails if path is a link.
func OpenDir(path string) (*os.Root, error) {
	dir, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	opened, err := dir.Stat(".")
	if err == nil {
		var named fs.FileInfo
		if named, err = os.Lstat(path); err == nil && !os.SameFile(opened, named) {
			err = fmt.Errorf("refusing %s: it is a link", path)
		}
	}
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return dir, nil
}

// Read reads a regular file of at most limit bytes. A link, a pipe or a device is an error.
func Read(path string, limit int64) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	stat, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !stat.Mode().IsRegular() || stat.Size() > limit {
		return nil, fmt.Errorf("refusing %s: it is not a regular file of at most %d bytes", path, limit)
	}
	return io.ReadAll(io.LimitReader(file, limit))
}
