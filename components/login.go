package components

import (
	"time"

	"github.com/pulumi/pulumi-command/sdk/go/command/local"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// login waits for a login to a server, by sshprobe/cmd. The command provider's remote commands, which come then, give
// no reason for a refused login, and hang forever at a port that accepts a connection and sends nothing.
type login struct {
	Connection sshConnection
	// Within is how long the server has to boot.
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
