package components

import (
	"fmt"
	"time"

	"github.com/pulumi/pulumi-command/sdk/go/command/local"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// loginScript compiles and runs the probe. exec puts go in the place of the shell, which is all that
// the provider kills; the probe ends when go does.
const loginScript = "exec env CGO_ENABLED=0 go run -trimpath -buildvcs=false ./sshprobe/cmd"

// login waits until a server lets the program in. The command provider's remote
// commands, which come then, give no reason for a refused login, and hang for
// good at a port that accepts a connection and says nothing.
type login struct {
	Connection sshConnection
	// Within is how long the server has to boot.
	Within   time.Duration
	Triggers pulumi.Array
}

// newLogin makes a login; server is the instance it belongs to.
func newLogin(ctx *pulumi.Context, name string, login login, server pulumi.Resource, opts ...pulumi.ResourceOption) (*local.Command, error) {
	resource, err := local.NewCommand(ctx, name, &local.CommandArgs{
		Create:      pulumi.String(loginScript),
		Update:      pulumi.String(nothing),
		Delete:      pulumi.String(nothing),
		Interpreter: pulumi.ToStringArray([]string{"bash", "-c"}),
		Environment: pulumi.StringMap{
			"SSHPROBE_ADDRESS":  pulumi.Sprintf("%s:%d", login.Connection.Host, login.Connection.Port),
			"SSHPROBE_USER":     pulumi.String(login.Connection.User),
			"SSHPROBE_HOST_KEY": login.Connection.HostKey,
			"SSHPROBE_WITHIN":   pulumi.String(login.Within.String()),
		},
		Stdin:                  login.Connection.PrivateKey.ToStringOutput().ToStringPtrOutput(),
		Triggers:               login.Triggers,
		AddPreviousOutputInEnv: pulumi.Bool(false),
		Logging:                local.LoggingStderr,
	}, append(opts,
		serverLife(server, login.Within+reportTime),
		pulumi.IgnoreChanges([]string{"stdin"}),
		pulumi.AdditionalSecretOutputs([]string{"stdin"}),
	)...)
	if err != nil {
		return nil, fmt.Errorf("login %s: %w", name, err)
	}
	return resource, nil
}
