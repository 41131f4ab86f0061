package commandplugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/pkg/sftp"
)

// copy copies the source to the host. As in the real plugin, a copy that has
// begun is not ended by ctx.
func (a CopyToRemoteArgs) copy(ctx context.Context) error {
	connection, err := a.Connection.dial(ctx)
	if err != nil {
		return err
	}
	// What closing them says adds nothing to the copy's own error.
	defer func() { _ = connection.Close() }()
	client, err := sftp.NewClient(connection, sftp.UseConcurrentWrites(true))
	if err != nil {
		return fmt.Errorf("start SFTP: %w", err)
	}
	defer func() { _ = client.Close() }()
	if a.isText() {
		return copyText(client, a.Source.Asset.Text, a.RemotePath)
	}
	return sftpCopy(client, a.sourcePath(), a.RemotePath)
}

// copyText makes target a file with the text.
func copyText(client *sftp.Client, text, target string) error {
	remote, err := remoteStat(client, target)
	if err != nil {
		return err
	}
	if remote != nil && remote.IsDir() {
		return fmt.Errorf("remote path %s is a directory: a text asset needs the path of a file", target)
	}
	if err := makeParent(client, target); err != nil {
		return err
	}
	return writeFile(client, strings.NewReader(text), target)
}

// sftpCopy copies the file or directory source to target, and makes the parents
// of target:
//
//	source | target is a directory | target does not exist | target is a file
//	-------|-----------------------|-----------------------|-----------------
//	dir    | target/dir            | target/dir            | error
//	dir/   | into target           | into target           | error
//	file   | target/file           | target                | overwritten
func sftpCopy(client *sftp.Client, source, target string) error {
	info, err := os.Stat(source)
	if err != nil {
		return fmt.Errorf("read the source: %w", err)
	}
	remote, err := remoteStat(client, target)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		if remote != nil && remote.IsDir() {
			target = path.Join(target, filepath.Base(source))
		} else if err := makeParent(client, target); err != nil {
			return err
		}
		return copyFile(client, source, target)
	}

	if err := makeParent(client, target); err != nil {
		return err
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

// makeParent makes the directories in which target is to be.
func makeParent(client *sftp.Client, target string) error {
	if err := client.MkdirAll(path.Dir(target)); err != nil {
		return fmt.Errorf("make the parent directories of %s: %w", target, err)
	}
	return nil
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
	return errors.Join(writeFile(client, source, remote), source.Close())
}

func writeFile(client *sftp.Client, content io.Reader, remote string) error {
	target, err := client.Create(remote)
	if err != nil {
		return fmt.Errorf("create the remote file %s: %w", remote, err)
	}
	if _, err := target.ReadFrom(content); err != nil {
		return errors.Join(fmt.Errorf("write the remote file %s: %w", remote, err), target.Close())
	}
	if err := target.Close(); err != nil {
		return fmt.Errorf("finish the remote file %s: %w", remote, err)
	}
	return nil
}
