package commandplugin

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/pulumi/pulumi-go-provider/infer"
)

// LocalCommand is command:local:Command: commands that run on this machine
// when the resource is created, updated and deleted.
type LocalCommand struct {
	lifecycle[LocalCommandArgs, LocalCommandState, *LocalCommandState]
}

type LocalCommandArgs struct {
	CommandArgs
	// Interpreter is the program, and its arguments, that gets the command as
	// its last argument: /bin/sh -c by default.
	Interpreter []string `pulumi:"interpreter,optional"`
	Dir         *string  `pulumi:"dir,optional"` // the working directory: the plugin's own by default
}

type LocalCommandState struct {
	LocalCommandArgs
	CommandOutputs
}

// Annotate gives the type the token under which the SDK registers it.
func (c *LocalCommand) Annotate(a infer.Annotator) { a.SetToken("local", "Command") }

func (s *LocalCommandState) set(args LocalCommandArgs) { s.LocalCommandArgs = args }

// run runs command, nil for none, and sets the outputs. The command inherits
// this process's environment.
//
// As in the real plugin, the end of ctx kills the interpreter alone: what it started continues, and
// is waited for as long as it holds the interpreter's standard output or error.
func (s *LocalCommandState) run(ctx context.Context, command *string) error {
	if command == nil {
		return nil
	}
	line := append(slices.Clone(s.Interpreter), *command)
	if len(s.Interpreter) == 0 {
		line = []string{"/bin/sh", "-c", *command}
	}
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	if s.Dir != nil {
		cmd.Dir = *s.Dir
	}
	if s.Stdin != nil && *s.Stdin != "" {
		cmd.Stdin = strings.NewReader(*s.Stdin)
	}
	cmd.Env = os.Environ()
	for _, variables := range []map[string]string{s.Environment, s.previousOutput(s.CommandOutputs)} {
		for key, value := range variables {
			cmd.Env = append(cmd.Env, key+"="+value)
		}
	}
	out := newOutput(ctx, s.Logging)
	cmd.Stdout, cmd.Stderr = out.stdout, out.stderr
	outputs, err := out.finish(*command, cmd.Run())
	if err == nil {
		s.CommandOutputs = outputs
	}
	return err
}
