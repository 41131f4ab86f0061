package readiness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"immutable-infra/agent/internal/proc"
)

// Containers checks that every service of a compose project exists, runs, and is healthy.
//
// A service without a health check never counts as ready: it runs now, but may exit the next
// moment.
type Containers struct {
	Project string
	Runner  proc.Runner
}

func (c Containers) Name() string { return "containers" }

func (c Containers) Check(ctx context.Context) Result {
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
			state, ok := container.judge()
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
func (c Containers) list(ctx context.Context) (services []string, containers map[string][]container, err error) {
	output, err := c.Runner.Run(ctx,
		proc.Command{Dir: c.Project, Args: []string{"docker", "compose", "config", "--services"}})
	if err != nil {
		return nil, nil, err
	}
	services = strings.Fields(string(output))
	slices.Sort(services)

	output, err = c.Runner.Run(ctx,
		proc.Command{Dir: c.Project, Args: []string{"docker", "compose", "ps", "--all", "--format", "json"}})
	if err != nil {
		return nil, nil, err
	}
	containers = map[string][]container{}
	// One JSON object per line, since Compose 2.21.
	decoder := json.NewDecoder(bytes.NewReader(output))
	for {
		var next container
		err := decoder.Decode(&next)
		if errors.Is(err, io.EOF) {
			return services, containers, nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("cannot read the output of docker compose ps: %w", err)
		}
		if !next.oneOff() {
			containers[next.Service] = append(containers[next.Service], next)
		}
	}
}

// container is an entry of `docker compose ps --format json`.
type container struct {
	Name    string
	Service string
	// State is Docker's word: created, running, paused, restarting, removing, exited or dead.
	State string
	// Status is Docker's sentence, such as "Restarting (1) 3 seconds ago".
	Status string
	// Health is starting, healthy or unhealthy, and empty when the container
	// does not run or has no health check.
	Health   string
	ExitCode int
	// Labels are name=value, separated by commas.
	Labels string
}

// oneOff reports whether the container is left over from a `docker compose run`, and not part of
// the service.
func (c container) oneOff() bool {
	return strings.Contains(c.Labels, "com.docker.compose.oneoff=True")
}

// judge returns the state of the container and whether it is healthy.
func (c container) judge() (state string, ok bool) {
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
