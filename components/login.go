package components

import (
	"time"

	"github.com/pulumi/pulumi-command/sdk/go/command/local"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// login runs sshprobe/cmd, which waits until it can log in to a server. The command provider's remote commands, which
// run after it, report no reason for a refused login, and hang forever if a port accepts a connection but sends
// nothing.
type login struct {
	Connection sshConnection
	// Within is how long the server may take to boot.
	Within   time.Duration
	Triggers pulumi.Array
}

func newLogin(ctx *pulumi.Context, name string, login login, opts ...pulumi.ResourceOption) (*local.Command, error) {
	return newLocalCommand(ctx, name, localCommand{
		Script: goRun("sshprobe", ""),
		Environment: pulumi.StringMap{
			"SSHPROBE_ADDRESS":  pulumi.Sprintf("%s:%d", login.Connection.Host, login.Connection.Port),
			"SSHPROBE_USER":     pulumi.String(login.Connection.User),
			"SSHPROBE_HOST_KEY": login.Connection.HostKey,
			"SSHPROBE_WITHIN":   pulumi.String(login.Within.String()),
		},
		Stdin:    login.Connection.PrivateKey,
		Triggers: login.Triggers,
		Timeout:  (compileTimeout + login.Within + reportTimeout).String(),
	}, opts...)
}
