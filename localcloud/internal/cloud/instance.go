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

	"immutable-infra/localcloud/internal/dockerd"
	"immutable-infra/localcloud/internal/run"
	"immutable-infra/localcloud/internal/state"
)

const (
	networkDevice = "ens5" // the primary interface's name on Nitro-based EC2 instances
	// shutdownTimeout is how long an instance may take to shut down, in seconds. EC2 specifies no time for a
	// termination: its user guide calls a few minutes normal, and its API reference allows four minutes for a reboot.
	shutdownTimeout = "120"
	// restartTimeout is how long an instance that has lost its network may take to shut down before it is started
	// again, in seconds. It is shorter because such an instance serves no traffic.
	restartTimeout = "30"
	mebibyte       = 1 << 20
)

// memoryOf returns the memory of an instance type, in bytes.
func memoryOf(instanceType string) (int64, error) {
	sizes := map[string]int64{"nano": 512, "micro": 1024, "small": 2048, "medium": 4096}
	families := []string{"t3", "t3a", "t4g"}
	family, size, _ := strings.Cut(instanceType, ".")
	mebibytes, known := sizes[size]
	if !known || !slices.Contains(families, family) {
		return 0, fmt.Errorf("unknown instance type %q: localcloud has the families %s in the sizes %s",
			instanceType, strings.Join(families, ", "), strings.Join(slices.Sorted(maps.Keys(sizes)), ", "))
	}
	return mebibytes * mebibyte, nil
}

// RunInstance starts an instance as two containers: one that only owns the network namespace, which holds the
// instance's network interface, and one that is the machine. The machine can therefore reboot and keep its interface.
func (l *Local) RunInstance(ctx context.Context, spec InstanceSpec) (err error) {
	defer run.Wrap(&err, "run instance %s", spec.ID)
	if _, err := l.Image(ctx, spec.AMI); err != nil {
		return err
	}
	limit, err := memoryOf(spec.InstanceType)
	if err != nil {
		return err
	}
	config, err := l.readVPC(spec.VpcID)
	if err != nil {
		return err
	}
	tag, err := l.serverImage(ctx)
	if err != nil {
		return err
	}
	switch current, err := l.findInstance(ctx, spec.ID); {
	case err == nil:
		return l.healInstance(ctx, current)
	case !errors.Is(err, ErrNotFound):
		return err
	}
	// The namespace's owner has no restart policy, so that no machine boots before its interface is attached.
	owner := append([]string{"--network", "none", "--hostname", PrivateHostname(spec.PrivateIP),
		"--dns", config.VPC.Resolver().String(), "--dns-search", PrivateDomain},
		l.labels(labelRole, roleInterface, labelVPC, spec.VpcID, labelInstance, spec.ID)...)
	if _, err := l.ensureContainer(ctx, interfaceContainer(spec.ID), "", owner, "sleep", "infinity"); err != nil {
		return err
	}
	if err := l.attachInterface(ctx, spec.VpcID, spec.ID, spec.PrivateIP); err != nil {
		return err
	}
	name := network + "-" + spec.ID
	if spec.Name != "" {
		name = network + "-" + spec.Name + "-" + spec.ID
	}
	bytes := strconv.FormatInt(limit, 10)
	args := []string{"run", "--detach", "--tty", "--name", name,
		"--network", "container:" + interfaceContainer(spec.ID), "--cpu-shares", strconv.Itoa(defaultCPUShares),
		"--memory", bytes, "--memory-swap", bytes, "--restart", "on-failure", "--log-opt", "max-size=1m",
		// These options let a container boot systemd and run its own Docker engine. They replace --privileged,
		// which fails on a machine whose root lacks CAP_SYS_RESOURCE.
		"--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE",
		"--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined",
		"--security-opt", "systempaths=unconfined", // the nested engine writes /proc/sys
		"--device-cgroup-rule", "a *:* rwm", "--cgroupns", "private",
		"--tmpfs", "/run", "--tmpfs", "/tmp",
		"--volume", "/var/lib/docker", // overlayfs cannot stack on the container's overlayfs
		"--stop-signal", "SIGRTMIN+3"}
	args = append(args, l.labels(labelRole, roleInstance, labelVPC, spec.VpcID, labelInstance, spec.ID)...)
	_, err = l.docker.Run(ctx, append(args, tag, "/usr/sbin/localcloud-init")...)
	return err
}

func (l *Local) ShutDownInstance(ctx context.Context, id string) (err error) {
	defer run.Wrap(&err, "shut down instance %s", id)
	current, err := l.findInstance(ctx, id)
	if err != nil {
		return err
	}
	_, err = l.docker.Run(ctx, "stop", "--time", shutdownTimeout, current.ID)
	return err
}

func (l *Local) TerminateInstance(ctx context.Context, id string) (err error) {
	defer run.Wrap(&err, "terminate instance %s", id)
	err = l.ShutDownInstance(ctx, id)
	var current dockerd.Container
	if err == nil {
		current, err = l.findInstance(ctx, id)
	}
	if err == nil {
		err = l.docker.Remove(ctx, current.ID)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err := l.detachInterface(ctx, id); err != nil {
		return err
	}
	return l.docker.Remove(ctx, interfaceContainer(id))
}

func (l *Local) InstanceState(ctx context.Context, id string) (string, error) {
	current, err := l.findInstance(ctx, id)
	if err != nil {
		return "", err
	}
	if slices.Contains([]string{"running", "restarting"}, current.State.Status) {
		return InstanceRunning, nil
	}
	return InstanceStopped, nil
}

func (l *Local) findInstance(ctx context.Context, id string) (dockerd.Container, error) {
	found, err := l.docker.List(ctx, l.homeLabel(), labelInstance+"="+id, labelRole+"="+roleInstance)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("instance %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return dockerd.Container{}, err
	}
	return found[0], nil
}

func (l *Local) instances(ctx context.Context, vpcID string) ([]dockerd.Container, error) {
	return l.docker.List(ctx, l.homeLabel(), labelVPC+"="+vpcID, labelRole+"="+roleInstance)
}

// healInstance brings an existing instance back up: its interface, the interface's port in the gateway, the machine.
func (l *Local) healInstance(ctx context.Context, instance dockerd.Container) error {
	id, vpcID := instance.Config.Labels[labelInstance], instance.Config.Labels[labelVPC]
	private, err := l.privateAddress(vpcID, id)
	if err != nil {
		return err
	}
	owner, err := l.docker.Inspect(ctx, interfaceContainer(id))
	if err != nil {
		return err
	}
	running := instance.State.Running
	if !owner.State.Running {
		if _, err := l.docker.Run(ctx, "start", owner.ID); err != nil {
			return err
		}
		if running {
			// It still runs in the owner's old network namespace.
			if _, err := l.docker.Run(ctx, "stop", "--time", restartTimeout, instance.ID); err != nil {
				return err
			}
			running = false
		}
	}
	if err := l.attachInterface(ctx, vpcID, id, private); err != nil || running {
		return err
	}
	_, err = l.docker.Run(ctx, "start", instance.ID)
	return err
}

// privateAddress returns an instance's private address in the state that was last applied to its VPC.
func (l *Local) privateAddress(vpcID, id string) (netip.Addr, error) {
	var applied GatewayState
	err := state.ReadJSON(l.vpcFile(vpcID, GatewayStateFile), &applied)
	for _, eni := range applied.Interfaces {
		if eni.InstanceID == id {
			return eni.PrivateIP, err
		}
	}
	return netip.Addr{}, errors.Join(fmt.Errorf("network interface of %s in VPC %s: %w", id, vpcID, ErrNotFound), err)
}

// attachInterface connects an instance's network namespace to the VPC's bridge in the gateway's namespace by a
// pair of virtual Ethernet devices. It does nothing if they are connected already.
func (l *Local) attachInterface(ctx context.Context, vpcID, id string, private netip.Addr) (err error) {
	defer run.Wrap(&err, "attach network interface")
	owner, err := l.docker.Inspect(ctx, interfaceContainer(id))
	if err != nil {
		return err
	}
	gateway, err := l.docker.Inspect(ctx, gatewayContainer(vpcID))
	if err != nil {
		return err
	}
	port := portName(id)
	if l.inGateway(ctx, gateway, "link", "show", "dev", port) != nil {
		if _, err := l.runner.Run(ctx, run.IP("link", "add", port, "netns", strconv.Itoa(gateway.State.Pid), "type", "veth",
			"peer", "name", networkDevice, "address", MAC(private), "netns", strconv.Itoa(owner.State.Pid))); err != nil {
			return err
		}
	}
	if err := l.inGateway(ctx, gateway, "link", "set", "dev", port, "master", "vpc0", "up"); err != nil {
		return err
	}
	return l.inGateway(ctx, gateway, "link", "set", "dev", port, "type", "bridge_slave", "isolated", "on")
}

// detachInterface deletes an instance's port from the VPC's bridge. The kernel would delete the port together with
// the instance's network namespace, but asynchronously, and the next instance may get the same private address.
// detachInterface does nothing if the port does not exist.
func (l *Local) detachInterface(ctx context.Context, id string) error {
	owner, err := l.docker.Inspect(ctx, interfaceContainer(id))
	var gateway dockerd.Container
	if err == nil {
		gateway, err = l.docker.Inspect(ctx, gatewayContainer(owner.Config.Labels[labelVPC]))
	}
	if errors.Is(err, dockerd.ErrNoContainer) {
		return nil
	}
	if err != nil {
		return err
	}
	// A stopped gateway has no bridge, and therefore no ports.
	if !gateway.State.Running || l.inGateway(ctx, gateway, "link", "show", "dev", portName(id)) != nil {
		return nil
	}
	return l.inGateway(ctx, gateway, "link", "delete", "dev", portName(id))
}

// portName is the name of an instance's port in the gateway, at most 15 characters long. It comes from the end of the
// instance id, not from the private address, which the next instance may get before the kernel has deleted this port.
func portName(id string) string { return "eni" + id[max(0, len(id)-12):] }

func (l *Local) inGateway(ctx context.Context, gateway dockerd.Container, args ...string) error {
	_, err := l.runner.Run(ctx, run.Command{
		Name: "nsenter", Args: append([]string{"--target", strconv.Itoa(gateway.State.Pid), "--net", "ip"}, args...),
	})
	return err
}

func interfaceContainer(id string) string { return network + "-eni-" + id }
