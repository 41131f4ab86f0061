package cloud

import (
	"context"
	"net"
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
	docker, err := l.client(ctx)
	if err != nil {
		return err
	}
	authority, err := l.authority()
	if err != nil {
		return err
	}
	certificate, key, err := authority.Issue("victorops", []string{VictorOpsName}, []net.IP{victorOpsAddress().AsSlice()})
	if err != nil {
		return err
	}
	return l.startService(ctx, docker, service{
		name: victorOpsContainer, role: roleVictorOps, address: victorOpsAddress(), port: httpsPort,
		mounts: []string{
			l.home.Executable() + ":" + program + ":ro",
			certificate + ":/tls/victorops.pem:ro",
			key + ":/tls/victorops.key:ro",
		},
		environment: []string{VictorOpsKeyVariable + "=" + VictorOpsKey},
		command:     []string{program, "victorops", "-certificate", "/tls/victorops.pem", "-key", "/tls/victorops.key"},
	})
}
