package commandplugin

// CommandArgs are the inputs that local and remote commands share, named as in
// the Go SDK pulumi-command/sdk@v1.2.1.
type CommandArgs struct {
	// Create runs when the resource is created, and when an input changed and
	// Update is unset.
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
	Environment *map[string]string `pulumi:"environment,optional"`
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

const (
	previousStdout = "PULUMI_COMMAND_STDOUT"
	previousStderr = "PULUMI_COMMAND_STDERR"
)

// onUpdate is the command of an update, nil when there is none.
func (a CommandArgs) onUpdate() *string {
	if a.Update != nil {
		return a.Update
	}
	return a.Create
}

// previousOutput is what the environment of the next run says of the last.
func (a CommandArgs) previousOutput(last CommandOutputs) map[string]string {
	environment := map[string]string{}
	if a.AddPreviousOutputInEnv != nil && !*a.AddPreviousOutputInEnv {
		return environment
	}
	if last.Stdout != "" {
		environment[previousStdout] = last.Stdout
	}
	if last.Stderr != "" {
		environment[previousStderr] = last.Stderr
	}
	return environment
}
