package victorops_test

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testtool"
	"immutable-infra/localcloud/internal/victorops"
)

// alertmanager is a real Alertmanager, started by the entrypoint of the servers' image with the servers'
// configuration. Only the intervals and the address of VictorOps differ.
type alertmanager struct {
	*testing.T
	url     string
	log     *buffer
	command *exec.Cmd
}

// buffer is written by a process and read by a test.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(text)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func startAlertmanager(t *testing.T, endpoint *httptest.Server, key string) *alertmanager {
	t.Helper()
	return startAlertmanagerWithHeartbeat(t, endpoint, key, "")
}

// startAlertmanagerWithHeartbeat starts an Alertmanager that sends heartbeats to a URL, unless the URL is empty.
func startAlertmanagerWithHeartbeat(t *testing.T, endpoint *httptest.Server, key, heartbeat string) *alertmanager {
	t.Helper()
	program := testtool.Path(t, "prometheus-alertmanager")
	source := filepath.Join("..", "..", "..", "server", "files", "alertmanager")
	root := t.TempDir()
	address := freeAddress(t)
	write := func(path, text string) {
		path = filepath.Join(root, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(source, name))
		require.NoError(t, err)
		return string(text)
	}
	replaced := func(text string, pairs ...string) string {
		for i := 0; i < len(pairs); i += 2 {
			require.Contains(t, text, pairs[i])
		}
		return strings.NewReplacer(pairs...).Replace(text)
	}
	write("run/secrets/victorops.key", key+"\n")
	write("run/secrets/heartbeat.url", heartbeat)
	config := replaced(read("alertmanager.yaml"),
		"https://alert.victorops.com", endpoint.URL, "/run/", root+"/run/",
		"group_wait: 15s", "group_wait: 100ms", "group_interval: 1m", "group_interval: 200ms",
		"group_interval: 30s", "group_interval: 30ms", "repeat_interval: 50s", "repeat_interval: 50ms")
	if heartbeat != "" && lacksURLFile(t, program) {
		config = replaced(config, "url_file: "+root+"/run/secrets/heartbeat.url", "url: "+strings.TrimSpace(heartbeat))
	}
	write("etc/site/alertmanager.yaml", config)
	require.NoError(t, os.Mkdir(filepath.Join(root, "tmp"), 0o755))
	entrypoint, err := filepath.Abs(filepath.Join(source, "entrypoint"))
	require.NoError(t, err)
	write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: endpoint.Certificate().Raw})))

	a := &alertmanager{T: t, url: "http://" + address, log: &buffer{}}
	arguments := []string{entrypoint, root, "--web.listen-address=" + address}
	a.command = exec.CommandContext(t.Context(), "/bin/sh", arguments...)
	if _, err := os.Stat("/usr/share/prometheus/alertmanager"); errors.Is(err, fs.ErrNotExist) {
		// Debian's Alertmanager looks for its templates where the package installs them. Mount them there if the
		// package was only unpacked elsewhere.
		share := filepath.Join(filepath.Dir(program), "..", "share")
		a.command = exec.CommandContext(t.Context(), "unshare", append([]string{"--mount", "/bin/sh", "-c",
			`mount --bind "$0" /usr/share && exec /bin/sh "$@"`, share}, arguments...)...)
		if os.Geteuid() != 0 {
			t.Skip("prometheus-alertmanager is unpacked, not installed: run the test as root")
		}
	}
	// The debug log would show the key if anything logged it.
	a.command.Env = append(os.Environ(), "DOMAIN=example.org", "VICTOROPS_ROUTING=site", "LOG_LEVEL=debug",
		"SSL_CERT_FILE="+filepath.Join(root, "ca.pem"))
	a.command.Stdout, a.command.Stderr = a.log, a.log
	a.command.Cancel = func() error { return a.command.Process.Signal(syscall.SIGTERM) }
	a.command.WaitDelay = 10 * time.Second // then killed
	require.NoError(t, a.command.Start())
	t.Cleanup(func() {
		_ = a.command.Wait() // stopped by the test's context
		if t.Failed() {
			t.Log(a.log)
		}
	})
	a.eventually(func() bool {
		response, err := http.Get(a.url + "/-/ready")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK
	}, "Alertmanager starts")
	return a
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, listener.Close()) }()
	return listener.Addr().String()
}

func (a *alertmanager) eventually(condition func() bool, what string) {
	a.Helper()
	require.Eventually(a, condition, 20*time.Second, 20*time.Millisecond, what)
}

// fire reports an alert as firing, as Prometheus does. resolve reports it as resolved.
func (a *alertmanager) fire(name, server, severity string)    { a.post(name, server, severity, time.Hour) }
func (a *alertmanager) resolve(name, server, severity string) { a.post(name, server, severity, 0) }

func (a *alertmanager) post(name, server, severity string, remaining time.Duration) {
	a.Helper()
	body, err := json.Marshal([]any{map[string]any{
		"labels":      map[string]string{"alertname": name, "server": server, "severity": severity},
		"annotations": map[string]string{"summary": name + " on " + server, "todo": "Look.", "runbook": "docs/alerts.md"},
		"endsAt":      time.Now().Add(remaining),
	}})
	require.NoError(a, err)
	response, err := http.Post(a.url+"/api/v2/alerts", "application/json", bytes.NewReader(body))
	require.NoError(a, err)
	defer response.Body.Close()
	require.Equal(a, http.StatusOK, response.StatusCode)
}

// messageTypes returns the message types that VictorOps received for each incident, in order, such as
// "CRITICAL RECOVERY", by display name.
func messageTypes(server *victorops.Server) map[string]string {
	types := map[string]string{}
	for _, message := range server.Messages() {
		name := fmt.Sprint(message.Fields["entity_display_name"])
		types[name] = strings.TrimSpace(types[name] + " " + message.Type)
	}
	return types
}

func TestAlertOpensAndResolvesIncidentPerServer(t *testing.T) {
	server := victorops.New(key)
	endpoint := httptest.NewTLSServer(server)
	t.Cleanup(endpoint.Close)
	a := startAlertmanager(t, endpoint, key)

	a.fire("SiteDown", "i-1", "critical")
	a.fire("SiteDown", "i-2", "critical")
	a.eventually(func() bool { return len(messageTypes(server)) == 2 }, "both alerts are reported")
	a.resolve("SiteDown", "i-1", "critical")
	const first, second = "SiteDown on example.org (i-1)", "SiteDown on example.org (i-2)"
	a.eventually(func() bool { return messageTypes(server)[first] == "CRITICAL RECOVERY" }, "the first is resolved")
	require.Equal(t, "CRITICAL", messageTypes(server)[second], "the second is not resolved")

	ids := map[string]bool{}
	for _, message := range server.Messages() {
		ids[message.EntityID] = true
		require.Equal(t, "site", message.RoutingKey)
	}
	require.Len(t, ids, 2, "one incident per server")
	opened := server.Messages()[0]
	require.Contains(t, opened.Fields["state_message"], "Look.\ndocs/alerts.md")
	require.Contains(t, opened.Fields["state_message"], "https://monitoring.example.org/")
	require.Contains(t, opened.Fields["entity_display_name"], fmt.Sprint(opened.Fields["server"]))

	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", a.command.Process.Pid))
	require.NoError(t, err)
	require.Contains(t, string(command), "--config.file", "the entrypoint has started Alertmanager")
	require.NotContains(t, string(command), key)
	require.NotContains(t, a.log.String(), key)
}

func TestEscalationStaysOneIncident(t *testing.T) {
	server := victorops.New(key)
	endpoint := httptest.NewTLSServer(server)
	t.Cleanup(endpoint.Close)
	a := startAlertmanager(t, endpoint, key)

	const name = "DiskFull on example.org (i-1)"
	awaitTypes := func(expected string) {
		t.Helper()
		a.eventually(func() bool { return messageTypes(server)[name] == expected }, expected)
	}
	a.fire("DiskFull", "i-1", "warning")
	awaitTypes("WARNING")
	a.fire("DiskFull", "i-1", "critical")
	awaitTypes("WARNING CRITICAL")
	a.resolve("DiskFull", "i-1", "critical")
	a.resolve("DiskFull", "i-1", "warning")
	a.eventually(func() bool { return strings.HasSuffix(messageTypes(server)[name], "RECOVERY") },
		"the incident is resolved")
	ids := map[string]bool{}
	for _, message := range server.Messages() {
		ids[message.EntityID] = true
	}
	require.Len(t, ids, 1)
}

func TestSymptomsOfSiteDownAreInhibited(t *testing.T) {
	server := victorops.New(key)
	endpoint := httptest.NewTLSServer(server)
	t.Cleanup(endpoint.Close)
	a := startAlertmanager(t, endpoint, key)

	a.fire("Watchdog", "i-1", "none")
	a.fire("SiteDown", "i-1", "critical")
	a.eventually(func() bool { return len(messageTypes(server)) == 1 }, "the cause is reported")
	a.fire("TargetGone", "i-1", "warning")
	a.fire("TargetGone", "i-2", "warning")
	a.fire("MemoryLow", "i-1", "warning")
	a.eventually(func() bool { return len(messageTypes(server)) == 3 }, "alerts that are not symptoms are reported")
	require.Equal(t, map[string]string{
		"SiteDown on example.org (i-1)":   "CRITICAL",
		"TargetGone on example.org (i-2)": "WARNING",
		"MemoryLow on example.org (i-1)":  "WARNING",
	}, messageTypes(server))
}

func TestAlertIsDeliveredAfterVictorOpsOutage(t *testing.T) {
	server := victorops.New(key)
	var failures atomic.Int64
	failures.Store(2)
	endpoint := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if failures.Add(-1) >= 0 {
			http.Error(w, "later", http.StatusServiceUnavailable)
			return
		}
		server.ServeHTTP(w, r)
	}))
	t.Cleanup(endpoint.Close)
	a := startAlertmanager(t, endpoint, key)

	a.fire("SiteDown", "i-1", "critical")
	a.eventually(func() bool { return len(server.Messages()) == 1 }, "the alert arrives after two failures")
	require.Negative(t, failures.Load())
}

// lacksURLFile reports whether Alertmanager is older than 0.26 and therefore does not support url_file. Servers run
// 0.28.
func lacksURLFile(t *testing.T, program string) bool {
	t.Helper()
	version, err := exec.CommandContext(t.Context(), program, "--version").CombinedOutput()
	require.NoError(t, err, string(version))
	return regexp.MustCompile(`version 0\.(1\d|2[0-5])\.`).Match(version)
}

func TestOnlyWatchdogSendsRepeatedHeartbeats(t *testing.T) {
	server := victorops.New(key)
	bodies := make(chan string, 1000)
	endpoint := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/heartbeat/m1-5c1e0f" {
			server.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err == nil && r.Method == http.MethodPost {
			bodies <- string(body)
		}
	}))
	t.Cleanup(endpoint.Close)
	a := startAlertmanagerWithHeartbeat(t, endpoint, key, endpoint.URL+"/heartbeat/m1-5c1e0f\n")

	a.fire("SiteDown", "i-1", "critical")
	a.eventually(func() bool { return len(messageTypes(server)) == 1 }, "an alert goes to VictorOps")
	require.Empty(t, bodies, "it is not sent as a heartbeat")
	a.fire("Watchdog", "i-1", "none")
	a.eventually(func() bool { return len(bodies) > 3 }, "the heartbeat is repeated")
	a.resolve("Watchdog", "i-1", "none")
	ended := func() bool {
		select {
		case body := <-bodies:
			require.Contains(t, body, `"alertname":"Watchdog"`)
			require.Contains(t, body, `"status":"firing"`)
			require.NotContains(t, body, "SiteDown")
			return false
		case <-time.After(time.Second):
			return true
		}
	}
	// Heartbeats in flight arrive first; a resolved notification would arrive last.
	for i := 0; !ended(); i++ {
		require.Less(t, i, 1000, "heartbeats stop when the alert is resolved")
	}
	require.NotContains(t, messageTypes(server), "Watchdog on example.org (i-1)")
}

func TestHeartbeatURLIsNotLogged(t *testing.T) {
	endpoint := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(endpoint.Close)
	a := startAlertmanagerWithHeartbeat(t, endpoint, key, endpoint.URL+"/heartbeat/m1-5c1e0f")
	if lacksURLFile(t, "prometheus-alertmanager") {
		t.Skip("Alertmanager before 0.26 logs webhook URLs; servers run 0.28")
	}
	a.fire("Watchdog", "i-1", "none")
	a.eventually(func() bool { return strings.Contains(a.log.String(), "404") }, "the rejection is logged")
	endpoint.Close()
	a.eventually(func() bool { return strings.Contains(a.log.String(), "connection refused") },
		"the connection failure is logged")
	require.NotContains(t, a.log.String(), "5c1e0f")
}

func TestRejectedKeyIsNotLogged(t *testing.T) {
	server := victorops.New("another")
	endpoint := httptest.NewTLSServer(server)
	t.Cleanup(endpoint.Close)
	a := startAlertmanager(t, endpoint, key)

	a.fire("SiteDown", "i-1", "critical")
	a.eventually(func() bool { return strings.Contains(a.log.String(), "404") }, "the rejection is logged")
	endpoint.Close()
	a.fire("MemoryLow", "i-2", "warning")
	a.eventually(func() bool { return strings.Contains(a.log.String(), "connection refused") },
		"the connection failure is logged")
	require.NotContains(t, a.log.String(), key)
	require.Empty(t, server.Messages())
}
