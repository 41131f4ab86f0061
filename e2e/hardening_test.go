package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// sshAsAuditSeesIt runs ssh-audit with a policy that lists every algorithm the daemon may offer.
func sshAsAuditSeesIt(t *testing.T, p *project) {
	audit := p.run(t, time.Minute, "ssh-audit", "--no-colors", "--port", "12222", "--policy",
		"e2e/testdata/ssh-audit.policy", p.outputs(t).VIP)
	require.NoError(t, audit.err, audit.String())
	require.Contains(t, audit.stdout, "Passed")
}

// packagesStay requires that nothing in Debian's image changes a running server's packages.
func packagesStay(t *testing.T, p *project) {
	units := p.ssh(t,
		"systemctl show --property=Id,LoadState,ActiveState apt-daily.timer apt-daily-upgrade.timer "+
			"unattended-upgrades.service && systemctl list-timers --all --no-legend")
	require.NoError(t, units.err, units.String())
	require.Equal(t, 3, strings.Count(units.stdout, "LoadState=masked"), units.stdout)
	require.NotContains(t, units.stdout, "ActiveState=active", units.stdout)
	require.NotContains(t, units.stdout, "apt-daily.service")

	installed := p.ssh(t,
		"dpkg-query --show --showformat='${Package} ${db:Status-Status}\n' unattended-upgrades apparmor chrony "+
			"systemd-resolved")
	require.NoError(t, installed.err, installed.String())
	require.Equal(t, 4, strings.Count(installed.stdout, " installed\n"),
		"the rehearsal's image has the same packages as Debian's: %s", installed.stdout)
}

// securityUpdatesAreCounted runs the unit that counts Debian's pending security updates on the server. It must count
// those of the server and of the Debian containers, and must not change any package.
func securityUpdatesAreCounted(t *testing.T, p *project) {
	const packages = `dpkg-query --show | sha256sum`
	before := p.ssh(t, packages)
	require.NoError(t, before.err, before.String())
	counted := p.ssh(t, "sudo systemctl start security-updates.service && cat /srv/metrics/updates.prom")
	require.NoError(t, counted.err,
		counted.String()+p.ssh(t, "sudo journalctl --no-pager --unit security-updates.service").stdout)
	for _, of := range []string{"server", "site/nginx", "site/php"} {
		require.Regexp(t, `(?m)^server_security_updates\{of="`+of+`[^"]*"\} \d+$`, counted.stdout)
	}
	require.Regexp(t, `(?m)^server_security_updates_checked_timestamp_seconds \d{10}$`, counted.stdout)
	require.Equal(t, before.stdout, p.ssh(t, packages).stdout)
}

// accessLogIsRotated removes the access log and runs the unit that rotates it, which must make Traefik create a new one
// from within its container.
func accessLogIsRotated(t *testing.T, p *project) {
	rotated := p.ssh(t, "sudo rm /srv/traefik/log/access.log && "+
		"sudo systemctl start access-log.service")
	require.NoError(t, rotated.err, rotated.String())
	eventually(t, 20*time.Second, func() (bool, string) {
		p.served(t)
		logged := p.ssh(t, "sudo grep -c . /srv/traefik/log/access.log")
		return logged.err == nil, logged.String()
	})
	require.Error(t, p.ssh(t, "cat /srv/traefik/log/access.log").err, "only admins can read visitors' addresses")
	unit := p.ssh(t, "systemctl show --property=Result access-log.service && systemctl is-active access-log.timer")
	require.Equal(t, "Result=success\nactive\n", unit.stdout)
}

// containersReach tries to reach, from the networks of some containers, every port on which the other containers and
// the server listen.
func containersReach(t *testing.T, p *project) {
	listening := map[string][]int{
		"traefik": {8080, 8082, 8443}, "web": {8080, 8081}, "php": {9000}, "mail": {2525}, "prometheus": {9090},
		"alertmanager": {9093, 9094},
		"node":         {9100}, "nginx-exporter": {9113}, "blackbox": {9115}, "grafana": {3000},
	}
	inspected := p.ssh(t,
		`sudo docker inspect --format '{{index .Config.Labels "com.docker.compose.service"}}{{range .NetworkSettings.Networks}} {{.IPAddress}}{{end}}' $(sudo docker compose --project-directory /opt/site ps --quiet)`)
	require.NoError(t, inspected.err, inspected.String())
	var targets []string
	for line := range strings.Lines(inspected.stdout) {
		fields := strings.Fields(line)
		require.Contains(t, listening, fields[0])
		for _, address := range fields[1:] {
			for _, port := range listening[fields[0]] {
				targets = append(targets, fmt.Sprintf("%s:%d %s %d", fields[0], port, address, port))
			}
		}
	}
	hosts := p.ssh(t, "hostname --all-ip-addresses")
	require.NoError(t, hosts.err, hosts.String())
	for _, address := range append(strings.Fields(hosts.stdout), p.outputs(t).VIP, "169.254.169.254") {
		for _, port := range []int{80, 443, 12222} {
			if !strings.Contains(address, ":") {
				targets = append(targets, fmt.Sprintf("server:%d %s %d", port, address, port))
			}
		}
	}

	// Debian's image has bash, whose /dev/tcp only connects.
	const try = `sudo docker run --rm --interactive --network "container:$(sudo docker compose --project-directory /opt/site ps --quiet %s)" site/nginx bash -c '
while read -r name address port; do
  if timeout 2 bash -c "exec 3<>/dev/tcp/$address/$port" 2>/dev/null; then echo "$name"; fi
done' <<'END'
%s
END`
	for source, wanted := range map[string][]string{
		"php":  {},
		"node": {"node:9100", "prometheus:9090"},
		"prometheus": {
			"alertmanager:9093", "blackbox:9115", "nginx-exporter:9113", "node:9100", "prometheus:9090", "traefik:8080",
			"traefik:8082", "traefik:8443", "web:8080", "web:8081",
		},
	} {
		tried := p.ssh(t, fmt.Sprintf(try, source, strings.Join(targets, "\n")))
		require.NoError(t, tried.err, tried.String())
		open := strings.Fields(tried.stdout)
		if source != "php" {
			// The server is in the other networks so that an admin can reach its containers.
			open = slices.DeleteFunc(open, func(name string) bool { return strings.HasPrefix(name, "server:") })
		}
		// The relay exists only if one is configured. Grafana queries Prometheus through a network that works in both
		// directions.
		open = slices.DeleteFunc(open, func(name string) bool { return name == "mail:2525" || name == "grafana:3000" })
		slices.Sort(open)
		require.Equal(t, wanted, append([]string{}, slices.Compact(open)...), source)
	}

	out := p.ssh(t,
		`sudo docker exec "$(sudo docker compose --project-directory /opt/site ps --quiet php)" cat /proc/net/route`)
	require.NoError(t, out.err, out.String())
	require.NotRegexp(t, `(?m)^\S+\t00000000\t`, out.stdout, "PHP has no default route")
}

// liveServerStays requires that the timer that terminates a server without the VIP is permanently disabled.
func liveServerStays(t *testing.T, p *project) {
	clock := p.ssh(t, "systemctl is-enabled unclaimed.timer; systemctl is-active unclaimed.timer")
	require.Equal(t, "disabled\ninactive\n", clock.stdout, clock.String())
}
