package commandplugin

import (
	"context"

	"github.com/pulumi/pulumi-go-provider/infer"
)

// RemoteCommand is command:remote:Command: commands that run on a host, over
// SSH, when the resource is created, updated and deleted.
type RemoteCommand struct{}

// RemoteCommandArgs are the inputs.
type RemoteCommandArgs struct {
	CommandArgs
	// Connection is secret as a whole.
	Connection *Connection `pulumi:"connection" provider:"secret"`
}

// RemoteCommandState is the inputs and the outputs.
type RemoteCommandState struct {
	RemoteCommandArgs
	CommandOutputs
}

// Annotate gives the type the token under which the SDK registers it.
func (c *RemoteCommand) Annotate(a infer.Annotator) {
	a.SetToken("remote", "Command")
}

// Create runs the create command, if there is one. A preview does not connect.
func (*RemoteCommand) Create(
	ctx context.Context, req infer.CreateRequest[RemoteCommandArgs],
) (infer.CreateResponse[RemoteCommandState], error) {
	state := RemoteCommandState{RemoteCommandArgs: req.Inputs}
	if req.DryRun {
		return infer.CreateResponse[RemoteCommandState]{Output: state}, nil
	}
	id, err := newID(req.Name)
	if err != nil {
		return infer.CreateResponse[RemoteCommandState]{}, err
	}
	if err := state.run(ctx, state.Create); err != nil {
		return infer.CreateResponse[RemoteCommandState]{}, err
	}
	return infer.CreateResponse[RemoteCommandState]{ID: id, Output: state}, nil
}

// Update runs the update command, or the create command where there is none. A
// preview does not connect.
func (*RemoteCommand) Update(
	ctx context.Context, req infer.UpdateRequest[RemoteCommandArgs, RemoteCommandState],
) (infer.UpdateResponse[RemoteCommandState], error) {
	state := req.State
	state.RemoteCommandArgs = req.Inputs
	if req.DryRun {
		return infer.UpdateResponse[RemoteCommandState]{Output: state}, nil
	}
	if err := state.run(ctx, state.onUpdate()); err != nil {
		return infer.UpdateResponse[RemoteCommandState]{}, err
	}
	return infer.UpdateResponse[RemoteCommandState]{Output: state}, nil
}

// Delete runs the delete command, if there is one.
func (*RemoteCommand) Delete(
	ctx context.Context, req infer.DeleteRequest[RemoteCommandState],
) (infer.DeleteResponse, error) {
	return infer.DeleteResponse{}, req.State.run(ctx, req.State.Delete)
}
