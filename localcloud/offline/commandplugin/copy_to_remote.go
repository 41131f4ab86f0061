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

// CopyToRemote is command:remote:CopyToRemote: a file of this machine, copied to a host
// over SFTP when the resource is created and when the content or the destination
// changed. Deleting the resource leaves the copy.
type CopyToRemote struct{}

// CopyToRemoteArgs are the inputs, named as in the Go SDK pulumi-command/sdk@v1.2.1.
type CopyToRemoteArgs struct {
	Connection *Connection          `pulumi:"connection" provider:"secret"` // secret as a whole
	Source     types.AssetOrArchive `pulumi:"source"`                       // a file asset
	RemotePath string               `pulumi:"remotePath"`                   // where the copy goes: see copyFile
	// Triggers are any values; a change of one replaces the resource.
	Triggers *[]any `pulumi:"triggers,optional" provider:"replaceOnChanges"`
}

type CopyToRemoteState struct{ CopyToRemoteArgs }

func (c *CopyToRemote) Annotate(a infer.Annotator) { a.SetToken("remote", "CopyToRemote") }

// Check refuses a source that is not a file. The real plugin also takes texts and directories.
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
	case archive != nil:
		fail("archive", "localcloud does not support archives: write a file asset")
	case asset == nil:
		fail("asset", "asset must be set")
	case !asset.IsPath():
		fail("asset", "localcloud supports path-based file assets only")
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

// Update copies if the content or the destination changed. A preview does not connect.
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
	return copyFile(client, a.Source.Asset.Path, a.RemotePath)
}

// copyFile copies the file source to target, or into target if that is a directory. It
// makes the parents of target, and overwrites a file.
func copyFile(client *sftp.Client, source, target string) (err error) {
	file, err := os.Open(source)
	if err != nil {
		return fmt.Errorf("open the source: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := client.Stat(target)
	switch {
	case err == nil && info.IsDir():
		target = path.Join(target, filepath.Base(source))
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("stat the remote path %s: %w", target, err)
	}
	if err := client.MkdirAll(path.Dir(target)); err != nil {
		return fmt.Errorf("make the remote directory %s: %w", path.Dir(target), err)
	}
	remote, err := client.Create(target)
	if err == nil {
		_, err = remote.ReadFrom(file)
		err = errors.Join(err, remote.Close())
	}
	if err != nil {
		return fmt.Errorf("write the remote file %s: %w", target, err)
	}
	return nil
}
