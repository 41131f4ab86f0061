package commandplugin

import (
	"context"
	"fmt"

	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi-go-provider/infer/types"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// LocalCommand is command:local:Command: commands that run on this machine
// when the resource is created, updated and deleted.
type LocalCommand struct{}

// LocalCommandArgs are the inputs.
type LocalCommandArgs struct {
	CommandArgs
	// Interpreter is the program, and its arguments, that gets the command as
	// its last argument: /bin/sh -c by default.
	Interpreter *[]string `pulumi:"interpreter,optional"`
	// Dir is the working directory: the plugin's own by default.
	Dir *string `pulumi:"dir,optional"`
	// AssetPaths are globs, relative to Dir, of the files returned as Assets;
	// one that begins with ! excludes.
	AssetPaths *[]string `pulumi:"assetPaths,optional"`
	// ArchivePaths are globs, as AssetPaths, of the files returned as Archive.
	ArchivePaths *[]string `pulumi:"archivePaths,optional"`
}

// LocalCommandState is the inputs and the outputs.
type LocalCommandState struct {
	LocalCommandArgs
	CommandOutputs
	// Assets are the files that AssetPaths names, by path relative to Dir.
	Assets *map[string]*types.AssetOrArchive `pulumi:"assets,optional"`
	// Archive holds the files that ArchivePaths names.
	Archive *resource.Archive `pulumi:"archive,optional"`
}

// Annotate gives the type the token under which the SDK registers it.
func (c *LocalCommand) Annotate(a infer.Annotator) {
	a.SetToken("local", "Command")
}

// Create runs the create command, if there is one. A preview runs nothing.
func (*LocalCommand) Create(
	ctx context.Context, req infer.CreateRequest[LocalCommandArgs],
) (infer.CreateResponse[LocalCommandState], error) {
	state := LocalCommandState{LocalCommandArgs: req.Inputs}
	if req.DryRun {
		return infer.CreateResponse[LocalCommandState]{Output: state}, nil
	}
	id, err := newID(req.Name)
	if err != nil {
		return infer.CreateResponse[LocalCommandState]{}, err
	}
	if err := state.run(ctx, state.Create); err != nil {
		return infer.CreateResponse[LocalCommandState]{}, err
	}
	return infer.CreateResponse[LocalCommandState]{ID: id, Output: state}, nil
}

// Update runs the update command, or the create command where there is none. A
// preview runs nothing.
func (*LocalCommand) Update(
	ctx context.Context, req infer.UpdateRequest[LocalCommandArgs, LocalCommandState],
) (infer.UpdateResponse[LocalCommandState], error) {
	state := req.State
	state.LocalCommandArgs = req.Inputs
	if req.DryRun {
		return infer.UpdateResponse[LocalCommandState]{Output: state}, nil
	}
	if err := state.run(ctx, state.onUpdate()); err != nil {
		return infer.UpdateResponse[LocalCommandState]{}, err
	}
	return infer.UpdateResponse[LocalCommandState]{Output: state}, nil
}

// Delete runs the delete command, if there is one.
func (*LocalCommand) Delete(
	ctx context.Context, req infer.DeleteRequest[LocalCommandState],
) (infer.DeleteResponse, error) {
	return infer.DeleteResponse{}, req.State.run(ctx, req.State.Delete)
}

// newID is an id that no other resource of the same name has.
func newID(name string) (string, error) {
	id, err := resource.NewUniqueHex(name, 8, 0)
	if err != nil {
		return "", fmt.Errorf("make an id for %s: %w", name, err)
	}
	return id, nil
}
