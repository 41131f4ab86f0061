package cloud

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"immutable-infra/localcloud/internal/dockerd"
)

// Status is what runs of the local cloud.
type Status struct {
	Containers []ContainerStatus `json:"containers"`
	// EngineMemory is the resident memory of localcloud's own Docker engine
	// and what it started beside the containers, in bytes; 0 with the user's.
	EngineMemory int64 `json:"engineMemory"`
	Memory       int64 `json:"memory"` // the sum, in bytes
}

// ContainerStatus is one container. Memory is without the page cache that the
// kernel could drop, MemoryLimit 0 where there is none, both in bytes.
type ContainerStatus struct {
	Role        string `json:"role"`
	Name        string `json:"name"`
	InstanceID  string `json:"instanceId,omitempty"`
	State       string `json:"state"`
	Memory      int64  `json:"memory"`
	MemoryLimit int64  `json:"memoryLimit,omitempty"`
}

// Status says what runs. Without an engine, nothing does.
func (l *Local) Status(ctx context.Context) (Status, error) {
	docker, own, err := l.engine.Find(ctx)
	if errors.Is(err, dockerd.ErrNotRunning) {
		return Status{}, nil
	}
	if err != nil {
		return Status{}, err
	}
	containers, err := docker.List(ctx, l.own())
	if err != nil {
		return Status{}, err
	}
	var running []string
	for _, container := range containers {
		if container.State.Running {
			running = append(running, container.ID)
		}
	}
	used, err := docker.Memory(ctx, running...)
	if err != nil {
		return Status{}, err
	}
	var status Status
	for _, container := range containers {
		status.Memory += used[container.ID]
		status.Containers = append(status.Containers, ContainerStatus{
			Role: container.Config.Labels[labelRole], Name: container.Name,
			InstanceID: container.Config.Labels[labelInstance], State: container.State.Status,
			Memory: used[container.ID], MemoryLimit: container.HostConfig.Memory,
		})
	}
	slices.SortFunc(status.Containers, func(a, b ContainerStatus) int {
		return strings.Compare(a.Role+a.Name, b.Role+b.Name)
	})
	if own {
		if status.EngineMemory, err = l.engine.Memory(); err != nil {
			return Status{}, fmt.Errorf("memory of the Docker engine: %w", err)
		}
		status.Memory += status.EngineMemory
	}
	return status, nil
}
