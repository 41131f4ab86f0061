package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/e2e/internal/dashboards"
)

// forward makes a port of a service's container reachable on this machine, through an admin's SSH login, until the test
// ends. There is no other way to reach it.
func (p *project) forward(t *testing.T, service string, port int) (address string) {
	t.Helper()
	asked := p.ssh(t,
		fmt.Sprintf(`sudo docker inspect --format '{{range .NetworkSettings.Networks}}{{println .IPAddress}}{{end}}' "$(sudo docker compose --project-directory /opt/site ps --quiet %s)"`, service))
	require.NoError(t, asked.err, asked.String())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address = listener.Addr().String()
	require.NoError(t, listener.Close())

	options := []string{
		"-N", "-o", "ExitOnForwardFailure=yes", "-L", fmt.Sprintf("%s:%s:%d", address, strings.Fields(asked.stdout)[0], port),
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	tunnel := exec.CommandContext(ctx, "ssh", p.sshArgs(t, p.outputs(t), options, "admin")...)
	require.NoError(t, tunnel.Start())
	t.Cleanup(func() {
		cancel()
		_ = tunnel.Wait() // killed
	})
	eventually(t, 20*time.Second, func() (bool, string) {
		connection, err := net.Dial("tcp", address)
		if err != nil {
			return false, err.Error()
		}
		return connection.Close() == nil, ""
	})
	return address
}

// prometheus is a client of the server's Prometheus.
type prometheus struct{ address string }

// series is one result of an instant query.
type series struct {
	Metric map[string]string
	Value  [2]any
}

func (p prometheus) get(t *testing.T, path string, values url.Values, into any) {
	t.Helper()
	require.NoError(t, p.ask(path, values, into), values.Get("query"))
}

// ask is like get, but returns errors.
func (p prometheus) ask(path string, values url.Values, into any) error {
	client := &http.Client{Timeout: 20 * time.Second}
	response, err := client.Get("http://" + p.address + "/api/v1/" + path + "?" + values.Encode())
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", answer.Status, answer.Error)
	}
	return json.Unmarshal(answer.Data, into)
}

func (p prometheus) query(t *testing.T, expression string) []series {
	t.Helper()
	var data struct{ Result []series }
	p.get(t, "query", url.Values{"query": {expression}}, &data)
	return data.Result
}

// measured requires that Prometheus scrapes all targets, that only the watchdog fires, and that every panel of every
// dashboard has data.
func measured(t *testing.T, p *project) {
	out := p.outputs(t)
	prometheus := prometheus{p.forward(t, "prometheus", 9090)}

	wanted := []string{"alertmanager", "nginx", "node", "php", "prometheus", "site", "traefik"}
	eventually(t, time.Minute, func() (bool, string) {
		var up []string
		// Each server has its own series: those of the previous servers are in this Prometheus, too.
		for _, target := range prometheus.query(t, fmt.Sprintf("up{server=%q} == 1", out.ServerID)) {
			up = append(up, target.Metric["job"])
		}
		slices.Sort(up)
		return slices.Equal(wanted, up), fmt.Sprint(up)
	})

	var rules struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError, State string }
		}
	}
	eventually(t, time.Minute, func() (bool, string) {
		prometheus.get(t, "rules", nil, &rules)
		for _, group := range rules.Groups {
			for _, rule := range group.Rules {
				if rule.Health != "ok" {
					return false, fmt.Sprintf("%s: %s %s", rule.Name, rule.Health, rule.LastError)
				}
			}
		}
		return len(rules.Groups) > 0, "there are no rules"
	})
	// Prometheus records firing alerts only after it has restored the state of earlier ones, an interval after its start.
	eventually(t, time.Minute, func() (bool, string) {
		return len(prometheus.query(t, `ALERTS{alertname="Watchdog", alertstate="firing"}`)) > 0, "the watchdog does not fire"
	})
	var firing []string
	for _, alert := range prometheus.query(t, `ALERTS{alertstate="firing"}`) {
		firing = append(firing, alert.Metric["alertname"])
	}
	require.Equal(t, []string{"Watchdog"}, firing)

	boards, err := dashboards.Load(filepath.Join(p.dir, "server", "files", "grafana", "dashboards"))
	require.NoError(t, err)
	require.Len(t, boards, 3)
	asked := 0
	for _, board := range boards {
		queries, err := board.Queries(dashboards.Values{
			Range: time.Hour, Step: 15 * time.Second, Scrape: 15 * time.Second,
			Variables: map[string]string{"server": out.ServerID},
		})
		require.NoError(t, err)
		for _, query := range queries {
			if query.Of == dashboards.Annotation {
				continue
			}
			asked++
			eventually(t, 2*time.Minute,
				func() (bool, string) { return len(prometheus.query(t, query.Expr)) > 0, query.String() })
		}
	}
	t.Logf("%d expressions of %d dashboards have data; series: %v", asked, len(boards),
		prometheus.query(t, "prometheus_tsdb_head_series")[0].Value[1])
}

// alert is a message to VictorOps.
type alert struct {
	MessageType string
	EntityID    string
	Fields      map[string]any
}

// victorOpsMessages returns the types of the messages to VictorOps that match, in order.
func (p *project) victorOpsMessages(t *testing.T, matches func(alert) bool) []string {
	t.Helper()
	var alerts []alert
	answer := p.must(t, time.Minute, "curl", "-sS", "--cacert", filepath.Join(p.home(), "tls", "ca.pem"),
		"https://198.18.0.7/localcloud/alerts")
	require.NoError(t, json.Unmarshal([]byte(answer), &alerts), answer)
	types := []string{}
	for _, alert := range alerts {
		if matches(alert) {
			types = append(types, alert.MessageType)
		}
	}
	return types
}

// web runs a Compose command for the web server's container.
func (p *project) web(t *testing.T, command string) {
	t.Helper()
	done := p.ssh(t, "sudo docker compose --project-directory /opt/site "+command+" web")
	require.NoError(t, done.err, done.String())
}

// alertsArrive stops the web server and starts it again, and waits until VictorOps has received both messages.
func alertsArrive(t *testing.T, p *project) {
	server := p.outputs(t).ServerID
	messages := func() []string {
		return p.victorOpsMessages(t, func(alert alert) bool {
			name := fmt.Sprint(alert.Fields["entity_display_name"])
			return strings.Contains(name, "SiteDown") && strings.Contains(name, server)
		})
	}
	p.web(t, "stop")
	down := eventually(t, 4*time.Minute, func() (bool, string) {
		return slices.Equal(messages(), []string{"CRITICAL"}), fmt.Sprint(messages())
	})
	p.web(t, "start")
	over := eventually(t, 4*time.Minute, func() (bool, string) {
		return slices.Equal(messages(), []string{"CRITICAL", "RECOVERY"}), fmt.Sprint(messages())
	})
	t.Logf("VictorOps received CRITICAL %.0f s after the web server was stopped, and RECOVERY %.0f s after it was started",
		down.Seconds(), over.Seconds())
	ready := p.ssh(t, "sudo agent ready --wait 1m")
	require.NoError(t, ready.err, ready.String())
}
