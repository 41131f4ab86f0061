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
	"syscall"

	"github.com/pkg/sftp"
	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi-go-provider/infer/types"
)

// CopyToRemote is command:remote:CopyToRemote: a text, or a file or directory of
// this machine, copied to a host over SFTP when the resource is created and when the
// content or the destination changed. Deleting the resource leaves the copy.
type CopyToRemote struct{}

// CopyToRemoteArgs are the inputs, named as in the Go SDK
// pulumi-command/sdk@v1.2.1.
type CopyToRemoteArgs struct {
	// Connection is secret as a whole.
	Connection *Connection `pulumi:"connection" provider:"secret"`
	// Source is a file asset, string asset or file archive. An archive such as a
	// .tgz is copied as it is.
	Source types.AssetOrArchive `pulumi:"source"`
	// RemotePath is where the copy goes; copyPath says how.
	RemotePath string `pulumi:"remotePath"`
	// Triggers are any values; a change of one replaces the resource.
	Triggers *[]any `pulumi:"triggers,optional" provider:"replaceOnChanges"`
}

type CopyToRemoteState struct{ CopyToRemoteArgs }

// Annotate gives the type the token under which the SDK registers it.
func (c *CopyToRemote) Annotate(a infer.Annotator) { a.SetToken("remote", "CopyToRemote") }

// Check refuses a source that is neither a text nor has a path.
func (*CopyToRemote) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[CopyToRemoteArgs], error) {
	args, failures, err := infer.DefaultCheck[CopyToRemoteArgs](ctx, req.NewInputs)
	if err != nil {
		return infer.CheckResponse[CopyToRemoteArgs]{}, fmt.Errorf("read the inputs of %s: %w", req.Name, err)
	}
	fail := func(property, reason string) {
		failures = append(failures, p.CheckFailure{Property: property, Reason: reason})
	}
	// An unknown source is refused as well, as by the real plugin.
	switch asset, archive := args.Source.Asset, args.Source.Archive; {
	case asset == nil && archive == nil:
		fail("asset", "either asset or archive must be set")
	case asset != nil && !asset.IsPath() && !asset.IsText():
		fail("asset", "asset must be a path-based file asset or a text asset")
	case archive != nil && !archive.IsPath():
		fail("archive", "archive must be a path to a file or directory")
	}
	return infer.CheckResponse[CopyToRemoteArgs]{Inputs: args, Failures: failures}, nil
}

// Create copies. A preview does not connect.
func (*CopyToRemote) Create(
	ctx context.Context, req infer.CreateRequest[CopyToRemoteArgs],
) (infer.CreateResponse[CopyToRemoteState], error) {
	state := CopyToRemoteState{req.Inputs}
	if req.DryRun {
		return infer.CreateResponse[CopyToRemoteState]{Output: state}, nil
	}
	id, err := newID("")
	if err == nil {
		err = req.Inputs.copy(ctx)
	}
	return infer.CreateResponse[CopyToRemoteState]{ID: id, Output: state}, err
}

// Update copies if the content or the destination changed. A preview does not
// connect.
func (*CopyToRemote) Update(
	ctx context.Context, req infer.UpdateRequest[CopyToRemoteArgs, CopyToRemoteState],
) (response infer.UpdateResponse[CopyToRemoteState], err error) {
	changed := req.Inputs.hash() != req.State.hash() || req.Inputs.RemotePath != req.State.RemotePath
	if !req.DryRun && changed {
		err = req.Inputs.copy(ctx)
	}
	return infer.UpdateResponse[CopyToRemoteState]{Output: CopyToRemoteState{req.Inputs}}, err
}

func (a CopyToRemoteArgs) hash() string {
	switch {
	case a.Source.Asset != nil:
		return a.Source.Asset.Hash
	case a.Source.Archive != nil:
		return a.Source.Archive.Hash
	}
	return ""
}

// copy copies the source to the host. As in the real plugin, a copy that has
// begun is not ended by ctx.
func (a CopyToRemoteArgs) copy(ctx context.Context) error {
	connection, err := a.Connection.dial(ctx)
	if err != nil {
		return err
	}
	// An error of closing them adds nothing to the copy's own.
	defer func() { _ = connection.Close() }()
	client, err := sftp.NewClient(connection, sftp.UseConcurrentWrites(true))
	if err != nil {
		return fmt.Errorf("start SFTP: %w", err)
	}
	defer func() { _ = client.Close() }()
	there := remoteFiles{client}
	switch asset, archive := a.Source.Asset, a.Source.Archive; {
	case archive != nil:
		return there.copyPath(archive.Path, a.RemotePath)
	case asset.IsText():
		return there.copyText(asset.Text, a.RemotePath)
	default:
		return there.copyPath(asset.Path, a.RemotePath)
	}
}

type remoteFiles struct{ *sftp.Client }

// copyText makes target a file with the text.
func (r remoteFiles) copyText(text, target string) error {
	directory, err := r.isDirectory(target)
	if err == nil && directory {
		err = fmt.Errorf("remote path %s is a directory: a text asset needs the path of a file", target)
	}
	if err == nil {
		err = r.makeDirectory(path.Dir(target))
	}
	if err == nil {
		err = r.write(strings.NewReader(text), target)
	}
	return err
}

// copyPath copies the file or directory source to target, and makes the parents
// of target:
//
//	source | target is a directory | target does not exist | target is a file
//	-------|-----------------------|-----------------------|-----------------
//	dir    | target/dir            | target/dir            | error
//	dir/   | into target           | into target           | error
//	file   | target/file           | target                | overwritten
func (r remoteFiles) copyPath(source, target string) error {
	info, err := os.Stat(source)
	if err != nil {
		return fmt.Errorf("read the source: %w", err)
	}
	directory, err := r.isDirectory(target)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		if directory {
			target = path.Join(target, filepath.Base(source))
		}
		if err := r.makeDirectory(path.Dir(target)); err != nil {
			return err
		}
		return r.copyFile(source, target)
	}
	if err := r.makeDirectory(target); err != nil {
		return err
	}
	if !strings.HasSuffix(source, "/") {
		target = path.Join(target, filepath.Base(source))
	}
	return fs.WalkDir(os.DirFS(source), ".", func(relative string, entry fs.DirEntry, err error) error {
		switch remote := path.Join(target, relative); {
		case err != nil:
			return fmt.Errorf("read the source: %w", err)
		case entry.IsDir():
			return r.makeDirectory(remote)
		default:
			return r.copyFile(filepath.Join(source, relative), remote)
		}
	})
}

func (r remoteFiles) isDirectory(remote string) (bool, error) {
	info, err := r.Stat(remote)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("stat the remote path %s: %w", remote, err)
	}
	return info.IsDir(), nil
}

// makeDirectory makes a directory with its parents, or uses the one that is there.
func (r remoteFiles) makeDirectory(remote string) error {
	err := r.MkdirAll(remote)
	switch {
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("remote path %s exists but is not a directory", remote)
	case err != nil:
		return fmt.Errorf("make the remote directory %s: %w", remote, err)
	}
	return nil
}

func (r remoteFiles) copyFile(local, remote string) error {
	source, err := os.Open(local)
	if err != nil {
		return fmt.Errorf("open the source: %w", err)
	}
	return errors.Join(r.write(source, remote), source.Close())
}

func (r remoteFiles) write(content io.Reader, remote string) error {
	target, err := r.Create(remote)
	if err == nil {
		_, err = target.ReadFrom(content)
		err = errors.Join(err, target.Close())
	}
	if err != nil {
		return fmt.Errorf("write the remote file %s: %w", remote, err)
	}
	return nil
}
