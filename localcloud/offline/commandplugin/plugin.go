// Package commandplugin is a resource plugin for the types of the Pulumi package command that the
// program uses. It stands in for pulumi-resource-command where that binary is not available, and
// behaves like version 1.2.1 of it. localcloud/README.md lists what differs.
package commandplugin

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"immutable-infra/localcloud/internal/run"
)

const (
	name    = "command"
	version = "1.2.1" // of the plugin which this one behaves like
)

// Serve runs the plugin until the engine ends it. It reads the engine's address from the command
// line and prints its own port on standard output, as every Pulumi plugin does.
func Serve(ctx context.Context) error {
	provider, err := provider()
	if err == nil {
		err = provider.Run(ctx, name, version)
	}
	if err != nil {
		return fmt.Errorf("serve the %s plugin: %w", name, err)
	}
	return nil
}

func provider() (p.Provider, error) {
	return infer.NewProviderBuilder().
		WithResources(infer.Resource(&LocalCommand{}), infer.Resource(&RemoteCommand{}), infer.Resource(&CopyToRemote{})).
		Build()
}

// CommandArgs are the inputs that local and remote commands share, named as in
// the Go SDK pulumi-command/sdk@v1.2.1.
type CommandArgs struct {
	// Create runs when the resource is created, and when an input changed and Update is unset.
	Create *string `pulumi:"create,optional"`
	// Update runs when an input other than Triggers changed.
	Update *string `pulumi:"update,optional"`
	// Delete runs when the resource is deleted or was replaced.
	Delete *string `pulumi:"delete,optional"`
	// Triggers are any values; a change of one replaces the resource.
	Triggers *[]any `pulumi:"triggers,optional" provider:"replaceOnChanges"`
	// Stdin is what the commands read from standard input.
	Stdin *string `pulumi:"stdin,optional"`
	// Environment is added to the environment of the commands.
	Environment map[string]string `pulumi:"environment,optional"`
	// AddPreviousOutputInEnv gives Update and Delete the last run's output as
	// PULUMI_COMMAND_STDOUT and PULUMI_COMMAND_STDERR. Unset means true.
	AddPreviousOutputInEnv *bool `pulumi:"addPreviousOutputInEnv,optional"`
	// Logging says which output the engine shows; both by default.
	Logging *Logging `pulumi:"logging,optional"`
}

// CommandOutputs are the outputs that local and remote commands share, without
// one newline at their end.
type CommandOutputs struct {
	Stdout string `pulumi:"stdout"`
	Stderr string `pulumi:"stderr"`
}

// previousOutput is what the environment of the next run says of the last.
func (a CommandArgs) previousOutput(last CommandOutputs) map[string]string {
	environment := map[string]string{}
	if a.AddPreviousOutputInEnv != nil && !*a.AddPreviousOutputInEnv {
		return environment
	}
	if last.Stdout != "" {
		environment["PULUMI_COMMAND_STDOUT"] = last.Stdout
	}
	if last.Stderr != "" {
		environment["PULUMI_COMMAND_STDERR"] = last.Stderr
	}
	return environment
}

// common are the arguments of a local or remote command, or of its state.
func (a *CommandArgs) common() *CommandArgs { return a }

// lifecycle runs the commands of a resource with the inputs A and the state S. A preview runs nothing.
type lifecycle[A, S any, P interface {
	*S
	// set takes over new inputs.
	set(A)
	common() *CommandArgs
	run(ctx context.Context, command *string) error
}] struct{}

func (lifecycle[A, S, P]) Create(ctx context.Context, req infer.CreateRequest[A]) (infer.CreateResponse[S], error) {
	var state S
	P(&state).set(req.Inputs)
	if req.DryRun {
		return infer.CreateResponse[S]{Output: state}, nil
	}
	id, err := newID(req.Name)
	if err == nil {
		err = P(&state).run(ctx, P(&state).common().Create)
	}
	return infer.CreateResponse[S]{ID: id, Output: state}, err
}

// Update runs the update command, or the create command where there is none.
func (lifecycle[A, S, P]) Update(ctx context.Context, req infer.UpdateRequest[A, S]) (infer.UpdateResponse[S], error) {
	state := P(&req.State)
	state.set(req.Inputs)
	command := cmp.Or(state.common().Update, state.common().Create)
	if req.DryRun {
		command = nil
	}
	err := state.run(ctx, command)
	return infer.UpdateResponse[S]{Output: req.State}, err
}

func (lifecycle[A, S, P]) Delete(ctx context.Context, req infer.DeleteRequest[S]) (infer.DeleteResponse, error) {
	state := P(&req.State)
	return infer.DeleteResponse{}, state.run(ctx, state.common().Delete)
}

// newID is an id that no other resource of the same name has.
func newID(name string) (string, error) { return resource.NewUniqueHex(name, 8, 0) }

// Logging says which output of a command the engine shows while it runs; unset means both. It does
// not affect the outputs stdout and stderr. Any other value than these shows nothing.
type Logging string

// The values of Logging.
const (
	LogStdout          Logging = "stdout"
	LogStderr          Logging = "stderr"
	LogStdoutAndStderr Logging = "stdoutAndStderr"
	LogNone            Logging = "none"
)

// output collects what a command writes and shows it to the engine, line by line, as Logging asks.
//
// As in the real plugin, a line that bufio.Scanner cannot hold (64 KiB with its
// newline) ends the showing, and nothing reads the pipe from then on: the
// command blocks at its next write, and the plugin waits for it without end.
type output struct {
	stdout, stderr io.Writer
	// both is the two streams in the order of their arrival, for the error of a failed command.
	both, stdoutContent, stderrContent bytes.Buffer

	lines *io.PipeWriter
	shown chan struct{} // closed when nothing is shown any more
}

func newOutput(ctx context.Context, logging *Logging) *output {
	reader, lines := io.Pipe()
	out := &output{lines: lines, shown: make(chan struct{})}
	both := &run.LockedWriter{Writer: &out.both}
	collect := func(content io.Writer, own Logging) io.Writer {
		if logging == nil || *logging == own || *logging == LogStdoutAndStderr {
			return io.MultiWriter(content, both, lines)
		}
		return io.MultiWriter(content, both)
	}
	out.stdout = collect(&out.stdoutContent, LogStdout)
	out.stderr = collect(&out.stderrContent, LogStderr)
	go func() {
		defer close(out.shown)
		for scanner := bufio.NewScanner(reader); scanner.Scan(); {
			p.GetLogger(ctx).InfoStatus(scanner.Text())
		}
	}()
	return out
}

// finish waits until all is shown of a command that ended with err. It returns the outputs, or an
// error in the real plugin's words.
func (o *output) finish(command string, err error) (CommandOutputs, error) {
	_ = o.lines.Close() // never fails
	<-o.shown
	if err != nil {
		return CommandOutputs{}, fmt.Errorf("%w: running %q:\n%s", err, command, o.both.String())
	}
	return CommandOutputs{
		Stdout: strings.TrimSuffix(o.stdoutContent.String(), "\n"),
		Stderr: strings.TrimSuffix(o.stderrContent.String(), "\n"),
	}, nil
}
