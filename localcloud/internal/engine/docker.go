// Package engine finds or starts the Docker engine that localcloud runs on,
// and drives it through the docker command.
package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"immutable-infra/localcloud/internal/run"
)

// Label marks every container, volume, network and image of localcloud; its
// value is the home directory.
const Label = "immutable-infra.localcloud"

// ErrNoContainer is wrapped by the error about a container that does not exist.
var ErrNoContainer = errors.New("no such container")

// Docker is the docker command, pointed at one engine.
type Docker struct {
	Runner run.Runner
	// Host is DOCKER_HOST; "" means what the environment says.
	Host string
}

// Container is what localcloud wants to know of a container.
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

// Run runs one docker command and returns its standard output without the
// final newline.
func (d Docker) Run(ctx context.Context, args ...string) (string, error) {
	return d.RunInput(ctx, nil, args...)
}

// RunInput is Run with standard input.
func (d Docker) RunInput(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	command := run.Command{Name: "docker", Args: args, Stdin: stdin}
	if d.Host != "" {
		command.Env = []string{"DOCKER_HOST=" + d.Host}
	}
	output, err := d.Runner.Run(ctx, command)
	return strings.TrimSuffix(string(output), "\n"), err
}

// Inspect returns a container by its name or id. The error wraps
// ErrNoContainer when there is none.
func (d Docker) Inspect(ctx context.Context, name string) (Container, error) {
	output, err := d.Run(ctx, "container", "inspect", name)
	if err != nil {
		var failed *run.Error
		if errors.As(err, &failed) && strings.Contains(strings.ToLower(failed.Output), "no such container") {
			return Container{}, fmt.Errorf("container %s: %w", name, ErrNoContainer)
		}
		return Container{}, err
	}
	var containers []Container
	if err := json.Unmarshal([]byte(output), &containers); err != nil || len(containers) != 1 {
		return Container{}, fmt.Errorf("docker container inspect %s: unexpected answer %.200q: %w", name, output, err)
	}
	containers[0].Name = strings.TrimPrefix(containers[0].Name, "/")
	return containers[0], nil
}

// List returns all containers, running or not, that carry all given labels
// ("key" or "key=value").
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
		container, err := d.Inspect(ctx, id)
		if errors.Is(err, ErrNoContainer) {
			continue
		}
		if err != nil {
			return nil, err
		}
		containers = append(containers, container)
	}
	return containers, nil
}

// Remove removes containers with their anonymous volumes, running or not.
// Those that are not there are no error.
func (d Docker) Remove(ctx context.Context, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	_, err := d.Run(ctx, append([]string{"rm", "--force", "--volumes"}, names...)...)
	var failed *run.Error
	if errors.As(err, &failed) && onlyMissing(failed.Output) {
		return nil
	}
	return err
}

// onlyMissing says whether every error line of a docker command is about a
// container that is not there.
func onlyMissing(output string) bool {
	for line := range bytes.Lines([]byte(output)) {
		text := strings.ToLower(string(line))
		if strings.Contains(text, "error") && !strings.Contains(text, "no such container") {
			return false
		}
	}
	return true
}

// Stats is the memory of one running container, in bytes.
type Stats struct {
	ID          string
	MemoryUsed  int64
	MemoryLimit int64
}

// Memory returns the memory that running containers use, without the page
// cache that the kernel could drop, as `docker stats` counts it.
func (d Docker) Memory(ctx context.Context, ids ...string) ([]Stats, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	output, err := d.Run(ctx, append([]string{"stats", "--no-stream", "--no-trunc", "--format", "{{.ID}}\t{{.MemUsage}}"}, ids...)...)
	if err != nil {
		return nil, err
	}
	var all []Stats
	for line := range strings.Lines(output) {
		id, usage, _ := strings.Cut(strings.TrimSpace(line), "\t")
		used, limit, found := strings.Cut(usage, " / ")
		if !found {
			continue
		}
		stats := Stats{ID: id}
		if stats.MemoryUsed, err = parseSize(used); err != nil {
			return nil, fmt.Errorf("docker stats: %w", err)
		}
		if stats.MemoryLimit, err = parseSize(limit); err != nil {
			return nil, fmt.Errorf("docker stats: %w", err)
		}
		all = append(all, stats)
	}
	return all, nil
}

// parseSize reads sizes such as "245.5MiB".
func parseSize(text string) (int64, error) {
	units := []struct {
		suffix string
		factor float64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"B", 1}}
	for _, unit := range units {
		number, found := strings.CutSuffix(text, unit.suffix)
		if !found {
			continue
		}
		value, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return 0, fmt.Errorf("size %q: %w", text, err)
		}
		return int64(value * unit.factor), nil
	}
	return 0, fmt.Errorf("size %q: unknown unit", text)
}
