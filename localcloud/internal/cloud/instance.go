package cloud

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"immutable-infra/localcloud/internal/engine"
	"immutable-infra/localcloud/internal/run"
)

const (
	// networkDevice is what the primary interface is called on an EC2 machine
	// of the Nitro kind.
	networkDevice = "ens5"
	// stopTimeout is how long a terminated instance may take to shut down, in seconds.
	stopTimeout = "30"
	mebibyte    = 1 << 20
)

// memory returns the memory of an instance type in bytes.
func memory(instanceType string) (int64, error) {
	sizes := map[string]int64{"nano": 512, "micro": 1024, "small": 2048, "medium": 4096}
	families := []string{"t3", "t3a", "t4g"}
	family, size, _ := strings.Cut(instanceType, ".")
	mebibytes, known := sizes[size]
	if !known || !slices.Contains(families, family) {
		return 0, fmt.Errorf("instance type %q: localcloud knows the families %s in the sizes %s",
			instanceType, strings.Join(families, ", "), strings.Join(slices.Sorted(maps.Keys(sizes)), ", "))
	}
	return mebibytes * mebibyte, nil
}

// RunInstance implements Cloud.
//
// An instance is two containers. The first does nothing but own the network
// namespace, which is the instance's network interface; the second is the
// machine. So the machine can reboot and keep its interface.
func (l *Local) RunInstance(ctx context.Context, spec InstanceSpec) error {
	if err := l.runInstance(ctx, spec); err != nil {
		return fmt.Errorf("run instance %s: %w", spec.ID, err)
	}
	return nil
}

func (l *Local) runInstance(ctx context.Context, spec InstanceSpec) error {
	if _, err := l.Image(ctx, spec.AMI); err != nil {
		return err
	}
	limit, err := memory(spec.InstanceType)
	if err != nil {
		return err
	}
	docker, err := l.client(ctx)
	if err != nil {
		return err
	}
	config, err := l.readVPC(spec.VpcID)
	if err != nil {
		return err
	}
	tag, err := l.serverImage(ctx, docker)
	if err != nil {
		return err
	}
	current, err := l.findInstance(ctx, docker, spec.ID)
	if err == nil {
		return l.healInstance(ctx, docker, current)
	}
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	if err := l.createInterface(ctx, docker, config, spec); err != nil {
		return err
	}
	if err := l.plugIn(ctx, docker, spec.VpcID, spec.ID, spec.PrivateIP); err != nil {
		return err
	}
	name := spec.ID
	if spec.Name != "" {
		name = spec.Name + "-" + spec.ID
	}
	args := []string{"run", "--detach", "--tty", "--name", network + "-" + name,
		"--network", "container:" + interfaceContainer(spec.ID),
		"--cpu-shares", strconv.Itoa(aloofShares),
		"--memory", strconv.FormatInt(limit, 10), "--memory-swap", strconv.FormatInt(limit, 10),
		"--restart", "on-failure",
		"--log-opt", "max-size=1m"}
	args = append(args, machineFlags()...)
	args = append(args, l.labels(labelRole, roleInstance, labelVPC, spec.VpcID, labelInstance, spec.ID)...)
	_, err = docker.Run(ctx, append(args, tag, "/usr/sbin/localcloud-init")...)
	return err
}

// machineFlags let a container boot systemd and run a Docker engine of its own.
// They stand for --privileged, which is refused on a machine whose root lacks
// CAP_SYS_RESOURCE.
func machineFlags() []string {
	return []string{
		"--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE",
		"--security-opt", "seccomp=unconfined",
		"--security-opt", "apparmor=unconfined",
		"--security-opt", "systempaths=unconfined", // the nested engine writes /proc/sys
		"--device-cgroup-rule", "a *:* rwm",
		"--cgroupns", "private",
		"--tmpfs", "/run", "--tmpfs", "/tmp",
		"--volume", "/var/lib/docker", // overlayfs does not stack on the container's own
		"--stop-signal", "SIGRTMIN+3",
	}
}

// TerminateInstance implements Cloud.
func (l *Local) TerminateInstance(ctx context.Context, id string) error {
	docker, err := l.client(ctx)
	if err != nil {
		return err
	}
	current, err := l.findInstance(ctx, docker, id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err == nil {
		if _, err := docker.Run(ctx, "stop", "--time", stopTimeout, current.ID); err != nil {
			return fmt.Errorf("terminate instance %s: %w", id, err)
		}
		if err := docker.Remove(ctx, current.ID); err != nil {
			return fmt.Errorf("terminate instance %s: %w", id, err)
		}
	}
	if err := l.unplug(ctx, docker, id); err != nil {
		return fmt.Errorf("terminate instance %s: %w", id, err)
	}
	if err := docker.Remove(ctx, interfaceContainer(id)); err != nil {
		return fmt.Errorf("terminate instance %s: %w", id, err)
	}
	return nil
}

// InstanceState implements Cloud.
func (l *Local) InstanceState(ctx context.Context, id string) (string, error) {
	docker, err := l.client(ctx)
	if err != nil {
		return "", err
	}
	current, err := l.findInstance(ctx, docker, id)
	if err != nil {
		return "", err
	}
	switch current.State.Status {
	case "running", "restarting":
		return InstanceRunning, nil
	}
	return InstanceStopped, nil
}

func (l *Local) findInstance(ctx context.Context, docker engine.Docker, id string) (engine.Container, error) {
	found, err := docker.List(ctx, l.own(), labelInstance+"="+id, labelRole+"="+roleInstance)
	if err != nil {
		return engine.Container{}, err
	}
	if len(found) == 0 {
		return engine.Container{}, fmt.Errorf("instance %s: %w", id, ErrNotFound)
	}
	return found[0], nil
}

// healInstance brings an instance back that exists: its interface, the plug in
// the gateway, the machine.
func (l *Local) healInstance(ctx context.Context, docker engine.Docker, instance engine.Container) error {
	id, vpcID := instance.Config.Labels[labelInstance], instance.Config.Labels[labelVPC]
	private, err := l.privateAddress(vpcID, id)
	if err != nil {
		return err
	}
	owner, err := docker.Inspect(ctx, interfaceContainer(id))
	if err != nil {
		return err
	}
	if !owner.State.Running {
		if _, err := docker.Run(ctx, "start", owner.ID); err != nil {
			return err
		}
		if instance.State.Running {
			// It lives in the namespace that went away.
			if _, err := docker.Run(ctx, "stop", "--time", stopTimeout, instance.ID); err != nil {
				return err
			}
			instance.State.Running = false
		}
	}
	if err := l.plugIn(ctx, docker, vpcID, id, private); err != nil {
		return err
	}
	if instance.State.Running {
		return nil
	}
	_, err = docker.Run(ctx, "start", instance.ID)
	return err
}

// privateAddress finds an instance in the state last applied to its VPC.
func (l *Local) privateAddress(vpcID, id string) (netip.Addr, error) {
	state, err := l.readState(vpcID)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, eni := range state.Interfaces {
		if eni.InstanceID == id {
			return eni.PrivateIP, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("network interface of %s in VPC %s: %w", id, vpcID, ErrNotFound)
}

// createInterface starts the container that owns an instance's network
// namespace. It does not restart by itself, so that no machine boots before
// its interface is plugged in.
func (l *Local) createInterface(ctx context.Context, docker engine.Docker, config GatewayConfig, spec InstanceSpec) error {
	name := interfaceContainer(spec.ID)
	current, err := docker.Inspect(ctx, name)
	if err != nil && !errors.Is(err, engine.ErrNoContainer) {
		return err
	}
	if current.State.Running {
		return nil
	}
	if err := docker.Remove(ctx, name); err != nil {
		return err
	}
	tag, err := l.gatewayImage(ctx, docker)
	if err != nil {
		return err
	}
	args := []string{"run", "--detach", "--name", name, "--network", "none",
		"--hostname", PrivateHostname(spec.PrivateIP),
		"--dns", config.VPC.Resolver().String(), "--dns-search", PrivateDomain(config.Region)}
	args = append(args, l.labels(labelRole, roleInterface, labelVPC, spec.VpcID, labelInstance, spec.ID)...)
	_, err = docker.Run(ctx, append(args, tag, "sleep", "infinity")...)
	return err
}

// plugIn connects an instance's network namespace with the VPC's bridge in the
// gateway's, by a pair of virtual Ethernet devices. It does nothing when they
// are connected.
func (l *Local) plugIn(ctx context.Context, docker engine.Docker, vpcID, id string, private netip.Addr) error {
	owner, err := docker.Inspect(ctx, interfaceContainer(id))
	if err != nil {
		return err
	}
	gateway, err := docker.Inspect(ctx, gatewayContainer(vpcID))
	if err != nil {
		return err
	}
	port := portName(id)
	if _, err := l.inGateway(ctx, gateway, "link", "show", "dev", port); err != nil {
		if _, err := l.runner.Run(ctx, run.Command{Name: "ip", Args: []string{
			"link", "add", port, "netns", strconv.Itoa(gateway.State.Pid), "type", "veth",
			"peer", "name", networkDevice, "address", MAC(private), "netns", strconv.Itoa(owner.State.Pid),
		}}); err != nil {
			return fmt.Errorf("plug in network interface: %w", err)
		}
	}
	for _, args := range [][]string{
		{"link", "set", "dev", port, "master", "vpc0", "up"},
		{"link", "set", "dev", port, "type", "bridge_slave", "isolated", "on"},
	} {
		if _, err := l.inGateway(ctx, gateway, args...); err != nil {
			return fmt.Errorf("plug in network interface: %w", err)
		}
	}
	return nil
}

// unplug takes an instance's port out of the VPC's bridge. It would go with the
// instance's network namespace, but the kernel takes that away in its own time, and the
// next instance may get the same private address. It does nothing when there is no port.
func (l *Local) unplug(ctx context.Context, docker engine.Docker, id string) error {
	owner, err := docker.Inspect(ctx, interfaceContainer(id))
	if errors.Is(err, engine.ErrNoContainer) {
		return nil
	}
	if err != nil {
		return err
	}
	gateway, err := docker.Inspect(ctx, gatewayContainer(owner.Config.Labels[labelVPC]))
	if errors.Is(err, engine.ErrNoContainer) {
		return nil
	}
	if err != nil {
		return err
	}
	if !gateway.State.Running {
		return nil // its bridge is gone, and the ports with it
	}
	port := portName(id)
	if _, err := l.inGateway(ctx, gateway, "link", "show", "dev", port); err != nil {
		return nil
	}
	if _, err := l.inGateway(ctx, gateway, "link", "delete", "dev", port); err != nil {
		return fmt.Errorf("unplug network interface: %w", err)
	}
	return nil
}

// portName is what an instance's end in the gateway is called, in at most 15 characters.
// By the id's end, not by the address, which the next instance may get while the
// kernel still takes this device away.
func portName(id string) string { return "eni" + id[max(0, len(id)-12):] }

// inGateway runs ip in the gateway's network namespace.
func (l *Local) inGateway(ctx context.Context, gateway engine.Container, args ...string) ([]byte, error) {
	return l.runner.Run(ctx, run.Command{
		Name: "nsenter", Args: append([]string{"--target", strconv.Itoa(gateway.State.Pid), "--net", "ip"}, args...),
	})
}

func interfaceContainer(id string) string { return network + "-eni-" + id }
