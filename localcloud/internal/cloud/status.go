package cloud

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"immutable-infra/localcloud/internal/dockerd"
)

// Status describes the containers of the local cloud and their memory use.
type Status struct {
	Containers []ContainerStatus `json:"containers"`
	// EngineMemory is the resident memory of localcloud's own Docker engine and its helper processes, in bytes. It
	// is 0 if localcloud uses the user's engine.
	EngineMemory int64 `json:"engineMemory"`
	Memory       int64 `json:"memory"` // total, in bytes
}

// ContainerStatus describes one container. Memory excludes reclaimable page cache. MemoryLimit is 0 if there is no
// limit. Both are in bytes.
type ContainerStatus struct {
	Role        string `json:"role"`
	Name        string `json:"name"`
	InstanceID  string `json:"instanceId,omitempty"`
	State       string `json:"state"`
	Memory      int64  `json:"memory"`
	MemoryLimit int64  `json:"memoryLimit,omitempty"`
}

// Status returns the status of all containers. Without an engine, it is empty.
func (l *Local) Status(ctx context.Context) (Status, error) {
	docker, own, err := l.engine.Find(ctx)
	if errors.Is(err, dockerd.ErrNotRunning) {
		return Status{}, nil
	}
	if err != nil {
		return Status{}, err
	}
	containers, err := docker.List(ctx, l.homeLabel())
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
			return Status{}, fmt.Errorf("cannot read the Docker engine's memory use: %w", err)
		}
		status.Memory += status.EngineMemory
	}
	return status, nil
}
