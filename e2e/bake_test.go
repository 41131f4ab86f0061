package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/e2e/internal/engine"
)

const (
	// faultBakeTime and killBakeTime are the bake times of these tests, in seconds. A report shows a fault after up to
	// 65 s: the time for a scrape, a rule and two reports, plus bakePatience.
	faultBakeTime, killBakeTime = 120, 60
	// returnLimit is the maximum time for the VIP to return after the decision.
	returnLimit = 10 * time.Second
	// endLimit is the maximum time for a server to shut down.
	endLimit = 3 * time.Minute
	// baking appears in the output of an update when the bake begins.
	baking = "still runs"
	// wrongRelease is the id of a release that no bucket contains.
	wrongRelease = "0123456789abcdef"
	// oldReport matches the reason for a failed bake without new reports.
	oldReport = `the newest report is \d+ s old|the server sends no report`
)

// lateFault is a fault that begins after the server has received the VIP.
type lateFault struct {
	name string
	// command runs on the server as an admin, who can use sudo.
	command string
	// strike causes a fault that no command on the server can cause.
	strike func(t *testing.T, p *project, server string)
	// reason matches the error of the update.
	reason string
}

// asRoot returns a command that runs a script as root.
func asRoot(script string) string { return "sudo bash -e -s <<'END'\n" + script + "\nEND" }

// noWeb stops the web server, so that the bake fails after three visits.
func noWeb() lateFault {
	return lateFault{
		name: "no web server", command: "cd /opt/site && sudo docker compose stop web",
		reason: `visits in a row failed: /: got 502`,
	}
}

// restartLoop restarts a container that visitors do not need.
func restartLoop() lateFault {
	return lateFault{
		name: "a container in a restart loop",
		command: "for i in 1 2 3; do " +
			"sudo kill -KILL $(sudo docker inspect --format '{{.State.Pid}}' site-nginx-exporter-1); " +
			// Docker does not notice at once, and then waits before it restarts the container, with the PID 0, which would
			// mean every process of this session. Meanwhile, State.Running is true, but State.Status is "restarting".
			"until [ \"$(sudo docker inspect --format '{{.RestartCount}} {{.State.Status}}' site-nginx-exporter-1)\" " +
			"= \"$i running\" ]; do :; done; " +
			"done",
		reason: `containers restarted [23] times`,
	}
}

func lateFaults(s3 string) []lateFault {
	return []lateFault{
		noWeb(),
		{
			name: "a web server that hangs", command: "sudo docker pause site-web-1",
			reason: `visits in a row failed: /: got .*(deadline|timeout)`,
		},
		{name: "no PHP", command: "cd /opt/site && sudo docker compose stop php", reason: `the check (containers|php) fails: `},
		restartLoop(),
		{
			name: "a full disk", command: "sudo mount -t tmpfs -o size=64k tmpfs /srv/site",
			reason: `the check (agent|containers|disk|release) fails: `,
		},
		{
			name: "a certificate for the wrong name",
			// Traefik reads acme.json when it starts. Without a certificate for the site's name, it presents its own. Until
			// it has restarted, new connections are held back: the bake must not fail because of the restart.
			command: asRoot(`python3 - <<'PYTHON'
import json
path = "/srv/traefik/acme/acme.json"
with open(path) as file:
    storage = json.load(file)
for resolver in storage.values():
    other = next(c for c in resolver["Certificates"] if c["domain"]["main"].startswith("www."))
    for certificate in resolver["Certificates"]:
        certificate.update(certificate=other["certificate"], key=other["key"])
with open(path, "w") as file:
    json.dump(storage, file)
PYTHON
nft 'table ip fault { chain first { type filter hook prerouting priority -300; tcp dport 443 tcp flags syn drop; }; }'
docker restart --time 1 site-traefik-1 </dev/null
until [ "$(docker inspect --format '{{.State.Health.Status}}' site-traefik-1)" = healthy ]; do sleep 0.1; done
nft delete table ip fault`),
			reason: `visits in a row failed: /: got .*certificate is (valid for|not valid)`,
		},
		{
			name: "every tenth request fails",
			// The configuration is in the read-only image.
			command: asRoot(`sed -e 's/access_log off;/& split_clients $request_id $fault { 10% 1; * 0; }/' \
  -e 's/absolute_redirect off;/& if ($fault) { return 500; }/' /opt/site/nginx/nginx.conf |
  docker exec --interactive site-web-1 sh -c 'cat >/tmp/nginx.conf'
nsenter --mount --target "$(docker inspect --format '{{.State.Pid}}' site-web-1)" \
  busybox mount -o bind /tmp/nginx.conf /etc/nginx/nginx.conf
docker exec site-web-1 nginx -s reload </dev/null`),
			reason: `visits (in a row )?failed.*got 500|of the responses are errors|the check release fails: .*status 500`,
		},
		{
			name: "ten times the latency",
			// nginx's workers are stopped for 1 s out of every 1.1 s.
			command: "sudo docker exec --detach site-web-1 sh -c " +
				"'while :; do kill -s STOP -- -1; sleep 1; kill -s CONT -- -1; sleep 0.1; done'",
			reason: `95 % of the responses take up to \d+ ms`,
		},
		{name: "a wrong clock", strike: shiftClock, reason: `the server's clock is 3[56]\d\d s fast`},
		{
			name: "the wrong release",
			// The agent would correct the release. systemctl start waits until a run has ended.
			command: asRoot(`systemctl stop agent-pull.timer
systemctl start agent-pull.service
cd /srv/site
right=$(basename "$(readlink current)")
wrong=` + wrongRelease + `
cp -a "releases/$right" "releases/$wrong"
sed -i "s/$right/$wrong/g" "releases/$wrong"/nginx/*.conf "releases/$wrong/release.json"
ln -sfn "releases/$wrong" current
docker exec site-web-1 nginx -s reload </dev/null`),
			reason: `the check release fails: this server has ` + wrongRelease,
		},
		{
			name: "a leak",
			// The kernel cannot reclaim the memory of this file system, so it kills processes until the site's containers are
			// among them.
			command: asRoot(`mount -t tmpfs tmpfs /mnt
systemd-run --quiet bash -c 'while :; do head -c 8M /dev/zero >>/mnt/leak; sleep 0.2; done'`),
			reason: `containers restarted|visits (in a row )?failed|the check \w+ fails|memory is available|` + oldReport,
		},
		{
			name: "memory that slowly gets lost",
			// A server of the local cloud reports this machine's memory, so this server's exporter gets its own figures.
			command: asRoot(`figures() {
  awk -v percent="$1" '/^MemTotal:/ { all = $2 }
    /^MemAvailable:/ { $2 = int(all * percent / 100) }
    { print }' /proc/meminfo
}
figures 50 >/srv/metrics/meminfo
nsenter --mount --target "$(docker inspect --format '{{.State.Pid}}' site-node-1)" \
  busybox mount -o bind /host/root/meminfo /proc/meminfo
for percent in 40 30 20 10 6 3; do
  figures "$percent" >/srv/metrics/meminfo
  sleep 2
done`),
			reason: `[23]\.\d % of the memory is available`,
		},
		{
			name: "an agent that is dead", command: "sudo systemctl stop agent-report.path agent-report.service",
			reason: oldReport,
		},
		{name: "no way to S3", command: "sudo ip route add blackhole " + s3, reason: oldReport},
		{
			name:    "no DNS",
			command: "sudo systemctl stop systemd-resolved && echo 'nameserver 127.0.0.9' | sudo tee /etc/resolv.conf",
			reason:  oldReport,
		},
		{
			name: "no network", command: "sudo systemd-run --on-active=1 ip link set ens5 down",
			reason: `visits in a row failed: `,
		},
		{name: "a kernel that panics", strike: killServer, reason: `visits in a row failed: `},
	}
}

// shiftClock replaces the server's last report by a report from a server whose clock is an hour fast. Servers of the
// local cloud share this machine's clock.
func shiftClock(t *testing.T, p *project, server string) {
	t.Helper()
	const key = "handover/report.json"
	bucket := p.outputs(t).BackupBucket
	var report map[string]any
	eventually(t, time.Minute, func() (bool, string) {
		text := p.object(t, bucket, key)
		return json.Unmarshal([]byte(text), &report) == nil && report["server"] == server, text
	})
	stopped := p.ssh(t, "sudo systemctl stop agent-report.path agent-report.service")
	require.NoError(t, stopped.err, stopped.String())
	report["time"] = time.Now().Add(time.Hour).UTC()
	text, err := json.Marshal(report)
	require.NoError(t, err)
	put := p.runInput(t, time.Minute, string(text), "env", "-u", "AWS_CA_BUNDLE", "rclone", "rcat",
		":s3,env_auth=true:"+bucket+"/"+key)
	require.NoError(t, put.err, put.String())
}

// killServer kills a server without a shutdown.
func killServer(t *testing.T, p *project, server string) {
	t.Helper()
	p.must(t, time.Minute, "docker", "kill", "--signal", "KILL", p.container(t, server))
}

// wayBackMoment is a moment on the way back: some time after a line of the bake's output.
type wayBackMoment struct {
	line  string
	later time.Duration
}

func wayBackMoments() []wayBackMoment {
	const decided, moved, over = "the bake failed: ", "the VIP is back at ", " serves again, "
	return []wayBackMoment{{decided, 0}, {moved, 0}, {moved, 2 * time.Second}, {moved, 4 * time.Second}, {over, 0}}
}

// TestBake breaks servers in different ways after they have received the VIP, and kills updates during the bake and on
// the way back.
func TestBake(t *testing.T) {
	if os.Getenv("E2E") != "bake" {
		t.Skip("needs a local cloud that is up and takes one and a half to three hours: make test-bake")
	}
	p := root(t)
	p.loadEnv(t)
	p.startClean(t)
	p.converges(t)
	replaced := p.copy(t)
	s3, err := url.Parse(strings.TrimSpace(replaced.must(t, time.Minute, "printenv", "AWS_ENDPOINT_URL_S3")))
	require.NoError(t, err)

	generation := firstGeneration + 1
	t.Run("an update without a fault is longer by the bake time", func(t *testing.T) {
		bakeTakesItsTime(t, replaced, firstGeneration)
	})
	// Each update also shows that the previous one left nothing behind that obstructs it.
	for _, fault := range lateFaults(s3.Hostname()) {
		generation++
		t.Run(fault.name, func(t *testing.T) {
			replaced.set(t, "bakeTime", faultBakeTime)
			breakInBake(t, replaced, generation, fault)
		})
	}
	for i := range 5 {
		generation++
		moment := time.Duration(i) * killBakeTime / 5 * time.Second
		t.Run(fmt.Sprintf("an update that is killed after %.0f s of the bake", moment.Seconds()), func(t *testing.T) {
			replaced.set(t, "bakeTime", killBakeTime)
			killInBake(t, replaced, generation, moment)
		})
	}
	for _, moment := range wayBackMoments() {
		generation++
		t.Run(fmt.Sprintf("an update that is killed %.0f s after %q", moment.later.Seconds(), moment.line),
			func(t *testing.T) {
				replaced.set(t, "bakeTime", killBakeTime)
				killOnWayBack(t, replaced, generation, moment)
			})
	}
	generation++
	t.Run("a machine that fails on the way back", func(t *testing.T) {
		replaced.set(t, "bakeTime", killBakeTime)
		loseMachineOnWayBack(t, replaced, generation, wayBackMoments()[1])
	})
	generation++
	t.Run("an old server that is gone", func(t *testing.T) {
		replaced.set(t, "bakeTime", faultBakeTime)
		loseOldServer(t, replaced, generation)
	})
	t.Run("the project's own update needs no manual step", func(t *testing.T) { mendServer(t, p) })
}

// bakeTakesItsTime updates without and with a bake, and requires that the bake adds only the bake time.
func bakeTakesItsTime(t *testing.T, p *project, generation int) {
	for i, bakeTime := range []int{0, killBakeTime} {
		p.set(t, "bakeTime", bakeTime)
		p.set(t, "generation", generation+i)
		up, log := p.pulumiUpFollowed(t)
		require.NoError(t, up.err, up.String())
		bake := slices.IndexFunc(log.Steps, func(s engine.Step) bool { return s.Name == "cutover-bake" && s.Creates() })
		require.NotEqual(t, -1, bake, up.String())
		took := log.Steps[bake].Ended.Sub(log.Steps[bake].Began).Seconds()
		t.Logf("bake time %d s: the bake took %.1f s of %.0f s", bakeTime, took, up.took.Seconds())
		require.InDelta(t, bakeTime, took, 5)
	}
}

// startBake starts an update with a new server and returns when its bake begins.
func (p *project) startBake(t *testing.T, generation int, args ...string) *update {
	t.Helper()
	p.set(t, "generation", generation)
	up := p.startUp(t, args...)
	up.awaitOutput(t, bootTimeout, baking)
	return up
}

// awaitOutput waits for a text in the output of a running update.
func (u *update) awaitOutput(t *testing.T, limit time.Duration, text string) {
	t.Helper()
	over := time.After(limit)
	// The lines of the way back appear within a tenth of a second.
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(u.output(t), text) {
		select {
		case err := <-u.ended:
			require.Failf(t, "the update ended before "+text, "%v\n%s", err, u.output(t))
		case <-over:
			require.Failf(t, "not within "+limit.String()+": "+text, "%s", u.output(t))
		case <-tick.C:
		}
	}
}

// breaks causes a fault of the server that holds the VIP.
func (p *project) breaks(t *testing.T, fault lateFault, server string) {
	t.Helper()
	if fault.strike != nil {
		fault.strike(t, p, server)
		return
	}
	// The VIP may return before the command ends, which cuts its connection. The reason for the failed bake shows that
	// the command worked.
	if broken := p.ssh(t, fault.command); broken.err != nil {
		t.Log(broken.String())
	}
}

func breakInBake(t *testing.T, p *project, generation int, fault lateFault, args ...string) {
	before := p.outputs(t)
	visitors := p.visit(t)
	up := p.startBake(t, generation, args...)
	server, _ := p.served(t)
	require.NotEqual(t, before.ServerID, server)
	p.breaks(t, fault, server)
	err := <-up.ended
	output := up.output(t)
	seen := visitors.seen(t)
	require.Error(t, err, output)
	t.Log(lineOf(t, output, `failed its bake: .*(`+fault.reason+`)`))
	require.Contains(t, output, "the VIP is back at "+before.ServerID)
	// This time includes the window of the move back.
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

// serves waits until a server serves. The VIP may lead nowhere for some time.
func serves(t *testing.T, p *project, server string) {
	t.Helper()
	eventually(t, time.Minute, func() (bool, string) {
		served, _ := p.served(t)
		return served == server, served
	})
}

// killInBake kills the engine during the bake, whose process lives on, and updates again.
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

// startWayBack starts an update whose server fails its bake, and waits for a moment on the way back.
func (p *project) startWayBack(t *testing.T, generation int, moment wayBackMoment) (up *update, failed string) {
	t.Helper()
	before := p.outputs(t)
	up = p.startBake(t, generation)
	server, _ := p.served(t)
	require.NotEqual(t, before.ServerID, server)
	p.breaks(t, noWeb(), server)
	up.awaitOutput(t, time.Minute, moment.line)
	select {
	case err := <-up.ended:
		require.Failf(t, "the update ended before it was killed", "%v\n%s", err, up.output(t))
	case <-time.After(moment.later):
	}
	return up, server
}

// loseMachineOnWayBack kills everything that runs for an update on the way back, as a failure of its machine does, and
// updates again. The server that failed still runs, but must not get the VIP again.
func loseMachineOnWayBack(t *testing.T, p *project, generation int, moment wayBackMoment) {
	before := p.outputs(t)
	up, server := p.startWayBack(t, generation, moment)
	plugins := up.kill(t)
	for _, process := range append(up.others(t, plugins), plugins...) {
		// It may have ended by itself.
		if err := syscall.Kill(process.pid, syscall.SIGKILL); err != nil {
			require.ErrorIs(t, err, syscall.ESRCH)
		}
	}
	up.awaitOthers(t, workLimit, nil)
	serves(t, p, before.ServerID)
	p.container(t, server)
	// Three servers share this machine's processors, so the new one may be slower than its predecessor was.
	p.set(t, "bakeLatencyFactor", 100)
	defer p.set(t, "bakeLatencyFactor", 3)

	seen := p.updateAfterWayBack(t, before.ServerID, server)
	require.Len(t, seen.moves, 1)
	require.Equal(t, p.outputs(t).ServerID, seen.moves[0].to)
}

// updateAfterWayBack updates after a kill on the way back, and requires that another server replaces both.
func (p *project) updateAfterWayBack(t *testing.T, old, failed string) seen {
	t.Helper()
	visitors := p.visit(t)
	next := p.upAfterKill(t)
	require.NoError(t, next.err, next.String())
	seen := visitors.seen(t)
	seen.unharmed(t)
	p.forgetPending(t)
	require.NotContains(t, []string{old, failed}, p.outputs(t).ServerID)
	p.converged(t)
	t.Logf("the next update took %.0f s", next.took.Seconds())
	return seen
}

// killOnWayBack kills the engine on the way back, whose process lives on, and updates again.
func killOnWayBack(t *testing.T, p *project, generation int, moment wayBackMoment) {
	before := p.outputs(t)
	up, server := p.startWayBack(t, generation, moment)
	plugins := up.kill(t)
	took := up.awaitOthers(t, workLimit, plugins)
	serves(t, p, before.ServerID)
	// EC2 responds before the server has ended.
	eventually(t, endLimit, func() (bool, string) {
		left := p.must(t, time.Minute, "docker", "ps", "--quiet", "--filter", "name=web-"+server)
		return left == "", "the server that failed still runs"
	})

	t.Logf("the way back ended %.1f s after the kill", took.Seconds())
	p.updateAfterWayBack(t, before.ServerID, server)
}

// awaitSigns waits for a number of signs of life of the old server.
func (p *project) awaitSigns(t *testing.T, before outputs, signs int) {
	t.Helper()
	seen := map[string]bool{}
	eventually(t, time.Minute, func() (bool, string) {
		if sign := p.object(t, before.BackupBucket, "handover/standby.json"); strings.Contains(sign, before.ServerID) {
			seen[sign] = true
		}
		return len(seen) >= signs, fmt.Sprintf("%d signs of life", len(seen))
	})
}

// loseOldServer kills the old server during the bake, which then fails for a reason that does not keep the new server
// from serving. The VIP must stay, because visitors at the old server would get no answer.
func loseOldServer(t *testing.T, p *project, generation int) {
	before := p.outputs(t)
	visitors := p.visit(t)
	up := p.startBake(t, generation)
	server, _ := p.served(t)
	require.NotEqual(t, before.ServerID, server)
	// A server that has sent no sign of life in this bake is not missed.
	p.awaitSigns(t, before, 4)
	killServer(t, p, before.ServerID)
	const lost = " sends no sign of life any more"
	up.awaitOutput(t, time.Minute, before.ServerID+lost)
	p.breaks(t, restartLoop(), server)
	require.Error(t, <-up.ended, up.output(t))
	kept := "the way back failed, because " + before.ServerID + " does not serve: " + server + " keeps the VIP"
	for _, line := range []string{before.ServerID + lost, server + " failed its bake: containers restarted ", kept} {
		t.Log(lineOf(t, up.output(t), line))
	}
	seen := visitors.seen(t)
	seen.unharmed(t)
	require.Len(t, seen.moves, 1)
	require.Equal(t, server, seen.moves[0].to)
	serves(t, p, server)

	visitors = p.visit(t)
	again := p.pulumiUp(t)
	require.Error(t, again.err, again.String())
	require.Contains(t, again.String(), kept)
	require.Empty(t, visitors.seen(t).moves, "the VIP stays")
	serves(t, p, server)

	p.set(t, "generation", generation+1)
	visitors = p.visit(t)
	next := p.pulumiUp(t)
	require.NoError(t, next.err, next.String())
	visitors.seen(t).unharmed(t)
	require.NotContains(t, []string{before.ServerID, server}, p.outputs(t).ServerID)
	p.converged(t)
}
