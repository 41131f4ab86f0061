package readiness

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/engine"
	"immutable-infra/agent/internal/proc"
)

const composeServices = "docker compose config --services"

// docker is an engine with these containers, and with services that respond with answer or err.
type docker struct {
	containers []engine.Container
	answer     string
	err        error
	// asked receives the arguments of each request to a service.
	asked *[]any
}

func (d docker) Containers(_ context.Context, dir string) ([]engine.Container, error) {
	if dir != "/opt/site" {
		return nil, errors.New("another directory: " + dir)
	}
	return d.containers, d.err
}

func (d docker) Get(_ context.Context, dir, service string, port int, path string) ([]byte, error) {
	if d.asked != nil {
		*d.asked = append(*d.asked, dir, service, port, path)
	}
	return []byte(d.answer), d.err
}

// containers returns the check of a project with these services and containers.
func containers(services string, found ...engine.Container) *Containers {
	return &Containers{Project: "/opt/site", Docker: docker{containers: found}, Runner: answers{composeServices: services}}
}

func healthy(service string) engine.Container {
	return engine.Container{
		Name: "site-" + service + "-1", Service: service, State: "running", Status: "Up 7 seconds (healthy)",
		Health: "healthy",
	}
}

func TestContainersPassWhenEachServiceIsHealthy(t *testing.T) {
	check := containers("web\nphp\n", healthy("web"), healthy("php"))
	require.Equal(t, Result{Verdict: Pass, Detail: "php: healthy; web: healthy"}, check.Check(t.Context()))

	check.Runner = answers{}
	require.Equal(t, Result{Verdict: Pass, Detail: "php: healthy; web: healthy"}, check.Check(t.Context()),
		"Compose is queried once")
}

func TestEachUnhealthyStateIsReported(t *testing.T) {
	for name, test := range map[string]struct {
		found  []engine.Container
		detail string
		logs   []string
	}{
		"no container": {
			detail: "web: has no container",
		},
		"only a container of a removed service": {
			found:  []engine.Container{{Name: "site-old-1", Service: "old", State: "running"}},
			detail: "web: has no container",
		},
		"never started": {
			found:  []engine.Container{{Name: "site-web-1", Service: "web", State: "created"}},
			detail: "web: created",
			logs:   []string{"web"},
		},
		"exited": {
			found:  []engine.Container{{Name: "site-web-1", Service: "web", State: "exited", ExitCode: 137}},
			detail: "web: exited with code 137",
			logs:   []string{"web"},
		},
		"exited without an error": {
			found:  []engine.Container{{Name: "site-web-1", Service: "web", State: "exited"}},
			detail: "web: exited with code 0",
			logs:   []string{"web"},
		},
		"restarting": {
			found: []engine.Container{{
				Name: "site-web-1", Service: "web", State: "restarting", Status: "Restarting (1) 3 seconds ago",
			}},
			detail: "web: restarting because it exits (Restarting (1) 3 seconds ago)",
			logs:   []string{"web"},
		},
		"paused": {
			found:  []engine.Container{{Name: "site-web-1", Service: "web", State: "paused"}},
			detail: "web: paused",
			logs:   []string{"web"},
		},
		"starting": {
			found:  []engine.Container{{Name: "site-web-1", Service: "web", State: "running", Health: "starting"}},
			detail: "web: starting, its health check has not succeeded yet",
			logs:   []string{"web", "web: health check"},
		},
		"unhealthy": {
			found:  []engine.Container{{Name: "site-web-1", Service: "web", State: "running", Health: "unhealthy"}},
			detail: "web: unhealthy",
			logs:   []string{"web", "web: health check"},
		},
		"without a health check": {
			found:  []engine.Container{{Name: "site-web-1", Service: "web", State: "running"}},
			detail: "web: has no health check",
			logs:   []string{"web"},
		},
		"one replica of two": {
			found:  []engine.Container{healthy("web"), {Name: "site-web-2", Service: "web", State: "exited", ExitCode: 2}},
			detail: "web: exited with code 2",
			logs:   []string{"web"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			result := containers("web\n", test.found...).Check(t.Context())
			require.Equal(t, Fail, result.Verdict)
			require.Equal(t, test.detail, result.Detail)
			require.Equal(t, test.logs, logNames(result))
		})
	}
}

func TestOnlyTheBrokenServicesAreReported(t *testing.T) {
	result := containers("web\nphp\ncron\n", healthy("web"),
		engine.Container{Name: "site-php-1", Service: "php", State: "exited", ExitCode: 1}).Check(t.Context())
	require.Equal(t, "cron: has no container; php: exited with code 1", result.Detail)
	require.Equal(t, []string{"php"}, logNames(result))
}

func TestServerWithoutDockerIsNotReady(t *testing.T) {
	for name, test := range map[string]struct {
		runner proc.Runner
		engine error
		detail string
	}{
		"Docker missing": {answers{}, nil, `docker compose config --services: exec: "docker": executable file not found in $PATH`},
		"daemon dead": {fails("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.\nIs the docker daemon " +
			"running?\n"), nil,
			"docker compose config --services: exit status 1: Cannot connect to the Docker daemon at " +
				"unix:///var/run/docker.sock.; Is the docker daemon running?"},
		"engine dead": {answers{composeServices: "web\n"}, errors.New("cannot query Docker: dial unix: connection refused"),
			"cannot query Docker: dial unix: connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			check := &Containers{Project: "/opt/site", Docker: docker{err: test.engine}, Runner: test.runner}
			result := check.Check(t.Context())
			require.Equal(t, Fail, result.Verdict)
			require.Equal(t, test.detail, result.Detail)
			require.Equal(t, []string{"docker.service"}, logNames(result))
		})
	}
}

func TestProjectWithoutServicesIsNotReady(t *testing.T) {
	result := containers("\n").Check(t.Context())
	require.Equal(t, Result{Detail: "the compose project in /opt/site has no services"}, result)
}
