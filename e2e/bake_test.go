package e2e

import (
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// bakeTime is the bake time of these tests, in seconds.
	bakeTime = 60
	// returnLimit is how long the VIP may take to return after the decision.
	returnLimit = 10 * time.Second
	// baking is in the output of an update from the beginning of the bake.
	baking = "still runs"
)

// lateFault is a fault that begins while the server holds the VIP.
type lateFault struct {
	name string
	// command runs on the server as an admin, who may use sudo. kill ends the server instead.
	command string
	kill    bool
	// reason is in the error of the update.
	reason string
}

func lateFaults(s3 string) []lateFault {
	return []lateFault{
		{
			name: "no web server", command: "cd /opt/site && sudo docker compose stop web",
			reason: `visits in a row failed: /: got 502`,
		},
		{
			name: "a web server that hangs", command: "sudo docker pause site-web-1",
			reason: `visits in a row failed: /: got .*(deadline|timeout)`,
		},
		{name: "no PHP", command: "cd /opt/site && sudo docker compose stop php", reason: `the check (containers|php) fails: `},
		{
			name: "a container in a restart loop",
			command: "for i in 1 2 3; do " +
				"sudo kill -KILL $(sudo docker inspect --format '{{.State.Pid}}' site-nginx-exporter-1); " +
				// Docker does not notice at once: the process would be 0, which is every process of this session.
				"until [ \"$(sudo docker inspect --format '{{.RestartCount}} {{.State.Running}}' site-nginx-exporter-1)\" " +
				"= \"$i true\" ]; do :; done; " +
				"done",
			reason: `containers restarted [23] times`,
		},
		{
			name: "a full disk", command: "sudo mount -t tmpfs -o size=64k tmpfs /srv/site",
			reason: `the check (agent|containers|disk|release) fails: `,
		},
		{
			name: "an agent that is dead", command: "sudo systemctl stop agent-report.path agent-report.service",
			reason: `the newest report is \d+ s old|the server sends no report`,
		},
		{
			name: "no way to S3", command: "sudo ip route add blackhole " + s3,
			reason: `the newest report is \d+ s old|the server sends no report`,
		},
		{
			name:    "no DNS",
			command: "sudo systemctl stop systemd-resolved && echo 'nameserver 127.0.0.9' | sudo tee /etc/resolv.conf",
			reason:  `the newest report is \d+ s old|the server sends no report`,
		},
		{
			name: "no network", command: "sudo systemd-run --on-active=1 ip link set ens5 down",
			reason: `visits in a row failed: `,
		},
		{name: "a kernel that panics", kill: true, reason: `visits in a row failed: `},
	}
}

// TestBake breaks servers after they got the VIP, each in another way, and kills updates in the bake.
func TestBake(t *testing.T) {
	if os.Getenv("E2E") != "bake" {
		t.Skip("needs a local cloud that is up and takes half an hour: make test-bake")
	}
	p := root(t)
	p.loadEnv(t)
	p.startClean(t)
	p.converges(t)
	replaced := p.copy(t)
	replaced.set(t, "bakeTime", bakeTime)
	s3, err := url.Parse(strings.TrimSpace(replaced.must(t, time.Minute, "printenv", "AWS_ENDPOINT_URL_S3")))
	require.NoError(t, err)

	generation := firstGeneration
	// Each update shows, too, that nothing of the one before it is in the way.
	for _, fault := range lateFaults(s3.Hostname()) {
		generation++
		t.Run(fault.name, func(t *testing.T) { breakInBake(t, replaced, generation, fault) })
	}
	for i := range 5 {
		generation++
		moment := time.Duration(i) * bakeTime / 5 * time.Second
		t.Run(fmt.Sprintf("an update that is killed after %.0f s of the bake", moment.Seconds()), func(t *testing.T) {
			killInBake(t, replaced, generation, moment)
		})
	}
	t.Run("the project's own update needs no manual step", func(t *testing.T) { mendServer(t, p) })
}

// startBake starts an update with a new server, and returns when its bake begins.
func (p *project) startBake(t *testing.T, generation int) *update {
	t.Helper()
	p.set(t, "generation", generation)
	up := p.startUp(t)
	eventually(t, bootTimeout, func() (bool, string) {
		select {
		case err := <-up.ended:
			require.Failf(t, "the update ended before the bake", "%v\n%s", err, up.output(t))
		default:
		}
		return strings.Contains(up.output(t), baking), up.output(t)
	})
	return up
}

func breakInBake(t *testing.T, p *project, generation int, fault lateFault) {
	before := p.outputs(t)
	visitors := p.visit(t)
	up := p.startBake(t, generation)
	server, _ := p.served(t)
	require.NotEqual(t, before.ServerID, server)
	if fault.kill {
		id := p.container(t, server)
		p.must(t, time.Minute, "docker", "kill", "--signal", "KILL", id)
	} else {
		// The VIP may return before the command ends, which cuts its connection. The reason below shows that it worked.
		if broken := p.ssh(t, fault.command); broken.err != nil {
			t.Log(broken.String())
		}
	}
	err := <-up.ended
	output := up.output(t)
	seen := visitors.seen(t)
	require.Error(t, err, output)
	t.Log(lineOf(t, output, `failed its bake: .*(`+fault.reason+`)`))
	require.Contains(t, output, "the VIP is back at "+before.ServerID)
	// With the window of the way back.
	took := regexp.MustCompile(before.ServerID + ` serves again, ([0-9.]+) s after the decision`).
		FindStringSubmatch(output)
	require.NotNil(t, took, output)
	seconds, err := strconv.ParseFloat(took[1], 64)
	require.NoError(t, err)
	require.LessOrEqual(t, seconds, returnLimit.Seconds())
	atMoves, others := seen.failures()
	t.Logf("the old server served again after %.1f s; %d requests failed, and %d in flight at a move",
		seconds, len(others), len(atMoves))

	served, release := p.served(t)
	require.Equal(t, before.ServerID, served)
	require.Equal(t, before.Release, release)
	require.Contains(t, p.object(t, before.BackupBucket, "handover/failed/"+server+".json"), server)
	ready := p.ssh(t, "sudo agent ready --wait 1m")
	require.NoError(t, ready.err, ready.String())
}

// killInBake kills the engine in the bake, whose process lives on, and updates again.
func killInBake(t *testing.T, p *project, generation int, moment time.Duration) {
	visitors := p.visit(t)
	up := p.startBake(t, generation)
	select {
	case err := <-up.ended:
		require.Failf(t, "the update ended before it was killed", "%v\n%s", err, up.output(t))
	case <-time.After(moment):
	}
	up.kill(t)
	server, _ := p.served(t)
	require.NotEmpty(t, server)
	next := p.upAfterKill(t)
	require.NoError(t, next.err, next.String())
	visitors.seen(t).unharmed(t)
	p.forgetPending(t)
	p.converged(t)
	t.Logf("the next update took %.0f s", next.took.Seconds())
}
