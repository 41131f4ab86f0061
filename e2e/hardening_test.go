package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// sshAsAuditSeesIt runs ssh-audit with a policy that lists every algorithm the daemon may offer.
func sshAsAuditSeesIt(t *testing.T, p *project) {
	audit := p.run(t, time.Minute, "ssh-audit", "--no-colors", "--port", "12222", "--policy", "e2e/testdata/ssh-audit.policy", p.outputs(t).VIP)
	require.NoError(t, audit.err, audit.String())
	require.Contains(t, audit.stdout, "Passed")
}

// packagesStay asks a running server for everything of Debian's image that would change its packages.
func packagesStay(t *testing.T, p *project) {
	units := p.ssh(t, "systemctl show --property=Id,LoadState,ActiveState apt-daily.timer apt-daily-upgrade.timer unattended-upgrades.service && systemctl list-timers --all --no-legend")
	require.NoError(t, units.err, units.String())
	require.Equal(t, 3, strings.Count(units.stdout, "LoadState=masked"), units.stdout)
	require.NotContains(t, units.stdout, "ActiveState=active", units.stdout)
	require.NotContains(t, units.stdout, "apt-daily.service")

	installed := p.ssh(t, "dpkg-query --show --showformat='${Package} ${db:Status-Status}\n' unattended-upgrades apparmor chrony systemd-resolved")
	require.NoError(t, installed.err, installed.String())
	require.Equal(t, 4, strings.Count(installed.stdout, " installed\n"), "the rehearsal's image brings what Debian's does: %s", installed.stdout)
}
