package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"immutable-infra/internal/testtool"
)

// leastShare is the minimum rate of the whole stack, as a share of the rate of Traefik on the host. It is below the
// measured share, so that a regression fails the test but a busy machine does not.
const leastShare = 0.5

// requestsPage is the page that is requested.
const requestsPage = "/about/"

// TestRequests compares the requests per second that the whole stack answers on kept connections with those that its
// parts answer on this machine.
func TestRequests(t *testing.T) {
	if os.Getenv("E2E") != "requests" {
		t.Skip("needs a local cloud that is up and takes minutes: make bench-requests")
	}
	p := root(t)
	p.loadEnv(t)
	response, err := p.client(t, 10*time.Second).Get(siteURL + requestsPage)
	require.NoError(t, err)
	page, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)

	plain, encrypted := hostNginx(t, page)
	outputs := p.outputs(t)
	server, traefik := p.processes(t, outputs.ServerID)
	own := p.ssh(t, "hostname -I")
	require.NoError(t, own.err, own.String())
	// The first address is the instance's, the others are those of Docker's networks.
	private, _, _ := strings.Cut(own.stdout, " ")
	targets := []struct {
		name, address string
		// network is the id of a process in whose network the client runs, or "" for this one's.
		network   string
		perSecond []float64
	}{
		{name: "the whole stack", address: outputs.VIP + ":443"},
		{name: "the whole stack, without the local cloud's network", address: private + ":443", network: server},
		{name: "the whole stack, without any network before Traefik", address: "127.0.0.1:8443", network: traefik},
		{name: "Traefik on the host, with log and metrics", address: p.hostTraefik(t, plain, true)},
		{name: "Traefik on the host, without", address: p.hostTraefik(t, plain, false)},
		{name: "nginx on the host, with TLS", address: encrypted},
	}
	for range number(t, "ROUNDS", 5) {
		for i := range targets {
			targets[i].perSecond = append(targets[i].perSecond,
				requestsPerSecond(t, targets[i].address, targets[i].network))
		}
	}
	medians := make([]float64, len(targets))
	for i, target := range targets {
		slices.Sort(target.perSecond)
		medians[i] = target.perSecond[len(target.perSecond)/2]
	}
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\trequests/s\tlowest\thighest\tthe stack's share")
	for i, target := range targets {
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.0f\t%.2f\n", target.name, medians[i], target.perSecond[0],
			target.perSecond[len(target.perSecond)-1], medians[0]/medians[i])
	}
	require.NoError(t, w.Flush())
	t.Logf("%d bytes a response\n%s", len(page), &table)
	require.GreaterOrEqual(t, medians[0]/medians[3], leastShare)
}

// processes returns the ids of the processes of a server and of its Traefik.
func (p *project) processes(t *testing.T, server string) (serverPID, traefikPID string) {
	t.Helper()
	container := p.container(t, server)
	pid := p.must(t, time.Minute, "docker", "inspect", "--format", "{{.State.Pid}}", container)
	// It lists the processes of the server's own containers as well.
	listed := p.must(t, time.Minute, "docker", "top", container, "-o", "pid,comm")
	traefik := regexp.MustCompile(`(?m)^(\d+) +traefik$`).FindStringSubmatch(listed)
	require.NotNil(t, traefik, listed)
	return strings.TrimSpace(pid), traefik[1]
}

// requestsPerSecond sends requests for five seconds, after one second of warm-up, on ten HTTP/2 connections with ten
// concurrent requests each. network is the id of a process in whose network the client runs, or "".
func requestsPerSecond(t *testing.T, address, network string) float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := []string{
		testtool.Path(t, "h2load"), "-c", "10", "-m", "10", "-t", "1", "-D", "5", "--warm-up-time", "1",
		"--header", "Accept-Encoding: identity", "--connect-to", address, siteURL + requestsPage,
	}
	if network != "" {
		command = append([]string{"nsenter", "--net", "--target", network}, command...)
	}
	output, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput()
	require.NoError(t, err, "%s", output)
	counts := regexp.MustCompile(`status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx`).FindSubmatch(output)
	require.NotNil(t, counts, "%s", output)
	require.NotEqual(t, "0", string(counts[1]), "%s", output)
	require.Contains(t, string(output), " 0 failed, 0 errored, 0 timeout", address)
	rate := regexp.MustCompile(`finished in .*, ([\d.]+) req/s`).FindSubmatch(output)
	require.NotNil(t, rate, "%s", output)
	perSecond, err := strconv.ParseFloat(string(rate[1]), 64)
	require.NoError(t, err)
	return perSecond
}

// loopback returns unused loopback addresses.
func loopback(t *testing.T, count int) (addresses []string) {
	t.Helper()
	for range count {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		// The listeners stay open until all addresses are known, because the kernel may choose a closed port again.
		defer func() { require.NoError(t, listener.Close()) }()
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses
}

// background runs a program until the test ends, and then kills it with its process group.
func background(t *testing.T, command *exec.Cmd) {
	t.Helper()
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
		_ = command.Wait() // killed
		if t.Failed() {
			t.Logf("%s: %s", command.Path, output.String())
		}
	})
}

// hostNginx serves a page without and with TLS.
func hostNginx(t *testing.T, page []byte) (plain, encrypted string) {
	t.Helper()
	dir := t.TempDir()
	addresses := loopback(t, 2)
	plain, encrypted = addresses[0], addresses[1]
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	// As root, nginx would serve files as another user, who cannot enter the test's directory.
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;"
	}
	for name, content := range map[string][]byte{
		requestsPage + "index.html": page,
		"certificate.pem":           pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		"key.pem":                   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		"nginx.conf": fmt.Appendf(nil, `%s
daemon off;
worker_processes auto;
pid nginx.pid;
events { worker_connections 1024; }
http {
    types { text/html html; }
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 120s;
    keepalive_requests 1000000;
    ssl_certificate certificate.pem;
    ssl_certificate_key key.pem;
    server {
        listen %s;
        listen %s ssl http2;
        root .;
    }
}
`, user, plain, encrypted),
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, content, 0o600))
	}
	nginx := testtool.Path(t, "nginx")
	background(t, exec.CommandContext(t.Context(), nginx, "-p", dir, "-c", "nginx.conf", "-e", "stderr"))
	return plain, encrypted
}

// hostTraefik starts the local cloud's Traefik, configured as on a server or without access log and metrics, and
// returns its address once it serves the page.
func (p *project) hostTraefik(t *testing.T, nginx string, measured bool) (address string) {
	t.Helper()
	files := filepath.Join(p.dir, "server", "files")
	var compose struct {
		Services struct {
			Traefik struct {
				Command     []string
				Environment map[string]string
			}
		}
	}
	text, err := os.ReadFile(filepath.Join(files, "compose.yaml"))
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, &compose))
	dir := t.TempDir()
	for name, as := range map[string]string{"site.yaml": "site.yaml", "states/waiting.yaml": "state.yaml"} {
		text, err := os.ReadFile(filepath.Join(files, "traefik", name))
		require.NoError(t, err)
		text = bytes.ReplaceAll(text, []byte("http://web:8080"), []byte("http://"+nginx))
		require.NoError(t, os.WriteFile(filepath.Join(dir, as), text, 0o600))
	}
	addresses := loopback(t, 3)
	flags := []string{
		"--entrypoints.https.address=" + addresses[0], "--entrypoints.http.address=" + addresses[1],
		"--entrypoints.metrics.address=" + addresses[2], "--providers.file.directory=" + dir,
	}
	if measured {
		flags = append(flags, "--accesslog.filepath="+filepath.Join(t.TempDir(), "access.log"))
	}
	replaced := regexp.MustCompile(
		`^--(entrypoints\.\w+\.address|providers\.file\.directory|accesslog\.filepath|certificatesresolvers\..*)=`)
	for _, flag := range compose.Services.Traefik.Command {
		observes := strings.HasPrefix(flag, "--accesslog") || strings.HasPrefix(flag, "--metrics")
		if !replaced.MatchString(flag) && (measured || !observes) {
			flags = append(flags, flag)
		}
	}
	command := exec.CommandContext(t.Context(), filepath.Join(p.home(), "bin", "traefik"), flags...)
	site, err := url.Parse(siteURL)
	require.NoError(t, err)
	command.Env = append(os.Environ(), "DOMAIN="+site.Hostname(), "SITE_NAMES="+site.Hostname(), "ALIASES=", "HSTS=",
		"COMPOSE_PROFILES=")
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		require.NotEmpty(t, compose.Services.Traefik.Environment[name], name)
		command.Env = append(command.Env, name+"="+compose.Services.Traefik.Environment[name])
	}
	background(t, command)
	eventually(t, 20*time.Second, func() (bool, string) {
		output, err := exec.CommandContext(t.Context(), testtool.Path(t, "h2load"), "-n", "1", "--connect-to", addresses[0],
			siteURL+requestsPage).CombinedOutput()
		return err == nil && strings.Contains(string(output), "status codes: 1 2xx"), string(output)
	})
	return addresses[0]
}
