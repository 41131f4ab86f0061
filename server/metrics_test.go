package server

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// metricSource is the source of the metrics with a prefix.
type metricSource struct {
	prefix string
	// job is the job in prometheus.yaml that collects them, collector the collector of the node exporter, or "".
	job, collector string
}

// metricSources returns all sources that rules may use.
func metricSources() []metricSource {
	return []metricSource{
		{"agent_", "node", "textfile"},
		{"server_", "node", "textfile"},
		{"site_refused_", "node", "textfile"},
		{"node_boot_time_", "node", "stat"},
		{"node_cpu_", "node", "cpu"},
		{"node_disk_", "node", "diskstats"},
		{"node_filefd_", "node", "filefd"},
		{"node_filesystem_", "node", "filesystem"},
		{"node_load", "node", "loadavg"},
		{"node_memory_", "node", "meminfo"},
		{"node_network_", "node", "netdev"},
		{"node_pressure_", "node", "pressure"},
		{"node_textfile_", "node", "textfile"},
		{"node_time_", "node", "time"},
		{"node_vmstat_", "node", "vmstat"},
		{"alertmanager_", "alertmanager", ""},
		{"nginx_", "nginx", ""},
		{"phpfpm_", "php", ""},
		{"probe_", "site", ""},
		{"prometheus_", "prometheus", ""},
		{"traefik_", "traefik", ""},
	}
}

// usedMetrics returns the metrics in a PromQL expression.
func usedMetrics(expression string) []string {
	// Strings, selectors, ranges and label lists contain no metrics.
	for _, pattern := range []string{
		`"[^"]*"`, `\{[^}]*\}`, `\[[^]]*\]`, `\b(by|without|on|ignoring|group_left|group_right) *\([^)]*\)`,
	} {
		expression = regexp.MustCompile(pattern).ReplaceAllString(expression, " ")
	}
	var used []string
	for _, match := range regexp.MustCompile(`\b([a-zA-Z_][\w:]*)\s*(\(?)`).FindAllStringSubmatch(expression, -1) {
		operator := slices.Contains([]string{"and", "or", "unless", "bool", "offset"}, match[1])
		if function := match[2] == "("; !function && !operator {
			used = append(used, match[1])
		}
	}
	return used
}

// writers returns the text of all programs that write metrics for the textfile collector.
func writers(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	for _, pattern := range []string{"files/metrics/*", "../agent/*.go"} {
		for _, path := range glob(t, pattern) {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			content, err := os.ReadFile(path)
			require.NoError(t, err)
			text.Write(content)
		}
	}
	return text.String()
}

func TestEveryMetricOfTheRulesIsCollected(t *testing.T) {
	type relabeling struct {
		Sources []string `yaml:"source_labels"`
		Regex   string
		Action  string
	}
	var prometheus struct {
		Jobs []struct {
			Name    string       `yaml:"job_name"`
			Relabel []relabeling `yaml:"metric_relabel_configs"`
		} `yaml:"scrape_configs"`
	}
	text, err := os.ReadFile("files/prometheus/prometheus.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, &prometheus))
	relabelings := map[string][]relabeling{}
	for _, job := range prometheus.Jobs {
		relabelings[job.Name] = job.Relabel
	}
	node := monitoring(t)["node"].Entrypoint
	require.Contains(t, node, "--collector.disable-defaults", "the flags name every enabled collector")
	written := writers(t)

	recorded, used := map[string]bool{}, map[string]string{}
	for _, path := range glob(t, "files/prometheus/rules/*.yaml") {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		var rules struct {
			Groups []struct {
				Rules []struct{ Record, Alert, Expr string }
			}
		}
		require.NoError(t, yaml.Unmarshal(text, &rules))
		for _, group := range rules.Groups {
			for _, rule := range group.Rules {
				recorded[rule.Record] = true
				for _, metric := range usedMetrics(rule.Expr) {
					used[metric] = filepath.Base(path) + ": " + rule.Alert + rule.Record
				}
			}
		}
	}
	require.Contains(t, used, "node_vmstat_oom_kill")
	for metric, rule := range used {
		// Prometheus itself adds the metric up to each target.
		if metric == "up" || recorded[metric] {
			continue
		}
		i := slices.IndexFunc(metricSources(), func(source metricSource) bool {
			return strings.HasPrefix(metric, source.prefix)
		})
		require.GreaterOrEqual(t, i, 0, "%s: %s has no source: add it to metricSources", rule, metric)
		source := metricSources()[i]
		require.Contains(t, relabelings, source.job, "%s: %s", rule, metric)
		for _, relabeling := range relabelings[source.job] {
			dropped := regexp.MustCompile("^(?:" + relabeling.Regex + ")$").MatchString(metric)
			require.False(t, relabeling.Action == "drop" && dropped && slices.Equal(relabeling.Sources, []string{"__name__"}),
				"%s: prometheus.yaml drops %s", rule, metric)
		}
		if source.collector != "" {
			require.Contains(t, node, "--collector."+source.collector, "%s: %s needs a collector that is off", rule, metric)
		}
		if source.collector == "textfile" && !strings.HasPrefix(metric, "node_") {
			require.Contains(t, written, metric, "%s: no program writes %s", rule, metric)
		}
	}
}

func TestMetricsAreFoundInAnExpression(t *testing.T) {
	require.Equal(t, []string{"a_total", "server:b:rate5m", "c"}, usedMetrics(
		`sum by (server, le) (rate(a_total{job="x_y"}[5m])) / on (server) group_left (z) server:b:rate5m > 1 `+
			"unless c offset 5m and vector(1)"))
}
