package cloud

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"immutable-infra/localcloud/internal/home"
)

const (
	// UptimeRobotKey is the API key of the one account that the UptimeRobot double
	// has. It opens nothing else, and is no secret.
	UptimeRobotKey = "u1000001-10ca1c10bd00000000000001"
	// UptimeRobotKeyVariable is where the double looks for its key.
	UptimeRobotKeyVariable = "UPTIMEROBOT_KEY"

	// UptimeRobotHeartbeat is the token of the account's heartbeat monitor. Pulumi.local.yaml has its URL.
	UptimeRobotHeartbeat = "m800000001-10ca1c10bd00000000000001"
	// UptimeRobotHeartbeatVariable is where the double looks for that token.
	UptimeRobotHeartbeatVariable = "UPTIMEROBOT_HEARTBEAT"

	uptimeRobotName      = "uptimerobot." + ZoneName
	uptimeRobotContainer = network + "-uptimerobot"
	roleUptimeRobot      = "uptimerobot"
	// uptimeRobotDir is the double's directory in its container: with its account,
	// and the authorities whose certificates it trusts.
	uptimeRobotDir   = "/uptimerobot"
	uptimeRobotRoots = "roots.pem"
)

// StartUptimeRobot starts the UptimeRobot double and waits until it answers. It
// asks for pages by the zone's names, and trusts the certificates of the ACME
// authority, which is started before.
func (l *Local) StartUptimeRobot(ctx context.Context) error {
	roots, err := os.ReadFile(l.home.AuthorityFile())
	if err != nil {
		return fmt.Errorf("UptimeRobot double: %w", err)
	}
	dir := filepath.Join(l.home.Cloud(), "uptimerobot")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("UptimeRobot double: %w", err)
	}
	if err := home.WriteFile(filepath.Join(dir, uptimeRobotRoots), roots, 0o600); err != nil {
		return err
	}
	return l.startService(ctx, service{
		name: uptimeRobotContainer, role: roleUptimeRobot, address: uptimeRobotAddress(), port: httpsPort, hosts: []string{uptimeRobotName},
		mounts: []string{
			l.home.Executable() + ":" + program + ":ro",
			dir + ":" + uptimeRobotDir,
		},
		environment: []string{
			UptimeRobotKeyVariable + "=" + UptimeRobotKey, UptimeRobotHeartbeatVariable + "=" + UptimeRobotHeartbeat,
		},
		command: []string{program, "uptimerobot", "-certificate", "/tls/uptimerobot.pem", "-key", "/tls/uptimerobot.key",
			"-account", uptimeRobotDir + "/account.json", "-roots", uptimeRobotDir + "/" + uptimeRobotRoots,
			"-nameserver", netip.AddrPortFrom(dnsAddress(), dnsPort).String(),
			"-host", VictorOpsName + "=" + victorOpsAddress().String()},
		// The ACME authority has another root with each of its starts.
		config: string(roots),
	})
}
