// Package commandplugin is a resource plugin for the types of the Pulumi package command that the program uses. It
// stands in for pulumi-resource-command if that binary is not available, and behaves like its version 1.2.1.
// localcloud/README.md lists the differences.
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
	version = "1.2.1" // the version of the real plugin that this one follows
)

// Serve runs the plugin until the engine stops it. Like every Pulumi plugin, it reads the engine's address from the
// command line and prints its own port on standard output.
func Serve(ctx context.Context) error {
	provider, err := provider()
	if err == nil {
		err = provider.Run(ctx, name, version)
	}
	if err != nil {
		return fmt.Errorf("cannot serve the %s plugin: %w", name, err)
	}
	return nil
}

func provider() (p.Provider, error) {
	return infer.NewProviderBuilder().
		WithResources(infer.Resource(&LocalCommand{}), infer.Resource(&RemoteCommand{}), infer.Resource(&CopyToRemote{})).
		Build()
}

// CommandArgs holds the inputs that local and remote commands share, named as in the Go SDK pulumi-command/sdk@v1.2.1.
type CommandArgs struct {
	// Create runs when the resource is created, and when an input changes and Update is unset.
	Create *string `pulumi:"create,optional"`
	// Update runs when an input other than Triggers changes.
	Update *string `pulumi:"update,optional"`
	// Delete runs when the resource is deleted or replaced.
	Delete *string `pulumi:"delete,optional"`
	// Triggers holds arbitrary values. A change of any of them replaces the resource.
	Triggers *[]any `pulumi:"triggers,optional" provider:"replaceOnChanges"`
	// Stdin is the standard input of the commands.
	Stdin *string `pulumi:"stdin,optional"`
	// Environment is added to the environment of the commands.
	Environment map[string]string `pulumi:"environment,optional"`
	// AddPreviousOutputInEnv passes the output of the last run to Update and Delete as PULUMI_COMMAND_STDOUT and
	// PULUMI_COMMAND_STDERR. Default: true.
	AddPreviousOutputInEnv *bool `pulumi:"addPreviousOutputInEnv,optional"`
	// Logging selects the output that the engine shows. Default: both.
	Logging *Logging `pulumi:"logging,optional"`
}

// CommandOutputs holds the outputs that local and remote commands share, each with one trailing newline removed.
type CommandOutputs struct {
	Stdout string `pulumi:"stdout"`
	Stderr string `pulumi:"stderr"`
}

// previousOutput returns the environment variables with the output of the last run.
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

// commandArgs returns the shared arguments of a local or remote command, or of its state.
func (a *CommandArgs) commandArgs() *CommandArgs { return a }

// lifecycle runs the commands of a resource with the inputs A and the state S. A preview runs no command.
type lifecycle[A, S any, P interface {
	*S
	// set replaces the inputs in the state.
	set(A)
	commandArgs() *CommandArgs
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
		err = P(&state).run(ctx, P(&state).commandArgs().Create)
	}
	return infer.CreateResponse[S]{ID: id, Output: state}, err
}

// Update runs the update command or, if that is unset, the create command.
func (lifecycle[A, S, P]) Update(ctx context.Context, req infer.UpdateRequest[A, S]) (infer.UpdateResponse[S], error) {
	state := P(&req.State)
	state.set(req.Inputs)
	command := cmp.Or(state.commandArgs().Update, state.commandArgs().Create)
	if req.DryRun {
		command = nil
	}
	err := state.run(ctx, command)
	return infer.UpdateResponse[S]{Output: req.State}, err
}

func (lifecycle[A, S, P]) Delete(ctx context.Context, req infer.DeleteRequest[S]) (infer.DeleteResponse, error) {
	state := P(&req.State)
	return infer.DeleteResponse{}, state.run(ctx, state.commandArgs().Delete)
}

// newID returns a unique ID that begins with name.
func newID(name string) (string, error) { return resource.NewUniqueHex(name, 8, 0) }

// Logging selects the output of a command that the engine shows while the command runs. Default: both. It does not
// affect the outputs stdout and stderr. Values other than the constants below show nothing.
type Logging string

const (
	LogStdout          Logging = "stdout"
	LogStderr          Logging = "stderr"
	LogStdoutAndStderr Logging = "stdoutAndStderr"
	LogNone            Logging = "none"
)

// output collects the output of a command and logs it to the engine, line by line, as Logging selects.
//
// As in the real plugin, a line that is too long for bufio.Scanner (64 KiB with its newline) stops the logging. Nothing
// reads the pipe from then on: the command blocks at its next write, and the plugin waits for it forever.
type output struct {
	stdout, stderr io.Writer
	// combined holds both streams in the order of arrival, for the error of a failed command.
	combined, stdoutContent, stderrContent bytes.Buffer

	lines *io.PipeWriter
	done  chan struct{} // closed when logging has ended
}

func newOutput(ctx context.Context, logging *Logging) *output {
	reader, lines := io.Pipe()
	out := &output{lines: lines, done: make(chan struct{})}
	combined := &run.LockedWriter{Writer: &out.combined}
	collect := func(content io.Writer, stream Logging) io.Writer {
		if logging == nil || *logging == stream || *logging == LogStdoutAndStderr {
			return io.MultiWriter(content, combined, lines)
		}
		return io.MultiWriter(content, combined)
	}
	out.stdout = collect(&out.stdoutContent, LogStdout)
	out.stderr = collect(&out.stderrContent, LogStderr)
	go func() {
		defer close(out.done)
		for scanner := bufio.NewScanner(reader); scanner.Scan(); {
			p.GetLogger(ctx).InfoStatus(scanner.Text())
		}
	}()
	return out
}

// finish waits until the output of a command that ended with err is logged. It returns the outputs, or an error in the
// real plugin's wording.
func (o *output) finish(command string, err error) (CommandOutputs, error) {
	_ = o.lines.Close() // never fails
	<-o.done
	if err != nil {
		return CommandOutputs{}, fmt.Errorf("%w: running %q:\n%s", err, command, o.combined.String())
	}
	return CommandOutputs{
		Stdout: strings.TrimSuffix(o.stdoutContent.String(), "\n"),
		Stderr: strings.TrimSuffix(o.stderrContent.String(), "\n"),
	}, nil
}
