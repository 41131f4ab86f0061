package commandplugin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/pkg/sftp"
	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi-go-provider/infer/types"
)

// CopyToRemote is command:remote:CopyToRemote, which copies a file from this machine to a host over SFTP when the
// resource is created and when the content or the destination changes. Deleting the resource does not delete the copy.
type CopyToRemote struct{}

// CopyToRemoteArgs holds the inputs, named as in the Go SDK pulumi-command/sdk@v1.2.1.
type CopyToRemoteArgs struct {
	Connection *Connection          `pulumi:"connection" provider:"secret"` // secret as a whole
	Source     types.AssetOrArchive `pulumi:"source"`                       // a file asset
	RemotePath string               `pulumi:"remotePath"`                   // the destination; see copyFile
	// Triggers holds arbitrary values. A change of any of them replaces the resource.
	Triggers *[]any `pulumi:"triggers,optional" provider:"replaceOnChanges"`
}

type CopyToRemoteState struct{ CopyToRemoteArgs }

func (c *CopyToRemote) Annotate(a infer.Annotator) { a.SetToken("remote", "CopyToRemote") }

// Check rejects a source that is not a file. The real plugin also accepts strings and directories.
func (*CopyToRemote) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[CopyToRemoteArgs], error) {
	args, failures, err := infer.DefaultCheck[CopyToRemoteArgs](ctx, req.NewInputs)
	if err != nil {
		return infer.CheckResponse[CopyToRemoteArgs]{}, fmt.Errorf("cannot read the inputs of %s: %w", req.Name, err)
	}
	fail := func(property, reason string) {
		failures = append(failures, p.CheckFailure{Property: property, Reason: reason})
	}
	// Like the real plugin, Check also rejects an unknown source.
	switch asset, archive := args.Source.Asset, args.Source.Archive; {
	case archive != nil:
		fail("archive", "localcloud does not support archives: write a file asset")
	case asset == nil:
		fail("asset", "asset must be set")
	case !asset.IsPath():
		fail("asset", "localcloud supports only file assets with a path")
	}
	return infer.CheckResponse[CopyToRemoteArgs]{Inputs: args, Failures: failures}, nil
}

// Create copies the source. A preview does not connect.
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

// Update copies the source if its content or the destination has changed. A preview does not connect.
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
	if a.Source.Asset == nil {
		return ""
	}
	return a.Source.Asset.Hash
}

// copy copies the source to the host. As in the real plugin, canceling ctx does not stop a copy that has begun.
func (a CopyToRemoteArgs) copy(ctx context.Context) error {
	connection, err := a.Connection.dial(ctx)
	if err != nil {
		return err
	}
	// Errors from closing the connection and the client add nothing to the error of the copy.
	defer func() { _ = connection.Close() }()
	client, err := sftp.NewClient(connection, sftp.UseConcurrentWrites(true))
	if err != nil {
		return fmt.Errorf("cannot start SFTP: %w", err)
	}
	defer func() { _ = client.Close() }()
	return copyFile(client, a.Source.Asset.Path, a.RemotePath)
}

// copyFile copies the file source to target, or into target if that is a directory. It creates the parent directories
// of target and overwrites an existing file.
func copyFile(client *sftp.Client, source, target string) (err error) {
	file, err := os.Open(source)
	if err != nil {
		return fmt.Errorf("cannot open the source: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := client.Stat(target)
	switch {
	case err == nil && info.IsDir():
		target = path.Join(target, filepath.Base(source))
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("cannot stat the remote path %s: %w", target, err)
	}
	if err := client.MkdirAll(path.Dir(target)); err != nil {
		return fmt.Errorf("cannot create the remote directory %s: %w", path.Dir(target), err)
	}
	remote, err := client.Create(target)
	if err == nil {
		_, err = remote.ReadFrom(file)
		err = errors.Join(err, remote.Close())
	}
	if err != nil {
		return fmt.Errorf("cannot write the remote file %s: %w", target, err)
	}
	return nil
}
