package server

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// grafanaProxy is Traefik with the server's rules, in front of a stand-in for Grafana.
type grafanaProxy struct {
	address string

	mu      sync.Mutex
	arrived []string
	// last has the headers of the last request that arrived, including the host.
	last http.Header
}

func newGrafanaProxy(t *testing.T) *grafanaProxy {
	t.Helper()
	proxy := &grafanaProxy{}
	grafana := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		proxy.mu.Lock()
		defer proxy.mu.Unlock()
		proxy.arrived = append(proxy.arrived, request.URL.Path)
		proxy.last = request.Header.Clone()
		proxy.last.Set("Host", request.Host)
	}))
	t.Cleanup(grafana.Close)
	proxy.address, _ = startTraefik(t, "http://grafana:3000", grafana.URL)
	require.Eventually(t, func() bool {
		status, err := proxy.send("GET", "/api/health")
		return err == nil && status == http.StatusOK
	}, 20*time.Second, 50*time.Millisecond)
	return proxy
}

// startTraefik starts Traefik with the server's rules and additional flags, until the test ends. It replaces the URL
// of one service. Without Traefik, which the local cloud builds, it skips the test.
func startTraefik(t *testing.T, service, url string, flags ...string) (address string, process *os.Process) {
	t.Helper()
	traefik := os.Getenv("LOCALCLOUD_TRAEFIK")
	if traefik == "" {
		traefik = "../.localcloud/bin/traefik"
	}
	if _, err := os.Stat(traefik); err != nil {
		t.Skip("no Traefik here: make up builds it, or LOCALCLOUD_TRAEFIK names it")
	}
	ports := freeAddresses(t, 3)
	dir := t.TempDir()
	for source, target := range map[string]string{"site.yaml": "site.yaml", "states/waiting.yaml": "state.yaml"} {
		text, err := files.ReadFile("files/traefik/" + source)
		require.NoError(t, err)
		require.NoError(t,
			os.WriteFile(filepath.Join(dir, target), []byte(strings.ReplaceAll(string(text), service, url)), 0o644))
	}
	command := exec.CommandContext(t.Context(), traefik, append([]string{
		"--entrypoints.http.address=" + ports[1], "--entrypoints.https.address=" + ports[0],
		"--entrypoints.metrics.address=" + ports[2],
		"--ping.entrypoint=metrics", "--providers.file.directory=" + dir, "--log.level=ERROR",
		"--global.checknewversion=false", "--global.sendanonymoususage=false",
	}, flags...)...)
	command.Env = append(os.Environ(), "DOMAIN=example.org", "ALIASES=", "SITE_NAMES=example.org", "HSTS=max-age=1",
		"COMPOSE_PROFILES=mail,grafana")
	var log strings.Builder
	command.Stdout, command.Stderr = &log, &log
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait() // killed
		if t.Failed() {
			t.Logf("Traefik: %s", log.String())
		}
	})
	return ports[0], command.Process
}

// send sends a request for a path exactly as given, unlike net/http.
func (f *grafanaProxy) send(method, path string) (status int, err error) {
	return f.sendWith(method, path, "monitoring.example.org", "")
}

// sendWith sends a request with a given host and additional headers, each with its line end.
func (f *grafanaProxy) sendWith(method, path, host, headers string) (status int, err error) {
	connection, err := tls.Dial("tcp", f.address,
		&tls.Config{InsecureSkipVerify: true, ServerName: "monitoring.example.org"})
	if err != nil {
		return 0, err
	}
	defer func() { _ = connection.Close() }()
	if err := connection.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return 0, err
	}
	if _, err := fmt.Fprintf(connection, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\nConnection: close\r\n%s\r\n",
		method, path, host, headers); err != nil {
		return 0, err
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

// seen returns the paths that have arrived since the last call.
func (f *grafanaProxy) seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	arrived := f.arrived
	f.arrived = nil
	return arrived
}

func TestRequestsBeyondTheDashboardsQueriesAreBlocked(t *testing.T) {
	proxy := newGrafanaProxy(t)
	for _, request := range []string{
		"POST /api/datasources/proxy/uid/prometheus/api/v1/query",
		"GET /api/datasources/proxy/1/api/v1/query?query=up",
		"GET /api/datasources/proxy/uid/prometheus",
		"POST /api/datasources/uid/prometheus/resources/-/quit",
		"GET /api/datasources/uid/prometheus/resources/api/v1/status/config",
		"POST /api/datasources/uid/prometheus/resources/api/v1/admin/tsdb/delete_series",
		"GET /api/datasources/uid/prometheus/resources/api/v1/label/../status/config/values",
		"GET /api/datasources/uid/prometheus/resources/api/v1/label/..%2f..%2fstatus/values",
		"GET /api/datasources/1/resources/api/v1/labels",
		"GET /api/datasources", "GET /api/datasources/", "GET /api/datasources/uid/prometheus",
		"POST /api/alertmanager/alertmanager/api/v2/silences",
		"POST /api/alertmanager/grafana/api/v2/silences",
		"GET /api/prometheus/grafana/api/v1/rules",
		"POST /api/ruler/grafana/api/v1/rules/a", "POST /api/v1/provisioning/alert-rules", "GET /api/admin/settings",
		"POST /api/admin/users",
		"GET /api/users", "GET /api/orgs/1/users", "POST /api/serviceaccounts", "POST /api/auth/keys",
		"GET /api/plugin-proxy/x/y", "GET /api/plugins/x/resources/y", "GET /metrics", "GET /debug/pprof/",
		"GET /apis/prometheus.datasource.grafana.app/v0alpha1/namespaces/default/datasources/prometheus" +
			"/resource/api/v1/query",
		"POST /apis/notifications.alerting.grafana.app/v0alpha1/namespaces/default/receivers",
		// Other spellings.
		"GET //api//datasources//proxy/1/api/v1/query",
		"GET /api/./datasources/proxy/1/x", "GET /public/../api/datasources/proxy/1/x",
		"GET /api/datasource%73/proxy/1/x", "GET /%61pi/datasources/proxy/1/x", "GET /api%2fdatasources%2fproxy/1/x",
		"GET /api/datasources%2Fproxy/1/x",
		"GET /public/%2e%2e/api/datasources/proxy/1/x", "GET /public/..%2fapi/datasources/proxy/1/x",
		"GET /api%252fdatasources/proxy/1/x",
		`GET /api\datasources\proxy/1/x`, "GET /api%5cdatasources/proxy/1/x", "GET /api;a=b/datasources/proxy/1/x",
		"GET /API/Datasources/Proxy/1/x",
		"GET https://monitoring.example.org/api/datasources/proxy/1/x",
	} {
		method, path, _ := strings.Cut(request, " ")
		proxy.seen()
		status, err := proxy.send(method, path)
		require.NoError(t, err, request)
		require.Contains(t, []int{http.StatusBadRequest, http.StatusForbidden}, status, request)
		require.Empty(t, proxy.seen(), request)
	}
}

func TestDashboardsAreShown(t *testing.T) {
	proxy := newGrafanaProxy(t)
	for _, request := range []string{
		"GET /", "GET /d/site/site?orgId=1&var-server=i-1", "GET /public/build/app.0123.js", "GET /api/search?type=dash-db",
		"GET /api/dashboards/uid/site",
		"POST /api/ds/query?ds_type=prometheus", "GET /api/user/preferences", "GET /api/frontend/settings",
		"GET /api/live/ws", "GET /api/annotations",
		"GET /api/datasources/uid/prometheus/resources/api/v1/label/server/values?match%5B%5D=up&start=1",
		"GET /api/datasources/uid/prometheus/resources/api/v1/labels",
		"POST /api/datasources/uid/prometheus/resources/api/v1/series",
		"GET /api/plugins/prometheus/settings", "GET /login/github",
		"GET /apis/dashboard.grafana.app/v1beta1/namespaces/default/dashboards/site/dto",
	} {
		method, path, _ := strings.Cut(request, " ")
		proxy.seen()
		status, err := proxy.send(method, path)
		require.NoError(t, err, request)
		require.Equal(t, http.StatusOK, status, request)
		require.Equal(t, []string{strings.SplitN(path, "?", 2)[0]}, proxy.seen(), request)
	}
}

func TestForgedHostsAreRejected(t *testing.T) {
	proxy := newGrafanaProxy(t)
	proxy.seen()
	for _, host := range []string{
		"evil.example.net", "monitoring.example.org.evil.example.net", "evil.monitoring.example.org", "127.0.0.1",
		"grafana:3000", "web", "169.254.169.254",
		"monitoring.example.org@evil.example.net", "evil.example.net#monitoring.example.org",
		"monitoring.example.org,evil.example.net", "",
	} {
		status, err := proxy.sendWith("GET", "/api/health", host, "")
		require.NoError(t, err, host)
		require.Contains(t, []int{http.StatusBadRequest, http.StatusNotFound}, status, host)
		require.Empty(t, proxy.seen(), host)
	}
}

func TestForwardedHeadersOfVisitorsAreDropped(t *testing.T) {
	proxy := newGrafanaProxy(t)
	status, err := proxy.sendWith("GET", "/api/health", "monitoring.example.org",
		"X-Forwarded-For: 203.0.113.66\r\nX-Forwarded-Host: evil.example.net\r\nX-Forwarded-Proto: "+
			"http\r\nX-Forwarded-Port: 1\r\nX-Real-Ip: 203.0.113.66\r\nX-Forwarded-Prefix: /evil\r\nX-Forwarded-Server: "+
			"evil\r\nConnection: X-Forwarded-For\r\n")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	proxy.mu.Lock()
	defer proxy.mu.Unlock()
	require.Equal(t, "monitoring.example.org", proxy.last.Get("Host"))
	for name, values := range proxy.last {
		require.NotContains(t, strings.Join(values, ","), "203.0.113.66", name)
		require.NotContains(t, strings.Join(values, ","), "evil", name)
	}
	require.Equal(t, "https", proxy.last.Get("X-Forwarded-Proto"))
}
