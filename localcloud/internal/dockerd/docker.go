// Package dockerd finds or starts localcloud's Docker engine, and controls it through the docker command.
package dockerd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/docker/go-units"

	"immutable-infra/localcloud/internal/run"
)

// Label marks all containers, volumes, networks and images of localcloud. Its value is the home directory.
const Label = "immutable-infra.localcloud"

// ErrNoContainer is wrapped by errors for containers that do not exist.
var ErrNoContainer = errors.New("no such container")

// Docker runs the docker command against one engine.
type Docker struct {
	Runner run.Runner
	Host   string                                // DOCKER_HOST; "" means the environment's
	find   func(context.Context) (string, error) // if not nil, returns Host for each command
}

// Container is the part of `docker container inspect` that localcloud needs.
type Container struct {
	ID    string `json:"Id"`
	Name  string
	State struct {
		Status  string
		Running bool
		Pid     int
	}
	Config struct {
		Labels map[string]string
	}
	HostConfig struct {
		Memory      int64
		CPUShares   int64 `json:"CpuShares"`
		NetworkMode string
	}
}

// Run runs one docker command and returns its standard output without the trailing newline.
func (d Docker) Run(ctx context.Context, args ...string) (string, error) {
	if d.find != nil {
		host, err := d.find(ctx)
		if err != nil {
			return "", err
		}
		d.Host = host
	}
	command := run.Command{Name: "docker", Args: args}
	if d.Host != "" {
		command.Env = []string{"DOCKER_HOST=" + d.Host}
	}
	output, err := d.Runner.Run(ctx, command)
	return strings.TrimSuffix(string(output), "\n"), err
}

// Socket returns the path of the engine's Unix socket.
func (d Docker) Socket(ctx context.Context) (string, error) {
	host := d.Host
	if d.find != nil {
		var err error
		if host, err = d.find(ctx); err != nil {
			return "", err
		}
	}
	path, local := strings.CutPrefix(cmp.Or(host, os.Getenv("DOCKER_HOST"), "unix:///var/run/docker.sock"), "unix://")
	if !local {
		return "", fmt.Errorf("the Docker engine at %s is on another machine: unset DOCKER_HOST", host)
	}
	return path, nil
}

// Inspect returns a container by name or id. The error for a missing container wraps ErrNoContainer.
func (d Docker) Inspect(ctx context.Context, name string) (Container, error) {
	output, err := d.Run(ctx, "container", "inspect", name)
	failed, ok := errors.AsType[*run.Error](err)
	if ok && strings.Contains(strings.ToLower(failed.Output), "no such container") {
		return Container{}, fmt.Errorf("container %s: %w", name, ErrNoContainer)
	}
	if err != nil {
		return Container{}, err
	}
	var containers []Container
	if err := json.Unmarshal([]byte(output), &containers); err != nil || len(containers) != 1 {
		return Container{}, fmt.Errorf("docker container inspect %s: unexpected output %.200q: %w", name, output, err)
	}
	containers[0].Name = strings.TrimPrefix(containers[0].Name, "/")
	return containers[0], nil
}

// List returns all containers, running or not, that have all given labels ("key" or "key=value").
func (d Docker) List(ctx context.Context, labels ...string) ([]Container, error) {
	args := []string{"ps", "--all", "--quiet", "--no-trunc"}
	for _, label := range labels {
		args = append(args, "--filter", "label="+label)
	}
	output, err := d.Run(ctx, args...)
	if err != nil {
		return nil, err
	}
	var containers []Container
	for _, id := range strings.Fields(output) {
		switch container, err := d.Inspect(ctx, id); {
		case err == nil:
			containers = append(containers, container)
		case !errors.Is(err, ErrNoContainer):
			return nil, err
		}
	}
	return containers, nil
}

// Remove removes containers, running or not, and their anonymous volumes. It ignores missing containers.
func (d Docker) Remove(ctx context.Context, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	_, err := d.Run(ctx, append([]string{"rm", "--force", "--volumes"}, names...)...)
	failed, ok := errors.AsType[*run.Error](err)
	if !ok {
		return err
	}
	for line := range strings.Lines(strings.ToLower(failed.Output)) {
		if strings.Contains(line, "error") && !strings.Contains(line, "no such container") {
			return err
		}
	}
	return nil
}

// Memory returns the memory use of running containers in bytes, by id. Like `docker stats`, it excludes
// reclaimable page cache.
func (d Docker) Memory(ctx context.Context, ids ...string) (map[string]int64, error) {
	used := map[string]int64{}
	if len(ids) == 0 {
		return used, nil // without ids, `docker stats` shows all containers
	}
	args := append([]string{"stats", "--no-stream", "--no-trunc", "--format", "{{.ID}} {{.MemUsage}}"}, ids...)
	output, err := d.Run(ctx, args...)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(output) {
		fields := strings.Fields(line) // ID USED / LIMIT
		if len(fields) != 4 {
			continue
		}
		if used[fields[0]], err = units.RAMInBytes(fields[1]); err != nil {
			return nil, fmt.Errorf("cannot parse the output of docker stats: %w", err)
		}
	}
	return used, nil
}
