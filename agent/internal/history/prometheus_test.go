package history

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testtool"
)

// startPrometheus runs a real Prometheus on a data directory until the test ends, and returns its
// address. It collects from targets, if any.
func startPrometheus(t *testing.T, data string, targets ...string) string {
	t.Helper()
	program := testtool.Path(t, "prometheus")
	config := filepath.Join(t.TempDir(), "prometheus.yaml")
	text := "global: {scrape_interval: 50ms, scrape_timeout: 50ms}\n"
	if len(targets) > 0 {
		text += fmt.Sprintf("scrape_configs: [{job_name: test, static_configs: [{targets: [%s]}]}]\n",
			strings.Join(targets, ", "))
	}
	require.NoError(t, os.WriteFile(config, []byte(text), 0o644))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	command := exec.Command(program, "--config.file="+config, "--storage.tsdb.path="+data, "--web.listen-address="+address,
		"--log.level=warn")
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		// The only error expected here is the one from Kill.
		_, _ = command.Process.Kill(), command.Wait()
		if t.Failed() {
			t.Log(output.String())
		}
	})
	require.Eventually(t, func() bool {
		response, err := http.Get("http://" + address + "/-/ready")
		return err == nil && response.Body.Close() == nil && response.StatusCode == http.StatusOK
	}, 30*time.Second, 20*time.Millisecond, "Prometheus does not become ready: %s", &output)
	return address
}

// samples returns all samples of a metric in a Prometheus, by time.
func samples(t *testing.T, address, metric string) map[float64]string {
	t.Helper()
	response, err := http.Get("http://" + address + "/api/v1/query?query=" + url.QueryEscape(metric+"[1h]"))
	require.NoError(t, err)
	defer response.Body.Close()
	var answer struct {
		Data struct {
			Result []struct{ Values [][2]any }
		}
	}
	require.NoError(t, json.NewDecoder(response.Body).Decode(&answer))
	all := map[float64]string{}
	for _, series := range answer.Data.Result {
		for _, value := range series.Values {
			all[value[0].(float64)] = value[1].(string)
		}
	}
	return all
}

func TestRealPrometheusServesTheRestoredSamples(t *testing.T) {
	w := newWorld(t)
	var scrapes atomic.Int64
	target := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(writer, "visits %d\n", scrapes.Add(1))
	}))
	defer target.Close()
	old := w.restored("i-old")
	w.move("i-old")
	before := startPrometheus(t, old.Dir, target.Listener.Addr().String())
	var want map[float64]string
	for round := range 4 {
		require.Eventually(t, func() bool { return len(samples(t, before, "visits")) > 8*(round+1) }, 30*time.Second,
			20*time.Millisecond)
		want = samples(t, before, "visits")
		// Prometheus continues to collect during the backup.
		old.backup()
	}

	successor := w.restored("i-new")
	got := samples(t, startPrometheus(t, successor.Dir), "visits")
	for when, value := range want {
		require.Equal(t, value, got[when], when)
	}
}
