package commandplugin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/pkg/sftp"
)

// copy copies the source to the host. When ctx ends, the connection is closed.
func (a CopyToRemoteArgs) copy(ctx context.Context) error {
	connection, err := a.Connection.dial(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() {
		// What is under way fails with the closed connection.
		_ = connection.Close()
	})
	defer stop()
	err = func() error {
		client, err := sftp.NewClient(connection, sftp.UseConcurrentWrites(true))
		if err != nil {
			return fmt.Errorf("start SFTP: %w", err)
		}
		return errors.Join(sftpCopy(client, a.sourcePath(), a.RemotePath), client.Close())
	}()
	if ctx.Err() != nil {
		return fmt.Errorf("copy %s to %s: %w", a.sourcePath(), a.RemotePath, ctx.Err())
	}
	return errors.Join(err, ignoreClosed(connection.Close()))
}

// sftpCopy copies the file or directory source to target:
//
//	source | target is a directory | target does not exist | target is a file
//	-------|-----------------------|-----------------------|-----------------
//	dir    | target/dir            | target/dir            | error
//	dir/   | into target           | into target           | error
//	file   | target/file           | target                | overwritten
//
// The parent of target must exist.
func sftpCopy(client *sftp.Client, source, target string) error {
	info, err := os.Stat(source)
	if err != nil {
		return fmt.Errorf("read the source: %w", err)
	}
	if !info.IsDir() {
		remote, err := remoteStat(client, target)
		if err != nil {
			return err
		}
		if remote != nil && remote.IsDir() {
			target = path.Join(target, filepath.Base(source))
		}
		return copyFile(client, source, target)
	}

	if err := makeDirectory(client, target); err != nil {
		return err
	}
	if !strings.HasSuffix(source, "/") {
		target = path.Join(target, filepath.Base(source))
	}
	return fs.WalkDir(os.DirFS(source), ".", func(relative string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("read the source: %w", err)
		}
		remote := path.Join(target, relative)
		if entry.IsDir() {
			return makeDirectory(client, remote)
		}
		return copyFile(client, filepath.Join(source, relative), remote)
	})
}

// remoteStat is nil where nothing has the path.
func remoteStat(client *sftp.Client, remote string) (fs.FileInfo, error) {
	info, err := client.Stat(remote)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("stat the remote path %s: %w", remote, err)
	}
	return info, nil
}

// makeDirectory makes one directory, or uses the one that is there.
func makeDirectory(client *sftp.Client, remote string) error {
	info, err := remoteStat(client, remote)
	if err != nil {
		return err
	}
	if info != nil && !info.IsDir() {
		return fmt.Errorf("remote path %s exists but is not a directory", remote)
	}
	if info != nil {
		return nil
	}
	if err := client.Mkdir(remote); err != nil {
		return fmt.Errorf("make the remote directory %s: %w", remote, err)
	}
	return nil
}

func copyFile(client *sftp.Client, local, remote string) error {
	source, err := os.Open(local)
	if err != nil {
		return fmt.Errorf("open the source: %w", err)
	}
	target, err := client.Create(remote)
	if err != nil {
		return errors.Join(fmt.Errorf("create the remote file %s: %w", remote, err), source.Close())
	}
	if _, err := target.ReadFrom(source); err != nil {
		return errors.Join(fmt.Errorf("copy %s to the remote file %s: %w", local, remote, err),
			target.Close(), source.Close())
	}
	if err := errors.Join(target.Close(), source.Close()); err != nil {
		return fmt.Errorf("finish the remote file %s: %w", remote, err)
	}
	return nil
}
