package readiness

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"immutable-infra/agent/internal/engine"
	"immutable-infra/agent/internal/proc"
)

// Docker provides information about the containers of the compose project in a directory. engine.Engine implements
// it.
type Docker interface {
	Containers(ctx context.Context, dir string) ([]engine.Container, error)
	// Get requests a path of a service at the address of its container.
	Get(ctx context.Context, dir, service string, port int, path string) ([]byte, error)
}

// Containers checks that every service of a compose project exists, runs, and is healthy.
//
// A service without a health check never counts as ready: it runs now, but may exit at any moment.
type Containers struct {
	Project string
	Docker  Docker
	// Runner runs Compose, which lists the services of the project.
	Runner proc.Runner

	// services are the services of the project, which do not change on a server.
	services []string
}

func (c *Containers) Name() string { return "containers" }

// Check must not be called concurrently.
func (c *Containers) Check(ctx context.Context) Result {
	services, containers, err := c.list(ctx)
	if err != nil {
		return failed(err, unitLog("docker.service"))
	}
	if len(services) == 0 {
		return fail(fmt.Sprintf("the compose project in %s has no services", c.Project))
	}
	var found parts
	for _, service := range services {
		if len(containers[service]) == 0 {
			found.fail(service + ": has no container")
			continue
		}
		for _, container := range containers[service] {
			state, ok := judgeContainer(container)
			if ok {
				found.pass(service + ": " + state)
				continue
			}
			logs := []Log{serviceLog(c.Project, service)}
			if container.Health != "" {
				logs = append(logs, probeLog(service, container.Name))
			}
			found.fail(service+": "+state, logs...)
		}
	}
	return found.result()
}

// list returns the services of the project, sorted, and their containers.
func (c *Containers) list(
	ctx context.Context,
) (services []string, containers map[string][]engine.Container, err error) {
	if len(c.services) == 0 {
		output, err := c.Runner.Run(ctx,
			proc.Command{Dir: c.Project, Args: []string{"docker", "compose", "config", "--services"}})
		if err != nil {
			return nil, nil, err
		}
		c.services = strings.Fields(string(output))
		slices.Sort(c.services)
	}
	found, err := c.Docker.Containers(ctx, c.Project)
	if err != nil {
		return nil, nil, err
	}
	containers = map[string][]engine.Container{}
	for _, next := range found {
		containers[next.Service] = append(containers[next.Service], next)
	}
	return c.services, containers, nil
}

// judgeContainer returns the state of a container and whether it is healthy.
func judgeContainer(c engine.Container) (state string, ok bool) {
	switch {
	case c.State == "running" && c.Health == "healthy":
		return "healthy", true
	case c.State == "running" && c.Health == "":
		return "has no health check", false
	case c.State == "running" && c.Health == "starting":
		return "starting, its health check has not succeeded yet", false
	case c.State == "running":
		return c.Health, false
	case c.State == "exited":
		return fmt.Sprintf("exited with code %d", c.ExitCode), false
	case c.State == "restarting":
		return fmt.Sprintf("restarting because it exits (%s)", c.Status), false
	default:
		return c.State, false
	}
}
