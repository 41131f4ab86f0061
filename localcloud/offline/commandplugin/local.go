package commandplugin

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/pulumi/pulumi-go-provider/infer"
)

// LocalCommand is command:local:Command, which runs commands on this machine when the resource is created, updated and
// deleted.
type LocalCommand struct {
	lifecycle[LocalCommandArgs, LocalCommandState, *LocalCommandState]
}

type LocalCommandArgs struct {
	CommandArgs
	// Interpreter is a program with arguments, to which the command is appended. Default: /bin/sh -c.
	Interpreter []string `pulumi:"interpreter,optional"`
	Dir         *string  `pulumi:"dir,optional"` // the working directory. Default: the plugin's own
}

type LocalCommandState struct {
	LocalCommandArgs
	CommandOutputs
}

// Annotate sets the token under which the SDK registers the type.
func (c *LocalCommand) Annotate(a infer.Annotator) { a.SetToken("local", "Command") }

func (s *LocalCommandState) set(args LocalCommandArgs) { s.LocalCommandArgs = args }

// run runs command, unless it is nil, and sets the outputs. The command inherits this process's environment.
//
// As in the real plugin, canceling ctx kills only the interpreter. Its child processes continue, and run waits for them
// as long as they keep the interpreter's standard output or standard error open.
func (s *LocalCommandState) run(ctx context.Context, command *string) error {
	if command == nil {
		return nil
	}
	argv := append(slices.Clone(s.Interpreter), *command)
	if len(s.Interpreter) == 0 {
		argv = []string{"/bin/sh", "-c", *command}
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
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
