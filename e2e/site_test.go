package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"immutable-infra/e2e/internal/switchover"
)

// TestTheSite takes the project through its life cycle on one machine. The parts depend on their order: each
// starts with the deployment that the previous ones left. Those that need several servers or local clouds run in
// `make test-operations`.
func TestTheSite(t *testing.T) {
	mode := os.Getenv("E2E")
	if mode != "1" && mode != "operations" && mode != "attach" {
		t.Skip("needs the local cloud, which `make test` starts; alone: make e2e, make test-operations, or E2E=attach for " +
			"one that is up")
	}
	p := root(t)

	var before string
	if mode != "attach" {
		p.must(t, 20*time.Minute, "make", "down")
		before = p.leftovers(t)
		t.Cleanup(func() {
			down := exec.Command("make", "down")
			down.Dir = p.dir
			if out, err := down.CombinedOutput(); err != nil {
				t.Errorf("make down: %v\n%s", err, out)
			}
			require.Equal(t, before, p.leftovers(t), "make down leaves nothing")
		})
		if !t.Run("make up deploys it", func(t *testing.T) { makeUp(t, p) }) {
			return
		}
	}
	p.loadEnv(t)

	part := func(name string, part func(t *testing.T, p *project)) {
		t.Run(name, func(t *testing.T) { part(t, p) })
	}
	if mode != "operations" {
		part("the VIP serves the build", servesTheBuild)
		part("a browser shows the site", browserShowsIt)
		part("a preview right after shows no change", noChange)
		part("a new clone finds the state", newClone)
		part("a renamed stack is refused, and renamed back", stackRenamed)
		part("encrypted addresses for SSH are not shown", addressesHidden)
		part("make bootstrap creates a bucket for state and a key for secrets", bootstrapped)
		part("a preview's role sees everything and changes nothing", previewOnly)
		part("an SSH client needs one line and asks nothing", sshLogin)
		part("ssh-audit finds strong algorithms only", sshAsAuditSeesIt)
		part("nothing changes a package of a running server", packagesStay)
		part("names resolve by the DNS records", names)
		part("the site is served by HTTPS only, with a certificate for all its names", httpsOnly)
		part("testssl.sh finds no issue", tlsAsTestsslSeesIt)
		part("the HTTP Observatory has nothing to add", headersAsTheObservatorySeesThem)
		part("redirects and missing pages work, and files are cached while they are unchanged", webRules)
		part("only PHP pages of the release run", php)
		part("containers are small and have few privileges", sizes)
		part("everything is measured, and each panel of the dashboards has data", measured)
		part("Grafana shows the dashboards", grafana)
		part("an alert and its end arrive at VictorOps", alertsArrive)
		part("UptimeRobot probes it, and was configured once", watchedFromOutside)
		part("resources at UptimeRobot are renamed in place", renamedInPlace)
		part("a monitor that was deleted by hand is created again", recreateMonitor)
		part("resources at UptimeRobot are deleted with their command", deleteMonitoring)
		part("an outage and its end are noticed from outside and arrive at VictorOps", outageIsSeen)
		part("broken alerts and their repair are noticed outside", heartbeatStops)
		part("only three ports are open", openPorts)
		part("buckets deny forbidden requests", bucketsRefuse)
		part("metadata needs a token and is unreachable for containers", metadata)
		part("pending security updates are counted", securityUpdatesAreCounted)
		part("the access log is rotated", accessLogIsRotated)
		part("containers reach only those that they need, and PHP none", containersReach)
		part("the server's configuration is valid for its own cloud-init", cloudInit)
		part("the agent reports whether the server is ready, and why not", agentReady)
		part("a rebooted server serves the same release", reboot)
		part("the active server is not terminated by its timer", liveServerStays)
		part("the server hands over, and resumes when its successor does not come", handover)
		part("an update replaces the server, excludes a second update and shows no secret, nor does its rollback, "+
			"and no visitor notices", rollback)
		part("an edited post is served without a new server", editPost)
		part("bad Liquid changes nothing", badLiquid)
		part("a rollback repairs an interrupted sync", halfSync)
		part("invalid configurations are answered in one error each", invalidConfigurations)
		part("everything fits into a small server", memory)
	}
	if mode != "1" {
		part("make measure-move counts each request of a move once", moveMeasured)
		part("test is promoted to production, and destroyed without it", promotion)
	}
	if mode == "operations" {
		part("an interrupted make up continues", interruptedUp)
		part("make down leaves nothing and make up works again", func(t *testing.T, p *project) { downAndUp(t, p, before) })
	}
}

func makeUp(t *testing.T, p *project) {
	up := p.run(t, 45*time.Minute, "make", "up")
	require.NoError(t, up.err, up.String())
	t.Logf("make up took %.0f s", up.took.Seconds())
	require.Contains(t, up.stdout, siteURL+"/")
	require.Contains(t, up.stdout, "ssh ")
}

func servesTheBuild(t *testing.T, p *project) {
	out := p.outputs(t)
	require.Equal(t, siteURL+"/", out.URL)

	site := builtSite(p)
	files := 0
	err := filepath.WalkDir(site, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) == ".php" {
			return err
		}
		files++
		relative, err := filepath.Rel(site, path)
		require.NoError(t, err)
		expected, err := os.ReadFile(path)
		require.NoError(t, err)
		// These files configure how the others are served.
		if relative == "404.html" || relative == "_headers" || relative == "_redirects" {
			return nil
		}
		status, body, _ := p.get(t, out.URL+relative)
		require.Equal(t, http.StatusOK, status, relative)
		require.Equal(t, string(expected), body, relative)
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, files, 10)

	front, err := os.ReadFile(filepath.Join(site, "index.html"))
	require.NoError(t, err)
	require.Equal(t, string(front),
		p.must(t, time.Minute, "bash", "-c", `curl -sS --cacert "$0" "$(pulumi stack output url)"`, p.authority()))

	notFound, err := os.ReadFile(filepath.Join(site, "404.html"))
	require.NoError(t, err)
	status, body, _ := p.get(t, out.URL+"no/such/page")
	require.Equal(t, http.StatusNotFound, status)
	require.Equal(t, string(notFound), body)

	_, marker, _ := p.get(t, out.URL+".well-known/release")
	require.Contains(t, marker, `"`+out.Release+`"`)
}

// builtSite returns the directory of the built site of the stack local, as it was uploaded.
func builtSite(p *project) string { return filepath.Join(p.dir, ".build", "local", "site") }

func browserShowsIt(t *testing.T, p *project) {
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-quic", true),
		chromedp.Env("HOME="+p.trustingHome(t)),
		chromedp.WindowSize(1280, 900))
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	defer cancel()
	browser, cancel := chromedp.NewContext(allocator)
	defer cancel()
	browser, cancel = context.WithTimeout(browser, time.Minute)
	defer cancel()

	// Visitors who type the address begin with HTTP.
	require.NoError(t, chromedp.Do(browser, chromedp.Navigate("http"+strings.TrimPrefix(p.outputs(t).URL, "https"))))
	location, err := chromedp.Run(browser, chromedp.Evaluate[string](`location.href`))
	require.NoError(t, err)
	require.Equal(t, p.outputs(t).URL, location)
	title, err := chromedp.Run(browser, chromedp.Title())
	require.NoError(t, err)
	require.Equal(t, "Notes on Immutable Infrastructure", title)

	_, err = chromedp.Run(browser,
		chromedp.Poll[bool](`document.images.length > 0 && [...document.images].every(image => image.complete)`))
	require.NoError(t, err)
	loaded, err := chromedp.Run(browser, chromedp.Evaluate[bool](`document.images[0].naturalWidth > 0`))
	require.NoError(t, err)
	require.True(t, loaded, "the front page's first image did not load")

	picture, err := chromedp.Run(browser, chromedp.CaptureScreenshot())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(p.home(), "screenshot.png"), picture, 0o644))
}

// trustingHome returns a home directory that makes a browser trust the local cloud's CAs.
func (p *project) trustingHome(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	database := filepath.Join(home, ".pki", "nssdb")
	require.NoError(t, os.MkdirAll(database, 0o700))
	p.must(t, time.Minute, "certutil", "-d", "sql:"+database, "-N", "--empty-password")
	content, err := os.ReadFile(p.authority())
	require.NoError(t, err)
	for number := 1; ; number++ {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			return home
		}
		one := p.runInput(t, time.Minute, string(pem.EncodeToMemory(block)), "certutil", "-d", "sql:"+database, "-A", "-t",
			"C,,", "-n", fmt.Sprintf("localcloud %d", number))
		require.NoError(t, one.err, one.String())
	}
}

func noChange(t *testing.T, p *project) {
	preview := p.run(t, 5*time.Minute, "pulumi", "preview", "--expect-no-changes", "--stack", "local", "--non-interactive")
	require.NoError(t, preview.err, preview.String())
	t.Logf("preview took %.1f s", preview.took.Seconds())

	refreshed := p.run(t, 5*time.Minute, "pulumi", "preview", "--refresh", "--expect-no-changes", "--stack", "local",
		"--non-interactive")
	require.NoError(t, refreshed.err, refreshed.String())
}

func sshLogin(t *testing.T, p *project) {
	login := p.ssh(t, "id -un && sudo id -un")
	require.NoError(t, login.err, login.String())
	require.Equal(t, "admin\nroot\n", login.stdout)
	require.Empty(t, login.stderr, "no warning is printed")

	password := p.sshWith(t, []string{
		"-o", "PubkeyAuthentication=no", "-o", "PreferredAuthentications=password,keyboard-interactive",
	}, "admin", "true")
	require.Equal(t, 255, password.status(), password.String())
	require.Contains(t, password.stderr, "Permission denied (publickey)")
	for _, user := range []string{"root", "bootstrap"} {
		refused := p.sshWith(t, nil, user, "true")
		require.Equal(t, 255, refused.status(), refused.String())
		require.Contains(t, refused.stderr, "Permission denied (publickey)")
	}
	// The server removes the bootstrap user when it notices that it holds the VIP.
	eventually(t, 30*time.Second, func() (bool, string) {
		bootstrap := p.ssh(t, "getent passwd bootstrap")
		return bootstrap.status() == 2, bootstrap.String()
	})
	users := p.ssh(t, "getent passwd bootstrap; ls /home; sudo grep -r bootstrap /etc/sudoers.d")
	require.NotContains(t, users.stdout, "bootstrap", "the bootstrap user is removed")

	offered := p.run(t, time.Minute, "ssh-keyscan", "-p", "12222", p.outputs(t).VIP)
	require.NoError(t, offered.err, offered.String())
	for line := range strings.Lines(offered.stdout) {
		require.Contains(t, line, "ssh-ed25519 ", "the ED25519 key is the only host key")
	}
}

func openPorts(t *testing.T, p *project) {
	vip := p.outputs(t).VIP
	for port, open := range map[int]bool{
		80: true, 443: true, 12222: true, 22: false, 111: false, 2375: false, 3000: false, 8080: false, 8081: false,
		8082: false, 8443: false, 9000: false, 9090: false, 9093: false, 9100: false, 9113: false,
	} {
		dialer := net.Dialer{Timeout: 2 * time.Second}
		connection, err := dialer.DialContext(t.Context(), "tcp", fmt.Sprintf("%s:%d", vip, port))
		if open {
			require.NoError(t, err, "port %d", port)
			require.NoError(t, connection.Close())
			continue
		}
		require.Error(t, err, "port %d is open", port)
	}
	// This queries the routing table and sends nothing.
	private := p.ssh(t,
		"curl -fsS -H \"X-aws-ec2-metadata-token: $(curl -fsS -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "+
			"http://169.254.169.254/latest/api/token)\" http://169.254.169.254/latest/meta-data/local-ipv4")
	require.NoError(t, private.err, private.String())
	route := p.must(t, time.Minute, "bash", "-c", `ip route get "$0" || true`, private.stdout)
	require.NotContains(t, route, "localcloud", "the machine has a route to the server's private address")
}

func bucketsRefuse(t *testing.T, p *project) {
	out := p.outputs(t)
	anonymous := p.must(t, time.Minute, "bash", "-c",
		`curl -sS -o /dev/null -w '%{http_code}' --cacert "$AWS_CA_BUNDLE" "$AWS_ENDPOINT_URL_S3/$0/site/index.html"`,
		out.ContentBucket)
	require.Equal(t, "403", anonymous)

	types := p.must(t, time.Minute, "bash", "-c",
		`env -u AWS_CA_BUNDLE rclone lsjson --no-modtime -R ":s3,env_auth=true:$0/site" | tr '}' '\n'`, out.ContentBucket)
	for suffix, kind := range map[string]string{
		`/index.html"`: "text/html", `.css"`: "text/css", `.svg"`: "image/svg", `.png"`: "image/png", `.jpg"`: "image/jpeg",
		`feed.xml"`: "xml", `robots.txt"`: "text/plain",
	} {
		found := false
		for line := range strings.Lines(types) {
			if strings.Contains(line, suffix) {
				found = true
				require.Contains(t, line, `"MimeType":"`, line)
				require.Contains(t, line, kind)
			}
		}
		require.True(t, found, "there is no %s in the bucket:\n%s", suffix, types)
	}

	// This tries the permissions of the server's own credentials, on the server.
	//nolint:lll // a raw string
	script := fmt.Sprintf(`set -eu
imds=http://169.254.169.254/latest
token=$(curl -fsS -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' $imds/api/token)
role=$(curl -fsS -H "X-aws-ec2-metadata-token: $token" $imds/meta-data/iam/security-credentials/)
read -r id secret session <<EOF
$(curl -fsS -H "X-aws-ec2-metadata-token: $token" $imds/meta-data/iam/security-credentials/$role | python3 -c 'import json,sys; c = json.load(sys.stdin); print(c["AccessKeyId"], c["SecretAccessKey"], c["Token"])')
EOF
s3() {
  curl -sS -o /tmp/answer -w "$1 $3 %%{http_code}\n" --aws-sigv4 aws:amz:us-east-1:s3 -u "$id:$secret" -H "X-Amz-Security-Token: $session" -X "$1" "https://$2.s3.us-east-1.amazonaws.com/$3" -d "$4"
}
s3 GET %[1]s SHA256SUMS ''
s3 GET %[1]s missing ''
s3 PUT %[1]s site/index.html defaced
s3 DELETE %[1]s site/index.html ''
s3 PUT %[2]s a-test backup
s3 GET %[2]s a-test ''
s3 GET %[2]s missing ''
s3 DELETE %[2]s a-test ''
`, out.ContentBucket, out.BackupBucket)
	tried := p.ssh(t, script)
	require.NoError(t, tried.err, tried.String())
	require.Equal(t, `GET SHA256SUMS 200
GET missing 404
PUT site/index.html 403
DELETE site/index.html 403
PUT a-test 200
GET a-test 200
GET missing 404
DELETE a-test 204
`, tried.stdout)
}

func metadata(t *testing.T, p *project) {
	without := p.ssh(t,
		"curl -s -o /dev/null -w '%{http_code}' --max-time 5 http://169.254.169.254/latest/meta-data/instance-id")
	require.NoError(t, without.err, without.String())
	require.Equal(t, "401", without.stdout)

	const token = "http://169.254.169.254/latest/api/token"
	fromServer := p.ssh(t, "curl -fsS --max-time 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "+token)
	require.NoError(t, fromServer.err, fromServer.String())
	require.NotEmpty(t, fromServer.stdout)

	// From a network with internet access, not even a connection can be established: any response, even a refusal, would
	// show a connection.
	fromContainer := p.ssh(t,
		`sudo docker run --rm --network site_visitors site/nginx busybox wget -T 5 -O - http://169.254.169.254/latest/meta-data/`)
	require.NotZero(t, fromContainer.status(), fromContainer.String())
	require.Contains(t, fromContainer.stdout+fromContainer.stderr, "timed out")

	environment := p.ssh(t,
		"sudo docker inspect --format '{{json .Config.Env}} {{json .HostConfig.Binds}} {{json .Mounts}}' "+
			"$(sudo docker ps -q)")
	require.NoError(t, environment.err, environment.String())
	require.NotContains(t, environment.stdout, "AWS_")
	require.NotContains(t, environment.stdout, "docker.sock")
}

func cloudInit(t *testing.T, p *project) {
	schema := p.ssh(t, "sudo cloud-init schema --system && sudo cloud-init status --long")
	require.NoError(t, schema.err, schema.String())
	require.Contains(t, schema.stdout, "Valid schema user-data")
	require.Contains(t, schema.stdout, "status: done")
	failed := p.ssh(t, "systemctl list-units --failed --no-legend --plain")
	require.NoError(t, failed.err, failed.String())
	require.Empty(t, failed.stdout, "no unit of the server failed")
}

// agentReady runs `agent ready` on the server, before and after its web server is stopped.
func agentReady(t *testing.T, p *project) {
	type report struct {
		Ready   bool
		Release string
		Checks  []struct {
			Name, Since, Detail string
			OK                  bool
		}
		Logs map[string]any
	}
	check := func() (result, report) {
		checked := p.ssh(t, "sudo agent ready --json")
		var parsed report
		require.NoError(t, json.Unmarshal([]byte(checked.stdout), &parsed), checked.String())
		return checked, parsed
	}

	checked, ready := check()
	require.NoError(t, checked.err, checked.String())
	require.True(t, ready.Ready)
	require.Equal(t, p.outputs(t).Release, ready.Release)
	var names []string
	for _, c := range ready.Checks {
		require.True(t, c.OK, checked.stdout)
		names = append(names, c.Name)
		_, err := time.Parse(time.RFC3339, c.Since)
		require.NoError(t, err)
	}
	require.ElementsMatch(t, []string{"agent", "certificate", "containers", "disk", "history", "php", "release"}, names)

	stopped := p.ssh(t, "sudo docker compose --project-directory /opt/site stop web")
	require.NoError(t, stopped.err, stopped.String())
	checked, ready = check()
	require.Equal(t, 1, checked.status(), checked.String())
	require.False(t, ready.Ready)
	for _, c := range ready.Checks {
		require.Equal(t, slices.Contains([]string{"agent", "certificate", "disk", "history"}, c.Name), c.OK, checked.stdout)
	}
	require.NotEmpty(t, ready.Logs, checked.stdout)

	started := p.ssh(t, "sudo docker compose --project-directory /opt/site start web && sudo agent ready --wait 1m")
	require.NoError(t, started.err, started.String())
}

// reboot reboots the server several times. A reboot is complete when PID 1 has another start time and the site is
// served again.
func reboot(t *testing.T, p *project) {
	out := p.outputs(t)
	for range 3 {
		booted := p.ssh(t, "ps -o lstart= -p 1")
		require.NoError(t, booted.err, booted.String())
		start := time.Now()
		p.ssh(t, "sudo systemctl reboot")
		var back time.Duration
		eventually(t, 2*time.Minute, func() (bool, string) {
			again := p.ssh(t, "ps -o lstart= -p 1")
			return again.err == nil && again.stdout != booted.stdout, again.String()
		})
		eventually(t, time.Minute, func() (bool, string) {
			server, release := p.served(t)
			back = time.Since(start)
			return server == out.ServerID && release == out.Release, server + " " + release
		})
		t.Logf("the server served again %.1f s after the reboot command", back.Seconds())
		ready := p.ssh(t, "sudo agent ready --wait 1m")
		require.NoError(t, ready.err, ready.String())
	}
	refused := p.sshWith(t, nil, "bootstrap", "true")
	require.Contains(t, refused.stderr, "Permission denied (publickey)")
}

// handover requests a handover for a successor that never takes over.
func handover(t *testing.T, p *project) {
	out := p.outputs(t)
	var holder struct{ Server string }
	require.NoError(t, json.Unmarshal([]byte(p.object(t, out.BackupBucket, "handover/holder.json")), &holder))
	require.Equal(t, out.ServerID, holder.Server)

	headers := func() string {
		return p.must(t, time.Minute, "curl", "-sS", "--http1.1", "--cacert", p.authority(), "-o", "/dev/null", "-D", "-",
			out.URL)
	}
	require.NotContains(t, headers(), "Connection: close")

	now := time.Now().UTC()
	request := fmt.Sprintf(`{"id":"i-nobody-%d","server":"i-nobody","announced":%q,"expires":%q}`,
		now.UnixNano(), now.Format(time.RFC3339Nano), now.Add(15*time.Second).Format(time.RFC3339Nano))
	put := p.runInput(t, time.Minute, request, "env", "-u", "AWS_CA_BUNDLE", "rclone", "rcat",
		":s3,env_auth=true:"+out.BackupBucket+"/handover/announcement.json")
	require.NoError(t, put.err, put.String())

	asked := eventually(t, 15*time.Second, func() (bool, string) {
		received := headers()
		return strings.Contains(received, "Connection: close"), received
	})
	acknowledged := eventually(t, 15*time.Second, func() (bool, string) {
		ack := p.object(t, out.BackupBucket, "handover/answer.json")
		return strings.Contains(ack, "i-nobody-") && strings.Contains(ack, out.ServerID), ack
	})
	t.Logf("visitors were asked to reconnect %.1f s after a request, which was acknowledged %.1f s later",
		asked.Seconds(), acknowledged.Seconds())
	eventually(t, time.Minute, func() (bool, string) {
		received := headers()
		return !strings.Contains(received, "Connection: close"), received
	})
	require.GreaterOrEqual(t, time.Since(now), 15*time.Second,
		"the server resumes when the request has expired, not earlier")
	prometheus := prometheus{p.forward(t, "prometheus", 9090)}
	eventually(t, time.Minute, func() (bool, string) {
		up := prometheus.query(t, fmt.Sprintf("up{server=%q} == 1", out.ServerID))
		return len(up) == 7, fmt.Sprintf("%d of 7 jobs are scraped again", len(up))
	})
}

// rollback deploys a commit with another generation and rolls it back.
func rollback(t *testing.T, p *project) {
	checkout := p.copy(t)
	checkout.commit(t, "first")
	first := checkout.pulumiUp(t, "--expect-no-changes")
	require.NoError(t, first.err, first.String())
	configuration, err := os.ReadFile(filepath.Join(checkout.dir, "Pulumi.local.yaml"))
	require.NoError(t, err)
	checkout.set(t, "generation", 2)

	before := p.outputs(t)
	certificate := p.certificate(t, siteName)
	p.moveAs(t, switchover.Move{Window: 6 * time.Second, Arrive: "old", Connections: "1m0s"})
	visitors := p.visit(t)
	refused := checkout.run(t, time.Minute, "make", "rollback", "STACK=local")
	require.Error(t, refused.err, "there are uncommitted changes")
	require.Contains(t, refused.stderr, "Pulumi.local.yaml")

	checkout.commit(t, "second")
	second := p.updateWatched(t, checkout)
	between := p.outputs(t)
	require.NotEqual(t, before.ServerID, between.ServerID)
	sameCertificate(t, certificate, p.certificate(t, siteName))
	require.Zero(t, visitors.seen(t).unharmed(t))

	// Fresh requests in the window succeed only if they outlast it.
	nothing := switchover.Move{Window: 6 * time.Second, Arrive: "nothing", Connections: "none"}
	p.moveAs(t, nothing)
	visitors = p.visit(t)
	back := checkout.run(t, 15*time.Minute, "make", "rollback", "STACK=local")
	require.NoError(t, back.err, back.String())
	restored, err := os.ReadFile(filepath.Join(checkout.dir, "Pulumi.local.yaml"))
	require.NoError(t, err)
	require.Equal(t, string(configuration), string(restored))
	require.NotContains(t, []string{before.ServerID, between.ServerID}, p.outputs(t).ServerID,
		"it is a new server, not an earlier one")
	p.converged(t)

	seen := visitors.seen(t)
	require.GreaterOrEqual(t, seen.report.Fresh.LongestGap, nothing.Window-moveLimit, "visitors noticed the window")
	t.Logf("the update took %.0f s, the rollback %.0f s; requests lost in the rollback's move: %d",
		second.took.Seconds(), back.took.Seconds(), seen.unharmed(t))
	server, release := p.served(t)
	require.Equal(t, p.outputs(t).ServerID, server)
	require.Equal(t, before.Release, release)
}

func editPost(t *testing.T, p *project) {
	before := p.outputs(t)
	edited := p.copy(t)
	posts, err := filepath.Glob(filepath.Join(edited.dir, "site", "_posts", "2026-*.md"))
	require.NoError(t, err)
	require.NotEmpty(t, posts)
	post, err := os.ReadFile(posts[0])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(posts[0], append(post, "\nA sentence that was not there before.\n"...), 0o644))
	name := regexp.MustCompile(`(\d{4})-\d\d-\d\d-(.*)\.md`).FindStringSubmatch(filepath.Base(posts[0]))
	url := fmt.Sprintf("%s%s/%s/", before.URL, name[1], name[2])

	start := time.Now()
	up := edited.pulumiUp(t)
	require.NoError(t, up.err, up.String())
	after := edited.outputs(t)
	_, marker, _ := p.get(t, siteURL+"/.well-known/release")
	require.Contains(t, marker, after.Release, "when the update ends, visitors get the new release")
	require.NotContains(t, up.String(), "cutover-bake created", "there is no bake, because the VIP did not move")
	// PHP always works, and serves either the old release or the new one.
	eventually(t, 70*time.Second-time.Since(start), func() (bool, string) {
		status, ran, _ := p.get(t, siteURL+"/api/hello.php")
		require.Equal(t, http.StatusOK, status, ran)
		require.Regexp(t, `"release":"(`+before.Release+`|`+after.Release+`)"`, ran)
		_, body, _ := p.get(t, url)
		return strings.Contains(body, "A sentence that was not there before."), body
	})
	_, ran, _ := p.get(t, siteURL+"/api/hello.php")
	require.Contains(t, ran, `"release":"`+after.Release+`"`, "PHP uses the new release at once")
	t.Logf("an edit was served %.0f s after pulumi up began, which itself took %.0f s", time.Since(start).Seconds(),
		up.took.Seconds())
	require.Equal(t, before.ServerID, after.ServerID)
	require.NotEqual(t, before.Release, after.Release)

	idle := edited.pulumiUp(t, "--expect-no-changes")
	require.NoError(t, idle.err, idle.String())

	back := p.pulumiUp(t)
	require.NoError(t, back.err, back.String())
	require.Equal(t, before.Release, p.outputs(t).Release, "the same source results in the same release")
	eventually(t, 70*time.Second, func() (bool, string) {
		_, body, _ := p.get(t, before.URL+".well-known/release")
		return strings.Contains(body, before.Release), body
	})
}

// object returns the content of an object in a bucket.
func (p *project) object(t *testing.T, bucket, key string) string {
	t.Helper()
	return p.must(t, time.Minute, "env", "-u", "AWS_CA_BUNDLE", "rclone", "cat", ":s3,env_auth=true:"+bucket+"/"+key)
}

// objects lists a bucket's objects with their hashes.
func (p *project) objects(t *testing.T, bucket string) string {
	t.Helper()
	return p.must(t, time.Minute, "bash", "-c", `"$@" | sort`, "sort", "env", "-u", "AWS_CA_BUNDLE", "rclone", "hashsum",
		"md5", ":s3,env_auth=true:"+bucket)
}

func badLiquid(t *testing.T, p *project) {
	out := p.outputs(t)
	objects := p.objects(t, out.ContentBucket)
	broken := p.copy(t)
	require.NoError(t,
		os.WriteFile(filepath.Join(broken.dir, "site", "broken.md"),
			[]byte("---\ntitle: Broken\ndescription: Broken\n---\n{% if %}\n"), 0o644))

	up := broken.pulumiUp(t)
	require.Error(t, up.err)
	require.Contains(t, up.stdout+up.stderr, "Liquid syntax error")
	require.Contains(t, up.stdout+up.stderr, "broken.md")

	require.Equal(t, objects, p.objects(t, out.ContentBucket))
	_, marker, _ := p.get(t, out.URL+".well-known/release")
	require.Contains(t, marker, out.Release)
	good := p.run(t, 5*time.Minute, "pulumi", "up", "--yes", "--stack", "local", "--non-interactive")
	require.NoError(t, good.err, good.String())
	require.Equal(t, out, p.outputs(t))
}

// halfSync interrupts a sync. Another deployment of the previous source must repair the bucket, or no other server
// could download the site from it.
func halfSync(t *testing.T, p *project) {
	before := p.outputs(t)
	objects := p.objects(t, before.ContentBucket)
	changed := p.copy(t)
	pages, err := filepath.Glob(filepath.Join(changed.dir, "site", "_posts", "2026-*.md"))
	require.NoError(t, err)
	for _, page := range pages {
		content, err := os.ReadFile(page)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(page, append(content, "\nHalf of this is uploaded.\n"...), 0o644))
	}
	// Only one file is uploaded.
	changed.env = append(slices.Clone(p.env),
		"AWS_ENDPOINT_URL_S3="+brokenStore(t, p.variable("AWS_ENDPOINT_URL_S3"), p.variable("AWS_CA_BUNDLE")))
	broken := changed.pulumiUp(t)
	require.Error(t, broken.err)
	require.NotEqual(t, objects, p.objects(t, before.ContentBucket), "the sync did not get far enough for this test")
	_, marker, _ := p.get(t, before.URL+".well-known/release")
	require.Contains(t, marker, before.Release)

	back := p.pulumiUp(t)
	require.NoError(t, back.err, back.String())
	require.Equal(t, objects, p.objects(t, before.ContentBucket))
	require.Equal(t, before, p.outputs(t))
}

func invalidConfigurations(t *testing.T, p *project) {
	content, err := os.ReadFile(filepath.Join(p.dir, "Pulumi.local.yaml"))
	require.NoError(t, err)
	before := p.resources(t)

	for name, change := range map[string]map[string]any{
		"nothing set":      {"domain": nil, "admins": nil, "sshAllowFrom": nil, "ami": nil, "acmeEmail": nil},
		"URL as domain":    {"domain": "https://example.org/", "aliases": []string{"WWW"}},
		"bad blocks":       {"sshAllowFrom": []string{"192.0.2.7/24", "any"}, "vpcCidr": "8.8.8.0/24"},
		"bad keys":         {"admins": []any{map[string]any{"name": "root", "keys": []string{"AAAA"}}}},
		"missing key file": {"admins": []any{map[string]any{"name": "admin", "keys": []string{"./missing.pub"}}}},
		"misspelled keys":  {"instancetype": "t3.micro", "sshport": 22},
		"out of range":     {"sshPort": 80, "rootVolumeSize": 1, "generation": -1, "releasesKept": 0},
		"no image":         {"ami": "debian-13", "instanceType": "micro"},
		"no site":          {"siteDir": "blog", "jekyllEnv": ""},
		"wrong types": {
			"sshPort": "twenty-two", "grafana": "maybe", "domain": []string{"a"}, "generation": []int{1}, "aliases": "www",
		},
		"another stack's name": {"domain": "production.localcloud.test"},
		"a plain secret":       {"victorOpsKey": "01234567-89ab-cdef-0123-456789abcdef"},
		"a mix": {
			"domain": "x", "ami": "x", "provisioningTimeout": 1000, "colour": "red", "backupVersionsKept": 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var file map[string]map[string]any
			var other struct {
				Salt string `yaml:"encryptionsalt"`
			}
			require.NoError(t, yaml.Unmarshal(content, &other))
			var config struct{ Config map[string]any }
			require.NoError(t, yaml.Unmarshal(content, &config))
			for key, value := range change {
				if value == nil {
					delete(config.Config, "immutable-infra:"+key)
					continue
				}
				config.Config["immutable-infra:"+key] = value
			}
			file = map[string]map[string]any{"config": config.Config}
			encoded, err := yaml.Marshal(file)
			require.NoError(t, err)
			path := filepath.Join(t.TempDir(), "Pulumi.local.yaml")
			require.NoError(t, os.WriteFile(path, fmt.Appendf(encoded, "encryptionsalt: %s\n", other.Salt), 0o644))

			up := p.run(t, 2*time.Minute, "pulumi", "up", "--yes", "--skip-preview", "--stack", "local", "--non-interactive",
				"--config-file", path)
			require.Error(t, up.err, up.String())
			for key := range change {
				require.Regexp(t, `(?m)\b`+key+`\b`, up.stdout+up.stderr)
			}
		})
	}
	require.Equal(t, before, p.resources(t), "no resource was touched")
}

func memory(t *testing.T, p *project) {
	var status struct {
		Containers []struct {
			Role                string
			Memory, MemoryLimit int64
		}
		Memory int64
	}
	const mebibyte = 1 << 20
	localcloud := filepath.Join(p.home(), "bin", "localcloud")
	require.NoError(t, json.Unmarshal([]byte(p.must(t, time.Minute, localcloud, "status", "--json")), &status))
	servers := 0
	for _, container := range status.Containers {
		if container.Role != "instance" {
			continue
		}
		servers++
		t.Logf("the server uses %d MiB of %d MiB", container.Memory/mebibyte, container.MemoryLimit/mebibyte)
		require.Positive(t, container.Memory)
		require.EqualValues(t, 1024*mebibyte, container.MemoryLimit)
	}
	require.Equal(t, 1, servers)
	t.Logf("the whole local cloud uses %d MiB", status.Memory/mebibyte)
	require.Less(t, status.Memory, int64(3*1024*mebibyte))
}

// leftovers lists the traces of a local cloud outside its directory.
func (p *project) leftovers(t *testing.T) string {
	t.Helper()
	script := `
ip -o link | grep -vE ': (lo|eth0|ifb[0-9]+|docker0)[:@]' | cut -d: -f2
ip route | grep 198.18 || true
nft list tables 2>/dev/null | grep localcloud || true
pgrep -af '[.]localcloud/' || true
if docker info >/dev/null 2>&1; then
  docker ps -aq --filter label=immutable-infra.localcloud
  docker network ls -q --filter label=immutable-infra.localcloud
  docker volume ls -q --filter label=immutable-infra.localcloud
fi
ls -d /run/localcloud* 2>/dev/null || true
sha256sum /etc/hosts
cat /proc/sys/net/ipv4/ip_forward`
	// Also after the test.
	command := exec.CommandContext(context.WithoutCancel(t.Context()), "bash", "-c", script)
	out, err := command.CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

// interruptedUp presses Ctrl-C while the server boots.
func interruptedUp(t *testing.T, p *project) {
	p.must(t, 10*time.Minute, "make", "down")
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	up := exec.CommandContext(ctx, "make", "up")
	up.Dir = p.dir
	up.Env = p.env
	up.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	output, err := up.StdoutPipe()
	require.NoError(t, err)
	up.Stderr = up.Stdout
	require.NoError(t, up.Start())
	interrupted := false
	var seen strings.Builder
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		fmt.Fprintln(&seen, lines.Text())
		if !interrupted && strings.Contains(lines.Text(), "web-bundle creating") {
			interrupted = true
			// Like a terminal, this signals all processes in the foreground.
			require.NoError(t, syscall.Kill(-up.Process.Pid, syscall.SIGINT))
		}
	}
	require.Error(t, up.Wait(), seen.String())
	require.True(t, interrupted, seen.String())

	again := p.run(t, 15*time.Minute, "make", "up")
	require.NoError(t, again.err, seen.String()+again.String())
	t.Logf("the next make up took %.0f s", again.took.Seconds())
	p.loadEnv(t) // the local cloud has a new account
	status, _, _ := p.get(t, p.outputs(t).URL)
	require.Equal(t, http.StatusOK, status)
}

func downAndUp(t *testing.T, p *project, before string) {
	if _, err := os.Stat(filepath.Join(p.home(), "docker")); err == nil {
		// localcloud's own engine refuses to remove a network that another container uses.
		image := strings.TrimSpace(p.must(t, time.Minute, "docker", "images", "--quiet", "localcloud/gateway"))
		p.must(t, time.Minute, "docker", "run", "--detach", "--stop-signal", "KILL", "--network", "localcloud", image,
			"sleep", "infinity")
	}
	down := p.run(t, 10*time.Minute, "make", "down")
	require.NoError(t, down.err, down.String())
	t.Logf("make down took %.0f s", down.took.Seconds())
	require.Equal(t, before, p.leftovers(t))

	entries, err := os.ReadDir(p.home())
	require.NoError(t, err)
	for _, entry := range entries {
		require.Contains(t, []string{"bin", "cache", "screenshot.png"}, entry.Name(),
			"only caches are left below .localcloud")
	}

	up := p.run(t, 15*time.Minute, "make", "up")
	require.NoError(t, up.err, up.String())
	t.Logf("make up without a deployment, but with caches, took %.0f s", up.took.Seconds())
	p.loadEnv(t)
	require.Less(t, up.took, 3*time.Minute)
	status, _, _ := p.get(t, p.outputs(t).URL)
	require.Equal(t, http.StatusOK, status)

	again := p.run(t, 15*time.Minute, "make", "up")
	require.NoError(t, again.err, again.String())
	require.Regexp(t, `Resources:\n +\d+ unchanged\n`, again.String())
}
