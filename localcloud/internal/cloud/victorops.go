package cloud

import (
	"context"
)

const (
	// VictorOpsKey is the one API key that the VictorOps double knows. It opens
	// nothing else, and is no secret.
	VictorOpsKey = "b0d7a4c2-5e0f-4c57-9c63-10ca1c10bd00"
	// VictorOpsKeyVariable is where the double looks for its key.
	VictorOpsKeyVariable = "VICTOROPS_KEY"

	victorOpsContainer = network + "-victorops"
	roleVictorOps      = "victorops"
)

// StartVictorOps starts the VictorOps double and waits until it answers.
func (l *Local) StartVictorOps(ctx context.Context) error {
	return l.startService(ctx, service{
		name: victorOpsContainer, role: roleVictorOps, address: victorOpsAddress(), port: httpsPort, hosts: []string{VictorOpsName},
		mounts: []string{
			l.home.Executable() + ":" + program + ":ro",
		},
		environment: []string{VictorOpsKeyVariable + "=" + VictorOpsKey},
		command:     []string{program, "victorops", "-certificate", "/tls/victorops.pem", "-key", "/tls/victorops.key"},
	})
}
