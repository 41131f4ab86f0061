package server

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// allServices returns the services of both compose files.
func allServices(t *testing.T) map[string]composeService {
	t.Helper()
	all := composeServices(t, "compose.yaml")
	for name, service := range monitoring(t) {
		require.NotContains(t, all, name)
		all[name] = service
	}
	return all
}

// containerRules are the rules of the CIS Docker Benchmark 1.6 that concern compose files, as docker-bench-security
// checks them.
var containerRules = map[string]struct {
	holds func(t *testing.T, name string, service composeService) bool
	// exceptions has the reason for each service that breaks the rule.
	exceptions map[string]string
}{
	"4.1 an ordinary user": {holds: func(t *testing.T, _ string, service composeService) bool {
		return regexp.MustCompile(`^[1-9]\d*:\d+$`).MatchString(service.User) || service.User == "" &&
			ordinaryUser(t, service.Image)
	}},
	"4.2 an image whose version is exact, or that is built here": {
		holds: func(_ *testing.T, _ string, service composeService) bool {
			ours := strings.HasPrefix(service.Image, "site/") && (service.Build != "" || service.PullPolicy == "never")
			return ours || regexp.MustCompile(`:v?\d+\.\d+\.\d+$`).MatchString(service.Image)
		}},
	"4.6, 5.27 a health check": {holds: func(_ *testing.T, _ string, service composeService) bool {
		return len(service.HealthCheck.Test) > 1 && !service.HealthCheck.Disable
	}},
	"5.2, 5.3, 5.22, 5.26 AppArmor, SELinux and seccomp as Docker has them, and no new privileges": {
		holds: func(_ *testing.T, _ string, service composeService) bool {
			return slices.Equal(service.SecurityOpt, []string{"no-new-privileges:true"})
		}},
	"5.4 no capabilities": {holds: func(_ *testing.T, _ string, service composeService) bool {
		return slices.Equal(service.CapDrop, []string{"ALL"}) && len(service.CapAdd) == 0
	}},
	"5.5, 5.10, 5.16, 5.17, 5.18, 5.21, 5.25, 5.31 not privileged, and none of the host's devices and namespaces": {
		holds: func(t *testing.T, name string, service composeService) bool {
			// privileged, network_mode, pid, ipc, uts, userns_mode, devices, cgroup_parent and the like.
			for key := range service.Rest {
				if !slices.Contains([]string{"environment", "stop_grace_period", "tmpfs"}, key) {
					t.Logf("%s: %s is not among the keys that are known to be harmless", name, key)
					return false
				}
			}
			return true
		}},
	"5.6, 5.32 nothing of the host's system, and not Docker's socket": {
		holds: func(_ *testing.T, _ string, service composeService) bool {
			return !slices.ContainsFunc(service.Volumes, func(volume string) bool {
				return !regexp.MustCompile(`^(?:\./|/srv/|/etc/immutable-infra/|fastcgi:|/etc/ssl/certs/ca-certificates\.crt:)`).MatchString(volume)
			})
		}, exceptions: map[string]string{
			"node": "measures the server: the host's network counters and list of mounts, two files, read-only",
		}},
	"5.8 no ports of the host": {holds: func(_ *testing.T, _ string, service composeService) bool {
		return len(service.Ports) == 0
	}, exceptions: map[string]string{
		"traefik": "visitors come by 80 and 443",
	}},
	"5.11 limited memory": {holds: func(_ *testing.T, _ string, service composeService) bool {
		return regexp.MustCompile(`^\d+m$`).MatchString(service.MemLimit)
	}},
	"5.13 nothing is written, but to volumes of its own": {
		holds: func(_ *testing.T, name string, service composeService) bool {
			return service.ReadOnly && !slices.ContainsFunc(service.Volumes, func(volume string) bool {
				own := strings.HasPrefix(volume, "/srv/"+name+"/") || strings.HasPrefix(volume, "/srv/"+name+":")
				return !own && !strings.HasSuffix(volume, ":ro")
			})
		}, exceptions: map[string]string{
			"php": "makes the socket by which nginx reaches it, in 64 KiB of memory",
		}},
	"5.15 restarted when it ends": {holds: func(_ *testing.T, _ string, service composeService) bool {
		// The benchmark recommends on-failure:5, but no operator would restart the container after the fifth failure. Alerts
		// report failures.
		return service.Restart == "unless-stopped"
	}},
	"5.19 limited files": {holds: func(_ *testing.T, _ string, service composeService) bool {
		return service.Ulimits["nofile"] == 16384
	}},
	"5.20 no mount that propagates": {holds: func(_ *testing.T, _ string, service composeService) bool {
		return !regexp.MustCompile(`:\w*,?r?(?:shared|slave)`).MatchString(strings.Join(service.Volumes, "\n"))
	}},
	"5.29 limited processes": {holds: func(_ *testing.T, _ string, service composeService) bool {
		return service.PidsLimit > 0 && service.PidsLimit <= 128
	}},
	"5.30 not in Docker's default networks": {holds: func(_ *testing.T, _ string, service composeService) bool {
		return len(service.Networks) > 0 && !slices.Contains(service.Networks, "default")
	}},
}

// rulesElsewhere are the benchmark's other rules for containers, with the reason why they are kept or broken. They are
// also in docs/attacks.md.
var rulesElsewhere = map[string]string{
	"5.1":  "kept: no swarm is ever begun",
	"5.7":  "kept: no image has an SSH server; its processes are those of its one program",
	"5.9":  "kept: Traefik's 80 and 443 are the only ports, see 5.8",
	"5.12": "not kept: shares are equal by default, and a container that is greedy gets its share",
	"5.14": "not kept: a server has one address, and the VIP is Amazon's translation to it",
	"5.23": "kept: nothing runs docker exec with --privileged",
	"5.24": "kept: nothing runs docker exec with --user root",
	"5.28": "kept another way: an image's version is exact, see 4.2, and a rebuild each week brings newer ones",
}

func TestEveryRuleOfTheCISBenchmarkForContainersIsKeptOrExplained(t *testing.T) {
	document, err := os.ReadFile("../docs/attacks.md")
	require.NoError(t, err)
	covered := map[string]bool{}
	for rule, check := range containerRules {
		for _, number := range regexp.MustCompile(`\b5\.\d+\b`).FindAllString(rule, -1) {
			require.False(t, covered[number], number)
			covered[number] = true
		}
		number := regexp.MustCompile(`^[\d.]+`).FindString(rule)
		for service, reason := range check.exceptions {
			require.Contains(t, string(document), "| "+number+" | `"+service+"` "+reason+" |", "an exception")
		}
	}
	for number, reason := range rulesElsewhere {
		require.False(t, covered[number], number)
		covered[number] = true
		require.Contains(t, string(document), "| "+number+" | "+reason+" |")
	}
	for i := range 32 {
		require.True(t, covered[fmt.Sprintf("5.%d", i+1)], "5.%d", i+1)
	}
	require.Len(t, covered, 32)
	for _, dir := range []string{"files", "boot"} {
		require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			require.NotRegexp(t, `exec\b.*--(?:privileged|user)|docker swarm|openssh-server|dropbear`, string(text), path)
			return err
		}))
	}
}

// ordinaryUser reports whether the Dockerfile of an image sets an ordinary user.
func ordinaryUser(t *testing.T, image string) bool {
	t.Helper()
	dockerfile, err := files.ReadFile("files/" + strings.TrimPrefix(image, "site/") + "/Dockerfile")
	require.NoError(t, err, "%s is not built here, so compose.yaml must name its user", image)
	require.Regexp(t, `(?m)^FROM debian:trixie-slim$`, string(dockerfile))
	users := regexp.MustCompile(`(?m)^USER (.*)$`).FindAllStringSubmatch(string(dockerfile), -1)
	return len(users) == 1 && slices.Contains([]string{"www-data", "nobody:nogroup"}, users[0][1])
}

func TestEachContainerKeepsTheRulesOfTheCISBenchmark(t *testing.T) {
	services := allServices(t)
	for rule, check := range containerRules {
		for name, service := range services {
			t.Run(rule+"/"+name, func(t *testing.T) {
				reason, excepted := check.exceptions[name]
				require.Equal(t, !excepted, check.holds(t, name, service), "exception: %q", reason)
			})
		}
	}
}

func TestContainerLogsAreLimitedAndPrivilegesCannotGrow(t *testing.T) {
	text, err := boot.ReadFile("boot/daemon.json")
	require.NoError(t, err)
	var daemon map[string]any
	require.NoError(t, yaml.Unmarshal(text, &daemon))
	// By default, the log driver `local` keeps five files of 20 MB.
	require.Equal(t, map[string]any{
		"live-restore": true, "log-driver": "local", "no-new-privileges": true, "userland-proxy": false,
	}, daemon)
}

// reachable returns, for each container, the containers that share a network with it: they can connect to each other.
func reachable(t *testing.T) map[string][]string {
	t.Helper()
	services := allServices(t)
	found := map[string][]string{}
	for name, service := range services {
		others := map[string]bool{}
		for other, otherService := range services {
			if other != name &&
				slices.ContainsFunc(service.Networks, func(network string) bool {
					return slices.Contains(otherService.Networks, network)
				}) {
				others[other] = true
			}
		}
		found[name] = slices.Sorted(maps.Keys(others))
	}
	return found
}

func TestContainersReachOnlyContainersTheyNeed(t *testing.T) {
	require.Equal(t, map[string][]string{
		"traefik":        {"blackbox", "grafana", "prometheus", "web"},
		"web":            {"nginx-exporter", "prometheus", "traefik"},
		"php":            {"mail"},
		"mail":           {"php"},
		"prometheus":     {"alertmanager", "blackbox", "grafana", "nginx-exporter", "node", "traefik", "web"},
		"alertmanager":   {"prometheus"},
		"node":           {"prometheus"},
		"nginx-exporter": {"prometheus", "web"},
		"blackbox":       {"prometheus", "traefik"},
		"grafana":        {"prometheus", "traefik"},
	}, reachable(t))
}

func TestOnlyThreeContainersReachTheInternet(t *testing.T) {
	outward := map[string][]string{}
	for _, file := range []string{"compose.yaml", "compose.monitoring.yaml"} {
		text, err := files.ReadFile("files/" + file)
		require.NoError(t, err)
		var project struct {
			Networks map[string]struct {
				Internal any
				Options  map[string]string `yaml:"driver_opts"`
			}
		}
		require.NoError(t, yaml.Unmarshal(text, &project))
		for name, network := range project.Networks {
			const hostless = "com.docker.network.bridge.inhibit_ipv4"
			switch name {
			case "php":
				require.Equal(t, "${PHP_INTERNAL:-true}", network.Internal)
				require.Equal(t, network.Internal, network.Options[hostless], "scripts must not reach the server's own ports")
				continue
			case "mail":
				require.Equal(t, "true", network.Options[hostless])
			}
			if network.Internal == true {
				continue
			}
			for container, service := range allServices(t) {
				if slices.Contains(service.Networks, name) {
					outward[name] = append(outward[name], container)
				}
			}
		}
	}
	require.Equal(t, map[string][]string{"visitors": {"traefik"}, "relay": {"mail"}, "victorops": {"alertmanager"}},
		outward)
}

func TestOnlyNginxHasPHPsSocket(t *testing.T) {
	for name, service := range allServices(t) {
		volumes := strings.Join(service.Volumes, "\n")
		require.Equal(t, name == "web" || name == "php", strings.Contains(volumes, "fastcgi:"), name)
	}
	web, err := files.ReadFile("files/nginx/nginx.conf")
	require.NoError(t, err)
	require.NotRegexp(t, `fastcgi_pass [^u]`, string(web))
	fpm, err := files.ReadFile("files/php/php-fpm.conf")
	require.NoError(t, err)
	require.Contains(t, string(fpm), "\nlisten = /run/fastcgi/php.sock\n")
}
