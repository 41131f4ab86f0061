package server

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"immutable-infra/internal/testtool"
)

func runTool(t *testing.T, name string, args ...string) {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), testtool.Path(t, name), args...).CombinedOutput()
	require.NoError(t, err, "%s %s:\n%s", name, strings.Join(args, " "), output)
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	require.NoError(t, err)
	require.NotEmpty(t, found, pattern)
	return found
}

func TestAlertRulesPassTheirTests(t *testing.T) {
	runTool(t, "promtool", append([]string{"test", "rules"}, glob(t, "testdata/rules/*.yaml")...)...)
}

// container runs the entrypoint of an image with a stand-in for the image's program.
type container struct {
	// root contains the directories of the container: etc, run and tmp.
	root string
	// image is the image's directory in files.
	image string
	// program is the program that the entrypoint executes.
	program string
	// script is the script of the stand-in, which first prints its arguments.
	script      string
	environment []string
}

// start runs the entrypoint. It returns the output, which starts with the program's arguments, one per line.
func (c container) start(t *testing.T) (arguments string, err error) {
	t.Helper()
	image, err := filepath.Abs(filepath.Join("files", c.image))
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(c.root, "etc"), 0o755))
	require.NoError(t, os.Symlink(image, filepath.Join(c.root, "etc", "site")))
	require.NoError(t, os.MkdirAll(filepath.Join(c.root, "tmp"), 0o755))
	programs := t.TempDir()
	// The API reports all targets as scraped while the program runs.
	busybox := "case $1 in usleep) sleep 0.01 ;; wget) [ ! -e " + c.root +
		"/running ] || echo '{\"health\":\"up\"}' ;; esac\n"
	const printArgs = "printf '%s\\n' \"$(basename \"$0\")\" \"$@\"\n"
	for program, script := range map[string]string{
		c.program: printArgs + c.script, "promtool": printArgs, "busybox": busybox,
	} {
		testtool.WriteProgram(t, filepath.Join(programs, program), "#!/bin/sh\n"+script)
	}

	// A container's signals have their default actions. Make sure of that whatever this test inherited: Go's child
	// processes get the default action for signals that Go handles, and a shell cannot trap signals that were ignored
	// when it started.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM)
	defer signal.Stop(signals)
	ctx, cancel := context.WithTimeout(t.Context(), entrypointTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, "/bin/sh", filepath.Join(image, "entrypoint"), c.root)
	command.Env = append([]string{"PATH=" + programs + ":" + os.Getenv("PATH")}, c.environment...)
	// Kill the background processes, too.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	command.WaitDelay = time.Second
	output, err := command.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("%s/entrypoint and its stand-in of %s did not end within %s: %w", c.image, c.program,
			entrypointTimeout, err)
	}
	return string(output), err
}

// entrypointTimeout bounds the run of an entrypoint, which takes milliseconds.
const entrypointTimeout = 20 * time.Second

// config returns the path and the text of the configuration that the entrypoint wrote.
func (c container) config(t *testing.T) (path, text string) {
	t.Helper()
	path = filepath.Join(c.root, "tmp", c.image+".yaml")
	written, err := os.ReadFile(path)
	require.NoError(t, err)
	return path, string(written)
}

func newPrometheus(t *testing.T, serverJSON string) container {
	t.Helper()
	c := container{
		root:        t.TempDir(),
		image:       "prometheus",
		program:     "prometheus",
		environment: []string{"DOMAIN=example.org", "METRICS_RETENTION=30d"},
	}
	require.NoError(t, os.MkdirAll(filepath.Join(c.root, "run"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(c.root, "run", "server.json"), []byte(serverJSON), 0o644))
	return c
}

func TestPrometheusKnowsWhichServerItMeasures(t *testing.T) {
	t.Run("started from a terminal", prometheusKnowsItsServer)
	t.Run("T1 started by nohup", func(t *testing.T) {
		signal.Ignore(syscall.SIGHUP)
		defer signal.Reset(syscall.SIGHUP)
		prometheusKnowsItsServer(t)
	})
}

func prometheusKnowsItsServer(t *testing.T) {
	t.Helper()
	c := newPrometheus(t, "{\"server\":\"i-0123456789abcdef0\"}\n")
	c.collecting(t)
	// The stand-in runs until it is signaled that its configuration has changed.
	file := filepath.Join(c.root, "tmp", "prometheus.yaml")
	c.script = fmt.Sprintf(`interval() { grep '^  scrape_interval' %[1]s; }
echo "begins with $(interval)"
trap 'echo "continues with $(interval)"; exit 0' HUP
touch %[2]s/running
while :; do sleep 0.05; done
`, file, c.root)
	arguments, err := c.start(t)
	require.NoError(t, err, arguments)
	require.Contains(t, arguments, "--config.file="+c.root+"/tmp/prometheus.yaml\n")
	require.Contains(t, arguments, "begins with   scrape_interval: 1s\n",
		"the first samples after a handover are not an interval late")
	require.Contains(t, arguments, "continues with   scrape_interval: 15s\n")
	require.Contains(t, arguments, "--storage.tsdb.retention.time=30d\n")
	require.Contains(t, arguments, "--storage.tsdb.retention.size=", "it never fills the disk")
	require.NotContains(t, arguments, "--web.enable", "clients can read, but neither end nor change it")

	path, text := c.config(t)
	require.NotContains(t, text, "@SERVER@")
	var config struct {
		Jobs []struct {
			Name    string `yaml:"job_name"`
			Targets []struct {
				Labels map[string]string
			} `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(text), &config))
	require.NotEmpty(t, config.Jobs)
	for _, job := range config.Jobs {
		for _, target := range job.Targets {
			require.Equal(t, map[string]string{"server": "i-0123456789abcdef0"}, target.Labels, job.Name)
		}
	}
	runTool(t, "promtool", "check", "config", path)
}

// collecting starts the collection, as the agent does after the previous server's handover.
func (c container) collecting(t *testing.T) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Join(c.root, "prometheus"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(c.root, "prometheus", "collecting"), nil, 0o644))
}

func TestPrometheusCollectsNothingBeforeTheHandover(t *testing.T) {
	c := newPrometheus(t, "{\"server\":\"i-0123456789abcdef0\"}\n")
	output, err := c.start(t)
	require.NoError(t, err, output)
	require.Contains(t, output, "promtool\ncheck\nconfig\n"+c.root+"/tmp/prometheus.yaml\n",
		"an invalid configuration must be noticed before the VIP moves")
	require.Contains(t, output, "--config.file="+c.root+"/tmp/waiting.yaml\n")
	waiting, err := os.ReadFile(filepath.Join(c.root, "tmp", "waiting.yaml"))
	require.NoError(t, err)
	require.Equal(t, "global: {}\n", string(waiting))
	require.Contains(t, output, "--storage.tsdb.path="+c.root+"/prometheus/data\n", "the restored data must open")
}

func TestPrometheusDoesNotStartWithoutTheServersName(t *testing.T) {
	output, err := newPrometheus(t, "{}\n").start(t)
	require.Error(t, err)
	require.Contains(t, output, "server.json names no server")
}

// newAlertmanager returns an Alertmanager with a VictorOps key, unless key is empty, and without a heartbeat.
func newAlertmanager(t *testing.T, key, routing string) container {
	t.Helper()
	c := container{
		root:        t.TempDir(),
		image:       "alertmanager",
		program:     "prometheus-alertmanager",
		environment: []string{"DOMAIN=example.org", "VICTOROPS_ROUTING=" + routing},
	}
	secrets := filepath.Join(c.root, "run", "secrets")
	require.NoError(t, os.MkdirAll(secrets, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(secrets, "victorops.key"), []byte(key), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(secrets, "heartbeat.url"), nil, 0o600))
	return c
}

func TestAlertsGoToVictorOpsIfAKeyIsSet(t *testing.T) {
	for name, test := range map[string]struct {
		key, receiver string
	}{
		"a key":  {"2f0bfa2a-5e0f\n", "victorops"},
		"no key": {"", "nobody"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newAlertmanager(t, test.key, "site")
			arguments, err := c.start(t)
			require.NoError(t, err, arguments)
			require.NotContains(t, arguments, "2f0bfa2a", "the list of processes shows no key")
			path, text := c.config(t)
			require.NotContains(t, text, "2f0bfa2a")
			require.NotContains(t, text, "@")
			var config struct {
				Route struct{ Receiver string }
			}
			require.NoError(t, yaml.Unmarshal([]byte(text), &config))
			require.Equal(t, test.receiver, config.Route.Receiver)
			runTool(t, "amtool", "check-config", path)
		})
	}
}

func TestVictorOpsKeyWithoutAValidRoutingKeyIsRejected(t *testing.T) {
	for _, routing := range []string{"", "a/b", "two words"} {
		output, err := newAlertmanager(t, "2f0bfa2a-5e0f", routing).start(t)
		require.Error(t, err, routing)
		require.Contains(t, output, "set victorOpsRouting to a routing key of letters")
		require.NotContains(t, output, "2f0bfa2a")
	}
}

const heartbeatURL = "https://heartbeat.example.org/m1-5c1e0f&|/\\"

func withHeartbeat(t *testing.T, c container) container {
	t.Helper()
	path := filepath.Join(c.root, "run", "secrets", "heartbeat.url")
	require.NoError(t, os.WriteFile(path, []byte(heartbeatURL), 0o600))
	return c
}

// routed returns the receiver of an alert in a rendered configuration.
func routed(t *testing.T, config, alertname string) string {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), testtool.Path(t, "amtool"),
		"config", "routes", "test", "--config.file", config, "alertname="+alertname, "server=i-0123456789abcdef0").Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(output))
}

func TestOnlyWatchdogGoesToTheHeartbeatMonitor(t *testing.T) {
	for name, test := range map[string]struct{ key, others string }{
		"with a key of VictorOps": {"2f0bfa2a-5e0f", "victorops"},
		"without":                 {"", "nobody"},
	} {
		t.Run(name, func(t *testing.T) {
			c := withHeartbeat(t, newAlertmanager(t, test.key, "site"))
			arguments, err := c.start(t)
			require.NoError(t, err, arguments)
			require.NotContains(t, arguments, "5c1e0f", "the list of processes shows no token")
			path, text := c.config(t)
			require.NotContains(t, text, "5c1e0f", "the URL stays in its file")
			require.NotContains(t, text, "@")
			require.Contains(t, text, "url_file: /run/secrets/heartbeat.url")
			withoutURLFile(t, path, text)
			runTool(t, "amtool", "check-config", path)
			for _, alert := range alerts(t) {
				wanted := test.others
				if alert.Alert == "Watchdog" {
					wanted = "heartbeat"
				}
				require.Equal(t, wanted, routed(t, path, alert.Alert), alert.Alert)
			}
		})
	}
}

// withoutURLFile replaces the URL's file by a URL in a configuration if amtool is older than 0.26, which does not
// support url_file. Servers have 0.28.
func withoutURLFile(t *testing.T, config, text string) {
	t.Helper()
	version, err := exec.CommandContext(t.Context(), testtool.Path(t, "amtool"), "--version").CombinedOutput()
	require.NoError(t, err, string(version))
	if !regexp.MustCompile(`version 0\.(1\d|2[0-5])\.`).Match(version) {
		return
	}
	text = strings.Replace(text, "url_file: /run/secrets/heartbeat.url", "url: https://heartbeat.example.org/", 1)
	require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
}

func TestWatchdogIsDroppedWithoutAHeartbeatMonitor(t *testing.T) {
	c := newAlertmanager(t, "2f0bfa2a-5e0f", "site")
	output, err := c.start(t)
	require.NoError(t, err, output)
	path, text := c.config(t)
	require.NotContains(t, text, "name: heartbeat")
	require.Equal(t, "nobody", routed(t, path, "Watchdog"))
	require.Equal(t, "victorops", routed(t, path, "SiteDown"))
}

// alert is an alerting rule in a rules file.
type alert struct {
	Alert       string
	Labels      map[string]string
	Annotations map[string]string
}

func alerts(t *testing.T) []alert {
	t.Helper()
	var found []alert
	for _, path := range glob(t, "files/prometheus/rules/*.yaml") {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		var rules struct {
			Groups []struct{ Rules []alert }
		}
		require.NoError(t, yaml.Unmarshal(text, &rules))
		for _, group := range rules.Groups {
			for _, rule := range group.Rules {
				if rule.Alert != "" {
					found = append(found, rule)
				}
			}
		}
	}
	require.NotEmpty(t, found)
	return found
}

func TestEachAlertSaysWhatToDoAndIsTested(t *testing.T) {
	guide, err := os.ReadFile("../docs/alerts.md")
	require.NoError(t, err)
	var tests strings.Builder
	for _, path := range glob(t, "testdata/rules/*.yaml") {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		tests.Write(text)
	}
	names := map[string]bool{}
	for _, alert := range alerts(t) {
		names[alert.Alert] = true
		require.Contains(t, []string{"critical", "warning", "none"}, alert.Labels["severity"], alert.Alert)
		require.NotEmpty(t, alert.Annotations["summary"], alert.Alert)
		require.NotEmpty(t, alert.Annotations["todo"], alert.Alert)
		require.Equal(t, "docs/alerts.md#"+strings.ToLower(alert.Alert), alert.Annotations["runbook"])
		require.Contains(t, string(guide), "\n### "+alert.Alert+"\n", "docs/alerts.md has a section")
		require.Regexp(t, `\b`+alert.Alert+`\b`, tests.String(), "testdata/rules has a test")
	}
	for _, heading := range regexp.MustCompile(`(?m)^### (\w+)$`).FindAllStringSubmatch(string(guide), -1) {
		require.Contains(t, names, heading[1], "docs/alerts.md describes existing alerts only")
	}
}

func monitoring(t *testing.T) map[string]composeService {
	t.Helper()
	return composeServices(t, "compose.monitoring.yaml")
}

func TestOneServiceBuildsTheMonitoringImage(t *testing.T) {
	var built []string
	for name, service := range monitoring(t) {
		if service.Build != "" {
			built = append(built, name)
		}
	}
	require.Equal(t, []string{"prometheus"}, built)
}

func TestMemoryTableMatchesTheLimitsOfMonitoringContainers(t *testing.T) {
	table, err := os.ReadFile("../docs/server.md")
	require.NoError(t, err)
	for name, service := range monitoring(t) {
		limit := strings.TrimSuffix(service.MemLimit, "m")
		require.Regexp(t, `(?m)^\| `+name+` \|.*\| `+limit+` \|$`, string(table), name)
	}
}

// measuredServer is a tree of files like a server's, for the script metrics/collect.
type measuredServer struct {
	*testing.T
	root     string
	programs string
}

func newMeasuredServer(t *testing.T) *measuredServer {
	t.Helper()
	s := &measuredServer{T: t, root: t.TempDir(), programs: t.TempDir()}
	s.write("srv/metrics/agent.prom", "")
	s.write("run/server-metrics/other", "")
	s.write("srv/site/releases/3f0c6f1b2a9d8e47/release.json", "{}")
	require.NoError(t, os.Symlink("releases/3f0c6f1b2a9d8e47", filepath.Join(s.root, "srv/site/current")))
	s.docker(`echo "0a1b web"; echo "2c3d php"`)
	s.program("nft", `printf 'table ip admission {\n\tcounter refused {\n\t\tpackets 17 bytes 680\n\t}\n}\n'`)
	return s
}

func (s *measuredServer) write(path, content string) {
	s.Helper()
	path = filepath.Join(s.root, path)
	require.NoError(s, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(s, os.WriteFile(path, []byte(content), 0o644))
}

func (s *measuredServer) docker(script string) {
	s.Helper()
	s.program("docker", script)
}

func (s *measuredServer) program(name, script string) {
	s.Helper()
	testtool.WriteProgram(s, filepath.Join(s.programs, name), "#!/bin/sh\n"+script+"\n")
}

// cgroup creates the cgroup of a container or a service.
func (s *measuredServer) cgroup(name string, files map[string]string) {
	s.Helper()
	for file, content := range files {
		s.write("sys/fs/cgroup/"+name+"/"+file, content)
	}
}

// collect runs the script and returns the lines of its file without comments.
func (s *measuredServer) collect() []string {
	s.Helper()
	command := exec.CommandContext(s.Context(), "/bin/bash", "files/metrics/collect", s.root)
	command.Env = append(os.Environ(), "PATH="+s.programs+":"+os.Getenv("PATH"))
	output, err := command.CombinedOutput()
	require.NoError(s, err, string(output))
	text, err := os.ReadFile(filepath.Join(s.root, "srv/metrics/server.prom"))
	require.NoError(s, err)
	var lines []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestMetricsIncludeTheMemoryOfEachService(t *testing.T) {
	s := newMeasuredServer(t)
	s.cgroup("system.slice/docker-0a1b.scope", map[string]string{
		"memory.current": "5000\n", "memory.stat": "anon 3000\ninactive_file 1500\nactive_file 400\n",
		"cpu.stat": "usage_usec 61000007\nuser_usec 5\n",
	})
	s.cgroup("system.slice/docker.service", map[string]string{
		"memory.current": "700\n", "memory.stat": "anon 600\ninactive_file 0\n", "cpu.stat": "usage_usec 1\n",
	})
	// A container of another project: its name is unknown.
	s.cgroup("system.slice/docker-4e5f.scope",
		map[string]string{"memory.current": "1\n", "memory.stat": "inactive_file 0\n", "cpu.stat": "usage_usec 1\n"})
	lines := s.collect()
	require.Equal(t, []string{
		`cgroup_memory_bytes{name="web"} 3500`,
		`cgroup_memory_bytes{name="docker.service"} 700`,
		`cgroup_cpu_seconds_total{name="web"} 61.000007`,
		`cgroup_cpu_seconds_total{name="docker.service"} 0.000001`,
		`server_has_vip 0`,
		`server_draining 0`,
		`site_release_info{release="3f0c6f1b2a9d8e47"} 1`,
		`site_refused_connections_total 17`,
	}, lines)
}

func TestMetricsSurviveAMissingAdmissionTable(t *testing.T) {
	s := newMeasuredServer(t)
	s.program("nft", "echo 'Error: No such file or directory' >&2; exit 1")
	lines := s.collect()
	require.Contains(t, lines, "server_has_vip 0")
	require.NotContains(t, strings.Join(lines, "\n"), "site_refused_connections_total")
}

func TestMemoryIsSummedOverProcessesIfTheKernelDoesNotCountItByCgroup(t *testing.T) {
	s := newMeasuredServer(t)
	s.write("proc/11/smaps_rollup", "00400000-7fff [rollup]\nRss:  900 kB\nPss:      300 kB\nPss_Dirty:  100 kB\n")
	s.write("proc/12/smaps_rollup", "00400000-7fff [rollup]\nRss:  900 kB\nPss:      20 kB\nPss_Dirty:  10 kB\n")
	// The name of the cgroup with Docker's other cgroup driver. Process 13 has just ended.
	s.cgroup("docker/2c3d", map[string]string{"cgroup.procs": "11\n12\n13\n", "cpu.stat": "usage_usec 2500000\n"})
	lines := s.collect()
	require.Contains(t, lines, `cgroup_memory_bytes{name="php"} 327680`)
	require.Contains(t, lines, `cgroup_cpu_seconds_total{name="php"} 2.500000`)
}

func TestMetricsSayWhetherTheServerHoldsTheVIP(t *testing.T) {
	s := newMeasuredServer(t)
	s.write("run/agent-watch/holder", "")
	s.write("opt/site/traefik/states/draining.yaml", "http: {}\n")
	s.write("srv/traefik/dynamic/state.yaml", "serving: {}\n")
	lines := s.collect()
	require.Contains(t, lines, "server_has_vip 1")
	require.Contains(t, lines, "server_draining 0")

	// The agent copies the shipped file.
	s.write("srv/traefik/dynamic/state.yaml", "http: {}\n")
	require.Contains(t, s.collect(), "server_draining 1")
}

func TestDockerIsQueriedForNamesOnlyIfThereIsANewContainer(t *testing.T) {
	s := newMeasuredServer(t)
	counted := map[string]string{
		"memory.current": "5000\n",
		"memory.stat":    "inactive_file 0\n",
		"cpu.stat":       "usage_usec 0\n",
	}
	s.cgroup("system.slice/docker-0a1b.scope", counted)
	s.docker(`echo "0a1b web"`)
	s.collect()
	s.docker("exit 1")
	require.Contains(t, s.collect(), `cgroup_memory_bytes{name="web"} 5000`)
	s.cgroup("system.slice/docker-2c3d.scope", counted)
	s.docker(`echo "0a1b web"; echo "2c3d php"`)
	require.Contains(t, s.collect(), `cgroup_memory_bytes{name="php"} 5000`)
}

func TestMetricsSurviveADockerThatDoesNotRespond(t *testing.T) {
	s := newMeasuredServer(t)
	s.write("srv/metrics/server.prom", "server_has_vip 1\n")
	s.docker("exit 1")
	s.cgroup("system.slice/docker-0a1b.scope",
		map[string]string{"memory.current": "1\n", "memory.stat": "inactive_file 0\n", "cpu.stat": "usage_usec 1\n"})
	command := exec.CommandContext(t.Context(), "/bin/bash", "files/metrics/collect", s.root)
	command.Env = append(os.Environ(), "PATH="+s.programs+":"+os.Getenv("PATH"))
	require.Error(t, command.Run(), "the unit must fail, so that its log has the reason")
	text, err := os.ReadFile(filepath.Join(s.root, "srv/metrics/server.prom"))
	require.NoError(t, err)
	require.Equal(t, "server_has_vip 1\n", string(text), "the file must stay unchanged, so that its age shows the failure")
}

func TestPrometheusReadsTheServersMetrics(t *testing.T) {
	s := newMeasuredServer(t)
	s.cgroup("system.slice/docker-0a1b.scope",
		map[string]string{"memory.current": "1\n", "memory.stat": "inactive_file 0\n", "cpu.stat": "usage_usec 1\n"})
	s.collect()
	text, err := os.Open(filepath.Join(s.root, "srv/metrics/server.prom"))
	require.NoError(t, err)
	defer func() { require.NoError(t, text.Close()) }()
	command := exec.CommandContext(t.Context(), testtool.Path(t, "promtool"), "check", "metrics")
	command.Stdin = text
	output, err := command.CombinedOutput()
	require.NoError(t, err, string(output))
}
