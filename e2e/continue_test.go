package e2e

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestBakeKeepsTheOldServerWhenTheUpdateContinues fails a bake in an update that continues after errors.
func TestBakeKeepsTheOldServerWhenTheUpdateContinues(t *testing.T) {
	if os.Getenv("E2E") != "bake" {
		t.Skip("needs a local cloud that is up and takes five minutes: make test-bake")
	}
	p := root(t)
	p.loadEnv(t)
	p.startClean(t)
	// The fault begins when the VIP arrives: the site is verified before.
	p.moveAs(t, kindMove())
	// Pulumi keeps what the last bake depends on.
	p.converges(t)
	before := p.outputs(t)

	broken := p.copy(t)
	broken.set(t, "bakeTime", bakeTime)
	broken.declare(t, func(c cloudConfig) {
		c.write("/etc/systemd/system/fault.path",
			"[Path]\nPathExists=/run/agent-watch/holder\n[Install]\nWantedBy=multi-user.target\n")
		c.write("/etc/systemd/system/fault.service",
			"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/docker stop site-web-1\n")
		c.runFirst([]string{"systemctl", "daemon-reload"}, []string{"systemctl", "enable", "--now", "fault.path"})
	})
	up := broken.pulumiUp(t, "--continue-on-error")
	require.Error(t, up.err, up.String())
	require.Contains(t, up.String(), "failed its bake: ")
	require.Contains(t, up.String(), "the VIP is back at "+before.ServerID)
	eventually(t, time.Minute, func() (bool, string) {
		server, release := p.served(t)
		return server == before.ServerID && release == before.Release, server + " " + release
	})
	ready := p.ssh(t, "sudo agent ready --wait 1m")
	require.NoError(t, ready.err, ready.String())
	p.converges(t)
	require.NotEqual(t, before.ServerID, p.outputs(t).ServerID)
}
