package components

import (
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/pulumi/pulumi-command/sdk/go/command/local"
	"github.com/pulumi/pulumi-command/sdk/go/command/remote"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// There are two kinds of command resources: one runs once for a set of triggers; the other, a reconcilingCommand, runs
// for each change of the desired state.
//
// The command provider would rerun a command of the first kind whenever an input changes, and replace the resource's
// output by what the rerun prints. Changes of all inputs except the triggers are therefore ignored; a replacement,
// which only the triggers cause, uses the new values nevertheless. Update and delete are no-ops.
const noop = ":"

// runsOnceOptions makes a command resource ignore all changes except those of its triggers.
func runsOnceOptions() pulumi.ResourceOption {
	return pulumi.IgnoreChanges([]string{
		"create", "update", "delete", "interpreter", "dir", "environment", "stdin", "logging", "addPreviousOutputInEnv",
		"connection", "source", "remotePath",
	})
}

// localCommand is a command on the machine that runs pulumi.
type localCommand struct {
	// Script runs in bash, in the project's directory. Its standard output is the resource's output.
	Script      string
	Environment pulumi.StringMapInput
	// Stdin is for a secret. Optional.
	Stdin pulumi.StringInput
	// Triggers identifies everything that the command's result depends on.
	Triggers pulumi.Array
	Timeout  string
}

func newLocalCommand(
	ctx *pulumi.Context, name string, command localCommand, opts ...pulumi.ResourceOption,
) (*local.Command, error) {
	var stdin pulumi.StringPtrInput
	if command.Stdin != nil {
		stdin = command.Stdin.ToStringOutput().ToStringPtrOutput()
		opts = append(opts, pulumi.AdditionalSecretOutputs([]string{"stdin"}))
	}
	resource, err := local.NewCommand(ctx, name, &local.CommandArgs{
		Create:                 pulumi.String(command.Script),
		Update:                 pulumi.String(noop),
		Delete:                 pulumi.String(noop),
		Interpreter:            pulumi.ToStringArray([]string{"bash", "-c"}),
		Environment:            command.Environment,
		Stdin:                  stdin,
		Triggers:               command.Triggers,
		AddPreviousOutputInEnv: pulumi.Bool(false),
		Logging:                local.LoggingStderr,
	}, append(opts, runsOnceOptions(), pulumi.Timeouts(&pulumi.CustomTimeouts{Create: command.Timeout}))...)
	if err != nil {
		return nil, fmt.Errorf("command %s: %w", name, err)
	}
	return resource, nil
}

// reconcilingCommand is an idempotent command on the machine that runs pulumi. Each change of an input runs Update.
type reconcilingCommand struct {
	// Create, Update and Delete run in bash, in the project's directory. For Update and Delete, PULUMI_COMMAND_STDOUT
	// contains the last output.
	Create, Update, Delete string
	Environment            pulumi.StringMap
	// Stdin is for secrets: it is not on a command line, and is encrypted in the state.
	Stdin pulumi.StringInput
	// Drift describes how the actual state differs from the desired one; "" if it does not. Drift makes Update run once.
	Drift string
	// Timeout bounds each of the three commands.
	Timeout time.Duration
}

// driftVariable is the environment variable that contains the drift: a change of its value makes the engine run Update.
const driftVariable = "DIFFERENCES"

func newReconcilingCommand(
	ctx *pulumi.Context, name string, command reconcilingCommand, opts ...pulumi.ResourceOption,
) (*local.Command, error) {
	environment := maps.Clone(command.Environment)
	environment[driftVariable] = pulumi.String("")
	if command.Drift == "" {
		// Drift that was corrected must not count as a change.
		opts = append(opts, pulumi.IgnoreChanges([]string{"environment." + driftVariable}))
	} else {
		// If the same drift occurs again, it must count as a new change.
		now := time.Now().UTC().Format(time.RFC3339Nano)
		environment[driftVariable] = pulumi.String(fmt.Sprintf("%s: %s", now, command.Drift))
	}
	timeout := command.Timeout.String()
	resource, err := local.NewCommand(ctx, name, &local.CommandArgs{
		Create:                 pulumi.String(command.Create),
		Update:                 pulumi.String(command.Update),
		Delete:                 pulumi.String(command.Delete),
		Interpreter:            pulumi.ToStringArray([]string{"bash", "-c"}),
		Environment:            environment,
		Stdin:                  command.Stdin.ToStringOutput().ToStringPtrOutput(),
		AddPreviousOutputInEnv: pulumi.Bool(true),
		Logging:                local.LoggingStderr,
	}, append(opts,
		pulumi.AdditionalSecretOutputs([]string{"stdin"}),
		pulumi.Timeouts(&pulumi.CustomTimeouts{Create: timeout, Update: timeout, Delete: timeout}),
	)...)
	if err != nil {
		return nil, fmt.Errorf("command %s: %w", name, err)
	}
	return resource, nil
}

// goRun returns a script that compiles and runs one of the project's own programs: Go is the only tool that every
// deploying machine has. It compiles at run time, because a deletion runs without the Pulumi program. If Pulumi reaches
// a timeout or is killed, only the shell is killed, so exec replaces the shell with the program.
func goRun(program, args string) string { return goScript(program, "exec ", args) }

// goRunToTheEnd returns a script like goRun, whose program continues if the shell is killed. Without the last command,
// bash would replace itself with the program.
func goRunToTheEnd(program, args string) string { return goScript(program, "", args) + "; exit" }

func goScript(program, run, args string) string {
	return fmt.Sprintf("CGO_ENABLED=0 go build -trimpath -buildvcs=false -o .build/bin/%[1]s/ ./%[1]s/cmd"+
		" && %[2]s.build/bin/%[1]s/cmd %[3]s", program, run, args)
}

// compileTimeout bounds the compilation by these scripts.
const compileTimeout = 2 * time.Minute

// probe runs probe/cmd, which probes the site from the machine that runs pulumi.
type probe struct {
	// Name is the site's domain name, Address the IPv4 address to probe.
	Name    string
	Address pulumi.StringInput
	// Roots is the path of a PEM file with the trusted authorities. Default: the machine's.
	Roots string
	// AnyCertificate skips certificate verification: a server without the VIP may not have a valid certificate yet.
	AnyCertificate bool
	// Server is the id of the instance that must respond, Release the release that it must serve.
	Server  pulumi.StringInput
	Release pulumi.StringInput
	// Within is how long a failing probe is retried.
	Within   time.Duration
	Triggers pulumi.Array
}

func newProbe(ctx *pulumi.Context, name string, probe probe, opts ...pulumi.ResourceOption) (*local.Command, error) {
	certificate := "valid"
	if probe.AnyCertificate {
		certificate = "any"
	}
	return newLocalCommand(ctx, name, localCommand{
		Script: goRun("probe", ""),
		Environment: pulumi.StringMap{
			"NAME":        pulumi.String(probe.Name),
			"ADDRESS":     probe.Address,
			"PORT":        pulumi.String("443"), // overrides PORT in the deployer's environment
			"ROOTS":       pulumi.String(probe.Roots),
			"CERTIFICATE": pulumi.String(certificate),
			"SERVER":      probe.Server,
			"RELEASE":     probe.Release,
			"WITHIN":      pulumi.String(strconv.Itoa(int(probe.Within.Seconds()))),
		},
		Triggers: probe.Triggers,
		// The program times out first, with a better error than Pulumi's.
		Timeout: (compileTimeout + probe.Within + reportTimeout).String(),
	}, opts...)
}

// sshConnection is the SSH connection to a new server. The host key is pinned.
type sshConnection struct {
	Host       pulumi.StringInput
	Port       int
	User       string
	PrivateKey pulumi.StringInput
	HostKey    pulumi.StringInput
}

func (c sshConnection) args() remote.ConnectionArgs {
	return remote.ConnectionArgs{
		Host:       c.Host,
		Port:       pulumi.Float64(c.Port),
		User:       pulumi.String(c.User),
		PrivateKey: c.PrivateKey.ToStringOutput().ToStringPtrOutput(),
		HostKey:    c.HostKey.ToStringOutput().ToStringPtrOutput(),
		// A booting server refuses connections; the resource's timeout is the limit.
		DialErrorLimit: pulumi.Int(-1),
		PerDialTimeout: pulumi.Int(5),
	}
}

// onceForServer returns the options of commands that run on a server once. When the VIP moves to the server, its
// address changes and its bootstrap user is removed: neither may make the provider connect again.
func onceForServer(server pulumi.Resource, timeout time.Duration) pulumi.ResourceOption {
	return pulumi.Composite(
		runsOnceOptions(),
		pulumi.DeletedWith(server),
		pulumi.Timeouts(&pulumi.CustomTimeouts{Create: timeout.String()}),
	)
}

// newRemoteFile copies a file to a server.
func newRemoteFile(
	ctx *pulumi.Context, name string, connection sshConnection, source pulumi.Asset, path string,
	triggers pulumi.Array, opts ...pulumi.ResourceOption,
) (*remote.CopyToRemote, error) {
	resource, err := remote.NewCopyToRemote(ctx, name, &remote.CopyToRemoteArgs{
		Connection: connection.args(),
		Source:     source,
		RemotePath: pulumi.String(path),
		Triggers:   triggers,
	}, opts...)
	if err != nil {
		return nil, fmt.Errorf("copy %s: %w", name, err)
	}
	return resource, nil
}

// newRemoteCommand runs a script on a server.
func newRemoteCommand(
	ctx *pulumi.Context, name string, connection sshConnection, script string,
	triggers pulumi.Array, opts ...pulumi.ResourceOption,
) (*remote.Command, error) {
	resource, err := remote.NewCommand(ctx, name, &remote.CommandArgs{
		Connection:             connection.args(),
		Create:                 pulumi.String(script),
		Update:                 pulumi.String(noop),
		Triggers:               triggers,
		AddPreviousOutputInEnv: pulumi.Bool(false),
		Logging:                remote.LoggingStdoutAndStderr,
	}, opts...)
	if err != nil {
		return nil, fmt.Errorf("command %s: %w", name, err)
	}
	return resource, nil
}
