package dashboards

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"immutable-infra/internal/testtool"
)

func hour(server string) Values {
	return Values{
		Range:     time.Hour,
		Step:      15 * time.Second,
		Scrape:    15 * time.Second,
		Variables: map[string]string{"server": server},
	}
}

func shipped(t *testing.T) []Dashboard {
	t.Helper()
	all, err := Load(filepath.Join("..", "..", "..", "server", "files", "grafana", "dashboards"))
	require.NoError(t, err)
	return all
}

func load(t *testing.T, text string) ([]Dashboard, error) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.json"), []byte(text), 0o644))
	return Load(dir)
}

func TestEveryExpressionIsFoundAndFilledIn(t *testing.T) {
	all, err := load(t, `{
		"uid": "u", "title": "Everything",
		"templating": {"list": [
			{"name": "server", "type": "query", "query": {"query": "label_values(up{job=\"node\"}, server)", "refId": "x"}},
			{"name": "job", "type": "query", "query": "label_values(up, job)"},
			{"name": "quantile", "type": "custom", "query": "0.5,0.9"}]},
		"annotations": {"list": [{"name": "Annotations & Alerts", "type": "dashboard"},
			{"name": "moved", "expr": "changes(vip{server=~\"${server:regex}\"}[$__interval])"}]},
		"panels": [
			{"type": "row", "title": "open", "panels": []},
			{"type": "timeseries", "title": "rate", "targets": [
				{"refId": "A", "expr": "rate(a{server=~\"$server\"}[$__rate_interval])"},
				{"refId": "B", "expr": "label_replace(b[$__range], \"x\", \"$1\", \"y\", \"(.*)$\")", "instant": true}]},
			{"type": "row", "title": "closed", "panels": [{"type": "stat", "title": "hidden",
				"targets": [{"refId": "A", "expr": "c{server=~\"[[server]]\"} * $__range_s"}]}]},
			{"type": "text", "title": "words"}]}`)
	require.NoError(t, err)
	require.Len(t, all, 1)
	queries, err := all[0].Queries(hour("i-1|i-2"))
	require.NoError(t, err)
	require.Equal(t, []Query{
		{"Everything", Variable, "server", "A", `group by (server) (up{job="node"})`, true},
		{"Everything", Variable, "job", "A", `group by (job) (up)`, true},
		{"Everything", Annotation, "moved", "A", `changes(vip{server=~"i-1|i-2"}[15s])`, false},
		{"Everything", Panel, "rate", "A", `rate(a{server=~"i-1|i-2"}[60s])`, false},
		{"Everything", Panel, "rate", "B", `label_replace(b[3600s], "x", "$1", "y", "(.*)$")`, true},
		{"Everything", Panel, "hidden", "A", `c{server=~"i-1|i-2"} * 3600`, false},
	}, queries)
}

func TestRateIntervalMatchesGrafana(t *testing.T) {
	for step, expected := range map[time.Duration]string{
		time.Second:      "60s",
		15 * time.Second: "60s",
		5 * time.Minute:  "315s",
	} {
		filled, err := Values{Step: step, Scrape: 15 * time.Second}.fill("$__rate_interval")
		require.NoError(t, err)
		require.Equal(t, expected, filled, step)
	}
}

func TestInvalidDashboardIsAnError(t *testing.T) {
	for message, text := range map[string]string{
		"no uid or no title":                     `{"panels": []}`,
		`panel "a" has no queries`:               `{"uid": "u", "title": "t", "panels": [{"type": "stat", "title": "a"}]}`,
		`panel "a", query B`:                     `{"uid": "u", "title": "t", "panels": [{"type": "stat", "title": "a", "targets": [{"refId": "B"}]}]}`,
		"only label_values(metric, label)":       `{"uid": "u", "title": "t", "templating": {"list": [{"name": "v", "type": "query", "query": "query_result(up)"}]}}`,
		"its query is neither a string nor an o": `{"uid": "u", "title": "t", "templating": {"list": [{"name": "v", "type": "query", "query": 7}]}}`,
		"a.json: unexpected end":                 `{`,
	} {
		_, err := load(t, text)
		require.ErrorContains(t, err, message)
	}
	_, err := Load(t.TempDir())
	require.ErrorContains(t, err, "no dashboards in")
}

func TestVariableWithoutAValueIsAnError(t *testing.T) {
	all, err := load(t,
		`{"uid": "u", "title": "t", "panels": [{"type": "stat", "title": "a", "targets": [{"refId": "A", "expr": "up{job=\"$job\"}"}]}]}`)
	require.NoError(t, err)
	_, err = all[0].Queries(hour(".*"))
	require.ErrorContains(t, err, `t: panel "a" A: up{job="$job"}: no value for job`)
}

func TestDashboardsHaveTheUIDsThatLinksUse(t *testing.T) {
	var uids []string
	for _, dashboard := range shipped(t) {
		uids = append(uids, dashboard.UID)
	}
	require.ElementsMatch(t, []string{"replacements", "server", "site"}, uids)
}

func TestDashboardExpressionsAreValidPromQL(t *testing.T) {
	promtool := testtool.Path(t, "promtool")
	type rule struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	var rules []rule
	for _, dashboard := range shipped(t) {
		queries, err := dashboard.Queries(hour(".*"))
		require.NoError(t, err)
		for _, query := range queries {
			// An invalid expression also makes an invalid rule, which promtool reports.
			rules = append(rules, rule{fmt.Sprintf("query_%d", len(rules)), query.Expr})
		}
	}
	require.Greater(t, len(rules), 50)
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboards", "rules": rules}}})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "rules.yaml")
	require.NoError(t, os.WriteFile(path, text, 0o644))
	output, err := exec.CommandContext(t.Context(), promtool, "check", "rules", path).CombinedOutput()
	require.NoError(t, err, string(output))
	require.Contains(t, string(output), fmt.Sprintf("%d rules found", len(rules)))
}

func TestEveryPanelQueriesTheSelectedServers(t *testing.T) {
	for _, dashboard := range shipped(t) {
		queries, err := dashboard.Queries(hour("i-chosen"))
		require.NoError(t, err)
		for _, query := range queries {
			// The table of all alerts is the exception: the watchdog has no server.
			if query.Of == Panel && query.Name != "Firing alerts" {
				require.True(t, strings.Contains(query.Expr, `server=~"i-chosen"`), query)
			}
		}
	}
}
