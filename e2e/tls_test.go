package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	siteName  = "site.localcloud.test"
	aliasName = "www." + siteName
)

// handshake connects to the site, trusting only the local cloud's CAs.
func (p *project) handshake(t *testing.T, name string, change func(*tls.Config)) (tls.ConnectionState, error) {
	t.Helper()
	config := &tls.Config{RootCAs: p.roots(t), ServerName: name}
	change(config)
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: config}
	connection, err := dialer.DialContext(t.Context(), "tcp", name+":443")
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer connection.Close()
	return connection.(*tls.Conn).ConnectionState(), nil
}

// certificate returns the certificate that the site presents for a name.
func (p *project) certificate(t *testing.T, name string) *x509.Certificate {
	t.Helper()
	state, err := p.handshake(t, name, func(*tls.Config) {})
	require.NoError(t, err)
	return state.PeerCertificates[0]
}

// httpsOnly sends requests as visitors and as attackers do.
func httpsOnly(t *testing.T, p *project) {
	for name, target := range map[string]string{
		"http://" + siteName + "/about/?a=b":   siteURL + "/about/?a=b",
		"http://" + aliasName + "/about/?a=b":  "https://" + aliasName + "/about/?a=b",
		"https://" + aliasName + "/about/?a=b": siteURL + "/about/?a=b",
	} {
		status, _, header := p.get(t, name)
		require.Contains(t, []int{http.StatusMovedPermanently, http.StatusPermanentRedirect}, status, name)
		require.Equal(t, target, header.Get("Location"), name)
	}
	verified := p.run(t, time.Minute, "openssl", "s_client", "-connect", siteName+":443", "-servername", siteName,
		"-CAfile", p.authority(), "-verify_hostname", siteName, "-verify_return_error", "-brief")
	require.NoError(t, verified.err, verified.String())
	require.Contains(t, verified.stdout+verified.stderr, "Verification: OK")

	for _, name := range []string{siteName, aliasName} {
		certificate := p.certificate(t, name)
		require.NoError(t, certificate.VerifyHostname(name))
		require.Greater(t, time.Until(certificate.NotAfter), 30*24*time.Hour)
	}
	state, err := p.handshake(t, siteName, func(config *tls.Config) { config.NextProtos = []string{"h2", "http/1.1"} })
	require.NoError(t, err)
	require.Equal(t, "h2", state.NegotiatedProtocol)
	_, err = p.handshake(t, siteName,
		func(config *tls.Config) { config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 })
	require.ErrorContains(t, err, "protocol version")

	_, _, header := p.get(t, siteURL)
	require.Equal(t, "max-age=31536000", header.Get("Strict-Transport-Security"), "subdomains are not included")
	for _, name := range []string{"Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy"} {
		require.NotEmpty(t, header.Get(name), name)
	}
	require.Empty(t, header.Get("X-Powered-By"))
	require.NotRegexp(t, `\d`, header.Get("Server"), "no version is shown")
}

// webRules tests the headers, redirects and compression that the web server adds to the files of a release.
func webRules(t *testing.T, p *project) {
	status, front, header := p.get(t, siteURL+"/")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "no-cache", header.Get("Cache-Control"), "browsers must revalidate a page")
	asset := regexp.MustCompile(`/assets/[^"]+-[0-9a-f]{16}\.css`).FindString(front)
	require.NotEmpty(t, asset, front)
	status, _, header = p.get(t, siteURL+asset)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, header.Get("Cache-Control"), "immutable", "a file with its hash in its name never changes")
	status, _, header = p.get(t, siteURL+regexp.MustCompile(`[0-9a-f]{16}`).ReplaceAllString(asset, "0123456789abcdef"))
	require.Equal(t, http.StatusOK, status, "an older page may refer to the file by its earlier name")
	require.Equal(t, "no-cache", header.Get("Cache-Control"))

	content, err := os.ReadFile(filepath.Join(p.dir, "site", "_redirects"))
	require.NoError(t, err)
	statuses := map[int]int{}
	for line := range strings.Lines(string(content)) {
		rule := strings.Fields(line)
		if len(rule) == 0 || strings.HasPrefix(rule[0], "#") {
			continue
		}
		want := http.StatusMovedPermanently
		if len(rule) > 2 {
			want, err = strconv.Atoi(rule[2])
			require.NoError(t, err)
		}
		statuses[want]++
		status, _, header := p.get(t, siteURL+rule[0])
		require.Equal(t, want, status, rule[0])
		if want == http.StatusMovedPermanently {
			require.Equal(t, rule[1], header.Get("Location"), rule[0])
		}
	}
	require.Positive(t, statuses[http.StatusMovedPermanently])
	require.Positive(t, statuses[http.StatusGone])
	for encoding, wanted := range map[string]string{"gzip": "gzip", "br": "br", "identity": ""} {
		answer := p.must(t, time.Minute, "curl", "-sS", "--cacert", p.authority(), "-H", "Accept-Encoding: "+encoding, "-o",
			"/dev/null", "-w", "%header{content-encoding}", siteURL)
		require.Equal(t, wanted, answer, encoding)
	}
}

// grafana starts Grafana if its image is available. The stack itself omits it.
func grafana(t *testing.T, p *project) {
	get := func(path string) (status, body string) {
		answer := p.must(t, time.Minute, "curl", "-sS", "--insecure", "--connect-to", "::"+p.outputs(t).VIP, "-w",
			"\n%{http_code}", "https://monitoring."+siteName+path)
		lines := strings.Split(answer, "\n")
		return lines[len(lines)-1], strings.Join(lines[:len(lines)-1], "\n")
	}
	status, _ := get("/")
	require.Equal(t, "404", status, "it is off")
	issued := p.ssh(t, "sudo cat /srv/traefik/acme/acme.json")
	require.NoError(t, issued.err, issued.String())
	require.NotContains(t, issued.stdout, "monitoring.", "no certificate is requested")

	compose := "sudo COMPOSE_PROFILES=grafana docker compose --project-directory /opt/site "
	pulled := p.ssh(t, compose+"pull --quiet grafana")
	if pulled.err != nil {
		t.Skipf("its image cannot be pulled here: %s", strings.TrimSpace(pulled.stderr))
	}
	started := p.ssh(t, compose+"up --detach --wait")
	require.NoError(t, started.err, started.String())
	defer func() {
		require.NoError(t,
			p.ssh(t,
				compose+"rm --stop --force grafana && sudo docker compose --project-directory /opt/site up --detach --wait").err)
	}()
	status, body := get("/api/search?type=dash-db")
	require.Equal(t, "200", status, body)
	var found []struct{ UID string }
	require.NoError(t, json.Unmarshal([]byte(body), &found), body)
	require.Len(t, found, 3)
	status, body = get("/api/datasources/proxy/uid/prometheus/api/v1/status/config")
	require.Equal(t, "403", status, body)
}

// names queries the local cloud's DNS server and this machine's resolver.
func names(t *testing.T, p *project) {
	vip := p.outputs(t).VIP
	ask := func(name, kind string) string {
		return strings.TrimSpace(p.must(t, time.Minute, "dig", "+norecurse", "+short", "@198.18.0.5", name, kind))
	}
	require.Empty(t, ask("monitoring."+siteName, "A"), "without Grafana, the name does not resolve")
	for _, name := range []string{siteName, aliasName} {
		require.Equal(t, vip, ask(name, "A"), name)
		require.Equal(t, vip, strings.Fields(p.must(t, time.Minute, "getent", "ahostsv4", name))[0], name)
	}
	require.Equal(t, `0 issue "acme.localcloud.test; validationmethods=http-01"`, ask(siteName, "CAA"))
	ready := p.ssh(t, "sudo agent ready")
	require.NoError(t, ready.err, ready.String())
	require.Regexp(t, `; account https://acme\.localcloud\.test/\S+\n`, ready.stdout,
		"the account that such a record may name")
	require.Equal(t, "stats.uptimerobot.com.", ask("status."+siteName, "CNAME"))
	require.Equal(t, `"v=spf1 -all"`, ask(siteName, "TXT"))
	missing := p.must(t, time.Minute, "dig", "+norecurse", "@198.18.0.5", "nowhere."+siteName, "A")
	require.Contains(t, missing, "status: NXDOMAIN")
}

// testsslAccepted returns findings of testssl.sh that do not matter for this site, with the reason.
func testsslAccepted() map[string]string {
	return map[string]string{
		"BREACH":          "pages are compressed, and contain no secret: this site has no logins",
		"cert_revocation": "the test CA offers no revocation list; Let's Encrypt does",
	}
}

// tlsAsTestsslSeesIt requires that testssl.sh finds no issues other than the accepted ones.
func tlsAsTestsslSeesIt(t *testing.T, p *project) {
	file := filepath.Join(t.TempDir(), "testssl.json")
	run := p.run(t, 9*time.Minute, "testssl", "--quiet", "--color", "0", "--warnings", "batch", "--add-ca", p.authority(),
		"--ip", p.outputs(t).VIP, "--severity", "MEDIUM", "--jsonfile", file, siteURL)
	content, err := os.ReadFile(file)
	require.NoError(t, err, run.String())
	var findings []struct{ ID, Severity, Finding string }
	require.NoError(t, json.Unmarshal(content, &findings), string(content))
	accepted := testsslAccepted()
	var issues []string
	for _, f := range findings {
		if !slices.Contains([]string{"MEDIUM", "HIGH", "CRITICAL"}, f.Severity) {
			continue // warnings concern the machine that testssl.sh runs on
		}
		line := fmt.Sprintf("%s %s: %s", f.Severity, f.ID, f.Finding)
		if reason, ok := accepted[f.ID]; ok {
			t.Logf("accepted: %s (%s)", line, reason)
			continue
		}
		issues = append(issues, line)
	}
	require.Empty(t, issues)
	require.Contains(t, run.stdout, "Testing vulnerabilities", "testssl.sh ran to completion: %s", run.String())
	t.Logf("testssl.sh took %.0f s", run.took.Seconds())
}

// headersAsTheObservatorySeesThem requires a high score from the MDN HTTP Observatory.
func headersAsTheObservatorySeesThem(t *testing.T, p *project) {
	run := p.run(t, 5*time.Minute, "ops/scripts/observatory.sh", filepath.Join(p.home(), "cache", "observatory"),
		p.authority(), siteName)
	if run.status() == 3 {
		t.Skip(run.stderr)
	}
	require.NoError(t, run.err, run.String())
	var judged struct {
		Scan  struct{ Score, TestsFailed int }
		Tests map[string]struct{ Result string }
	}
	require.NoError(t, json.Unmarshal([]byte(run.stdout), &judged), run.stdout)
	require.GreaterOrEqual(t, judged.Scan.Score, 120, run.stdout)
	require.Zero(t, judged.Scan.TestsFailed, run.stdout)
	t.Logf("the observatory's score is %d, from %d tests", judged.Scan.Score, len(judged.Tests))
}

// php requests a page that runs, and PHP files that must not run.
func php(t *testing.T, p *project) {
	status, body, header := p.get(t, siteURL+"/api/hello.php")
	require.Equal(t, http.StatusOK, status, body)
	require.NotContains(t, body, "<?php")
	require.Contains(t, header.Get("Content-Type"), "json")

	upload := p.ssh(t,
		`printf '<?php echo "ran";' >/tmp/upload.php && sudo install -D -m 0644 /tmp/upload.php /srv/site/upload.php`)
	require.NoError(t, upload.err, upload.String())
	defer func() { require.NoError(t, p.ssh(t, "sudo rm /srv/site/upload.php").err) }()
	for _, path := range []string{
		"/missing.php", "/../upload.php", "/..%2fupload.php", "/%2e%2e/%2e%2e/upload.php", "/upload.php", "/index.html/x.php",
		"/assets/css/site.css/x.php", "/api/hello.php/x.php", "/api/..%2f..%2f..%2fupload.php", "/../../../../etc/passwd.php",
	} {
		asked := p.must(t, time.Minute, "curl", "-sS", "--path-as-is", "--cacert", p.authority(), "-o", "/dev/stderr", "-w",
			"%{http_code}", siteURL+path)
		require.Contains(t, []string{"404", "400"}, asked, path)
	}
	for _, path := range []string{"/nginx_status", "/fpm-status", "/fpm_status", "/fpm_ping"} {
		status, _, _ := p.get(t, siteURL+path)
		require.Equal(t, http.StatusNotFound, status, path)
	}
}

// sizes logs the memory of each container and the sizes of the images, and checks the containers' privileges. The tests
// of the Compose files check the memory limits, which not every kernel enforces.
func sizes(t *testing.T, p *project) {
	const mebibyte = 1 << 20
	measured := p.ssh(t, "cat /srv/metrics/server.prom")
	require.NoError(t, measured.err, measured.String())
	sum := 0
	sample := regexp.MustCompile(`(?m)^cgroup_memory_bytes\{name="(.+)"\} (\d+)$`)
	for _, found := range sample.FindAllStringSubmatch(measured.stdout, -1) {
		bytes, err := strconv.Atoi(found[2])
		require.NoError(t, err)
		t.Logf("%4d MiB  %s", bytes/mebibyte, found[1])
		sum += bytes
	}
	t.Logf("%4d MiB  together", sum/mebibyte)
	require.Positive(t, sum)
	require.Less(t, sum, 800*mebibyte, "it fits into 1 GB together with the kernel and its cache of the site")

	images := p.ssh(t, `sudo docker image ls --format '{{.Size}} {{.Repository}}:{{.Tag}}'`)
	require.NoError(t, images.err, images.String())
	t.Logf("images:\n%s", images.stdout)

	inspected := p.ssh(t,
		`sudo docker inspect --format '{{.Name}} {{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{if .State.Health}}{{.State.Health.Status}}{{end}}' $(sudo docker ps -q)`)
	require.NoError(t, inspected.err, inspected.String())
	lines := strings.Split(strings.TrimSpace(inspected.stdout), "\n")
	require.GreaterOrEqual(t, len(lines), 8)
	for _, line := range lines {
		fields := strings.Fields(line)
		require.NotContains(t, []string{"root", "0", "true"}, fields[1], "runs as root: %s", line)
		require.Equal(t, []string{"true", "[ALL]", "[no-new-privileges:true]", "healthy"}, fields[2:], line)
	}
}

// sameCertificate requires that a new server has the previous server's certificate.
func sameCertificate(t *testing.T, before, after *x509.Certificate) {
	t.Helper()
	require.True(t, bytes.Equal(before.Raw, after.Raw), "the certificate %s was replaced by %s", before.SerialNumber,
		after.SerialNumber)
	require.True(t, slices.Equal(before.DNSNames, after.DNSNames))
}
