package server

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// composeService has the keys of a service in a compose file that these tests check.
type composeService struct {
	Image       string
	Build       string
	User        string
	Restart     string
	PullPolicy  string `yaml:"pull_policy"`
	Profiles    []string
	Networks    []string
	Ports       []string
	ReadOnly    bool     `yaml:"read_only"`
	CapDrop     []string `yaml:"cap_drop"`
	CapAdd      []string `yaml:"cap_add"`
	SecurityOpt []string `yaml:"security_opt"`
	MemLimit    string   `yaml:"mem_limit"`
	PidsLimit   int      `yaml:"pids_limit"`
	Ulimits     map[string]int
	Volumes     []string
	HealthCheck struct {
		Test    []string
		Disable bool
	}
	Entrypoint []string
	Command    []string

	// Rest has all other keys, which the rules for containers must allow by name.
	Rest map[string]any `yaml:",inline"`
}

func composeServices(t *testing.T, file string) map[string]composeService {
	t.Helper()
	text, err := files.ReadFile("files/" + file)
	require.NoError(t, err)
	var project struct{ Services map[string]composeService }
	require.NoError(t, yaml.Unmarshal(text, &project))
	require.NotEmpty(t, project.Services)
	return project.Services
}

func TestOnlyTraefikIsReachedFromOutside(t *testing.T) {
	for name, service := range composeServices(t, "compose.yaml") {
		if name == "traefik" {
			require.Equal(t, []string{"80:8080", "443:8443"}, service.Ports)
			continue
		}
		require.Empty(t, service.Ports, name)
	}
}

func TestTraefikOwnsItsCertificates(t *testing.T) {
	// This is the agent's user: the agent writes acme.json, and Traefik rejects the file if other users can read it.
	require.Equal(t, "900:900", composeServices(t, "compose.yaml")["traefik"].User)
	require.Equal(t, 900, agentUID)
}

func TestEveryVariableInComposeIsInTheServersEnvironment(t *testing.T) {
	text, err := files.ReadFile("files/compose.yaml")
	require.NoError(t, err)
	environment, err := serverEnv(exampleArgs())
	require.NoError(t, err)
	for _, variable := range regexp.MustCompile(`\$\{(\w+)`).FindAllStringSubmatch(string(text), -1) {
		require.Contains(t, "\n"+environment, "\n"+variable[1]+"=")
	}
}

func TestTraefikHasNoAPIAndSendsNoStatistics(t *testing.T) {
	command := composeServices(t, "compose.yaml")["traefik"].Command
	require.Contains(t, command, "--global.checknewversion=false")
	require.Contains(t, command, "--global.sendanonymoususage=false")
	for _, flag := range command {
		require.NotContains(t, flag, "--api")
		require.NotContains(t, flag, "docker")
	}
}

// renderTraefik renders a template like Traefik's file provider.
func renderTraefik(t *testing.T, name string, environment map[string]string) map[string]any {
	t.Helper()
	text, err := files.ReadFile("files/traefik/" + name)
	require.NoError(t, err)
	parsed, err := template.New(name).Funcs(template.FuncMap{
		"env":       func(name string) string { return environment[name] },
		"split":     strings.Split,
		"now":       func() time.Time { return time.Unix(2145916800, 0) },
		"unixEpoch": func(at time.Time) int64 { return at.Unix() },
	}).Parse(string(text))
	require.NoError(t, err)
	var rendered strings.Builder
	require.NoError(t, parsed.Execute(&rendered, false))
	var configuration map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(rendered.String()), &configuration), rendered.String())
	return configuration
}

// at returns the value at a path of keys in a configuration.
func at(t *testing.T, configuration map[string]any, keys ...string) any {
	t.Helper()
	var value any = configuration
	for _, key := range keys {
		inner, ok := value.(map[string]any)
		require.True(t, ok && inner[key] != nil, "there is no %s of %v in %v", key, keys, configuration)
		value = inner[key]
	}
	return value
}

func TestTraefikServesTheSiteUnderEachOfItsNames(t *testing.T) {
	environment := map[string]string{
		"DOMAIN":           "example.org",
		"ALIASES":          "www.example.org,example.com",
		"COMPOSE_PROFILES": "grafana,mail",
	}
	configuration := renderTraefik(t, "site.yaml", environment)
	for router, rule := range map[string]string{
		"to-https":   "PathPrefix(`/`)",
		"site":       "Host(`example.org`)",
		"aliases":    "Host(`www.example.org`) || Host(`example.com`)",
		"monitoring": "Host(`monitoring.example.org`)",
	} {
		require.Equal(t, rule, at(t, configuration, "http", "routers", router, "rule"))
		middlewares := at(t, configuration, "http", "routers", router, "middlewares").([]any)
		require.Equal(t, "state", middlewares[0], "each response of a draining server must say so: %s", router)
		if router != "to-https" {
			require.Equal(t, map[string]any{}, at(t, configuration, "http", "routers", router, "tls"))
		}
	}
	require.Equal(t, "https://example.org/${1}",
		at(t, configuration, "http", "middlewares", "to-domain", "redirectRegex", "replacement"))

	environment["ALIASES"] = ""
	routers := at(t, renderTraefik(t, "site.yaml", environment), "http", "routers").(map[string]any)
	require.Len(t, routers, 4)
	require.NotContains(t, routers, "aliases")
}

func TestWithoutGrafanaNothingIsServedAtItsName(t *testing.T) {
	environment := map[string]string{"DOMAIN": "example.org", "ALIASES": "www.example.org"}
	routers := at(t, renderTraefik(t, "site.yaml", environment), "http", "routers").(map[string]any)
	require.Contains(t, routers, "aliases")
	require.NotContains(t, routers, "monitoring", "Traefik responds with 404 for a name that no router has")
}

func TestTraefikSendsTheStacksHSTSAndNoOtherHeader(t *testing.T) {
	for _, value := range []string{"max-age=31536000", "max-age=63072000; includeSubDomains; preload", ""} {
		environment := map[string]string{
			"DOMAIN":           "example.org",
			"ALIASES":          "www.example.org",
			"COMPOSE_PROFILES": "grafana",
			"HSTS":             value,
		}
		configuration := renderTraefik(t, "site.yaml", environment)
		require.Equal(t, []any{"state"}, at(t, configuration, "http", "routers", "site", "middlewares"),
			"two values of one header contradict each other")
		for _, router := range []string{"aliases", "monitoring"} {
			require.Contains(t, at(t, configuration, "http", "routers", router, "middlewares"), "hsts", router)
		}
		require.Equal(t, map[string]any{
			"headers": map[string]any{"customResponseHeaders": map[string]any{"Strict-Transport-Security": value}},
		},
			at(t, configuration, "http", "middlewares", "hsts"))
	}
}

func TestTraefikWaitsForASlowVisitor(t *testing.T) {
	timeout := func(name string) time.Duration {
		for _, flag := range composeServices(t, "compose.yaml")["traefik"].Command {
			if value, ok := strings.CutPrefix(flag, "--entrypoints.https.transport.respondingtimeouts."+name+"="); ok {
				duration, err := time.ParseDuration(value)
				require.NoError(t, err)
				return duration
			}
		}
		require.Fail(t, "no "+name)
		return 0
	}
	const slow = 100_000 // bytes per second
	require.Greater(t, timeout("writetimeout"), 4_000_000_000/slow*time.Second, "the largest file")
	require.Greater(t, timeout("readtimeout"), 16<<20/slow*time.Second, "the largest upload")
}

func TestEachNameHasItsOwnCertificate(t *testing.T) {
	environment := map[string]string{"SITE_NAMES": "example.org,www.example.org,monitoring.example.org"}
	for _, state := range []string{"serving", "draining"} {
		configuration := renderTraefik(t, "states/"+state+".yaml", environment)
		require.Equal(t, map[string]any{
			"certResolver": "acme",
			"domains": []any{
				map[string]any{"main": "example.org"}, map[string]any{"main": "www.example.org"},
				map[string]any{"main": "monitoring.example.org"},
			},
		}, at(t, configuration, "http", "routers", "certificates", "tls"), state)
	}
	waiting := renderTraefik(t, "states/waiting.yaml", environment)
	require.NotContains(t, at(t, waiting, "http"), "routers", "no authority could validate a name")
}

func TestDrainingServerAsksVisitorsToReconnect(t *testing.T) {
	for state, headers := range map[string]map[string]any{
		"waiting":  {"Server": ""},
		"serving":  {"Server": ""},
		"draining": {"Server": "", "Connection": "close"},
	} {
		configuration := renderTraefik(t, "states/"+state+".yaml", map[string]string{"SITE_NAMES": "example.org"})
		require.Equal(t, headers, at(t, configuration, "http", "middlewares", "state", "headers", "customResponseHeaders"),
			state)
	}
}

// Traefik requests missing certificates only when its configuration changes.
func TestWritingTheServingStateAgainRequestsCertificates(t *testing.T) {
	configuration := renderTraefik(t, "states/serving.yaml", map[string]string{"SITE_NAMES": "example.org"})
	require.Equal(t, "2145916800",
		at(t, configuration, "http", "middlewares", "asked", "headers", "customResponseHeaders", "Asked"))
}

func TestMemoryTableMatchesTheLimitsOfSiteContainers(t *testing.T) {
	table, err := os.ReadFile("../docs/server.md")
	require.NoError(t, err)
	for name, service := range composeServices(t, "compose.yaml") {
		require.Regexp(t, `(?m)^\| `+name+` \|.*\| `+strings.TrimSuffix(service.MemLimit, "m")+` \|$`, string(table), name)
	}
}
