package commandplugin

import (
	"context"
	"fmt"

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
	// RemotePath is where the copy goes; sftpCopy says how.
	RemotePath string `pulumi:"remotePath"`
	// Triggers are any values; a change of one replaces the resource.
	Triggers *[]any `pulumi:"triggers,optional" provider:"replaceOnChanges"`
}

// CopyToRemoteState is the inputs.
type CopyToRemoteState struct{ CopyToRemoteArgs }

// Annotate gives the type the token under which the SDK registers it.
func (c *CopyToRemote) Annotate(a infer.Annotator) {
	a.SetToken("remote", "CopyToRemote")
}

// Check refuses a source that is neither a text nor has a path.
func (*CopyToRemote) Check(
	ctx context.Context, req infer.CheckRequest,
) (infer.CheckResponse[CopyToRemoteArgs], error) {
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
	if err != nil {
		return infer.CreateResponse[CopyToRemoteState]{}, err
	}
	if err := req.Inputs.copy(ctx); err != nil {
		return infer.CreateResponse[CopyToRemoteState]{}, err
	}
	return infer.CreateResponse[CopyToRemoteState]{ID: id, Output: state}, nil
}

// Update copies if the content or the destination changed. A preview does not
// connect.
func (*CopyToRemote) Update(
	ctx context.Context, req infer.UpdateRequest[CopyToRemoteArgs, CopyToRemoteState],
) (infer.UpdateResponse[CopyToRemoteState], error) {
	changed := req.Inputs.hash() != req.State.hash() || req.Inputs.RemotePath != req.State.RemotePath
	if !req.DryRun && changed {
		if err := req.Inputs.copy(ctx); err != nil {
			return infer.UpdateResponse[CopyToRemoteState]{}, err
		}
	}
	return infer.UpdateResponse[CopyToRemoteState]{Output: CopyToRemoteState{req.Inputs}}, nil
}

// isText reports whether the source is a text.
func (a CopyToRemoteArgs) isText() bool { return a.Source.Asset != nil && a.Source.Asset.IsText() }

// sourcePath is the path of the source on this machine, empty where it has
// none.
func (a CopyToRemoteArgs) sourcePath() string {
	switch {
	case a.Source.Asset != nil:
		return a.Source.Asset.Path
	case a.Source.Archive != nil:
		return a.Source.Archive.Path
	default:
		return ""
	}
}

// hash is that of the source's content.
func (a CopyToRemoteArgs) hash() string {
	switch {
	case a.Source.Asset != nil:
		return a.Source.Asset.Hash
	case a.Source.Archive != nil:
		return a.Source.Archive.Hash
	default:
		return ""
	}
}
