package cloud

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"immutable-infra/localcloud/internal/engine"
	"immutable-infra/localcloud/internal/home"
	"immutable-infra/localcloud/internal/hostnet"
	"immutable-infra/localcloud/internal/run"
)

// CreateVPC implements Cloud.
func (l *Local) CreateVPC(ctx context.Context, vpc VPC) error {
	if !vpc.CIDRBlock.Addr().Is4() || vpc.CIDRBlock.Bits() < 16 || vpc.CIDRBlock.Bits() > 28 {
		return fmt.Errorf("VPC %s: CIDR block %s: write an IPv4 block between /16 and /28", vpc.ID, vpc.CIDRBlock)
	}
	docker, err := l.client(ctx)
	if err != nil {
		return err
	}
	config, err := l.ensureVPC(vpc)
	if err != nil {
		return fmt.Errorf("VPC %s: %w", vpc.ID, err)
	}
	if err := l.startGateway(ctx, docker, config); err != nil {
		return fmt.Errorf("VPC %s: %w", vpc.ID, err)
	}
	return nil
}

// DeleteVPC implements Cloud.
func (l *Local) DeleteVPC(ctx context.Context, id string) error {
	docker, err := l.client(ctx)
	if err != nil {
		return err
	}
	instances, err := docker.List(ctx, l.own(), labelVPC+"="+id, labelRole+"="+roleInstance)
	if err != nil {
		return err
	}
	if len(instances) > 0 {
		return fmt.Errorf("VPC %s: it still has %d instances: terminate them first", id, len(instances))
	}
	if err := docker.Remove(ctx, gatewayContainer(id)); err != nil {
		return fmt.Errorf("VPC %s: %w", id, err)
	}
	if err := os.RemoveAll(l.vpcDir(id)); err != nil {
		return fmt.Errorf("VPC %s: %w", id, err)
	}
	return nil
}

// ApplyGateway implements Cloud.
func (l *Local) ApplyGateway(ctx context.Context, vpcID string, state GatewayState) error {
	docker, err := l.client(ctx)
	if err != nil {
		return err
	}
	unlock, err := l.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := l.readVPC(vpcID); err != nil {
		return err
	}
	if err := home.WriteJSON(filepath.Join(l.vpcDir(vpcID), GatewayStateFile), state); err != nil {
		return fmt.Errorf("VPC %s: %w", vpcID, err)
	}
	if err := l.shareProcessors(ctx, docker, vpcID, state); err != nil {
		return fmt.Errorf("VPC %s: %w", vpcID, err)
	}
	if _, err := docker.Run(ctx, "exec", gatewayContainer(vpcID), program, "gateway", "apply"); err != nil {
		return fmt.Errorf("VPC %s: %w", vpcID, err)
	}
	return nil
}

const (
	// visitedShares and aloofShares are the weights, in the processors of this
	// machine, of an instance with an Elastic IP and of one without.
	visitedShares = 1024
	aloofShares   = 64
)

// shareProcessors lets an instance with an Elastic IP, which visitors wait for, go
// before one without, which is being set up or deleted. On AWS each has processors
// of its own: there, a new server that builds its images does not slow the old one.
func (l *Local) shareProcessors(ctx context.Context, docker engine.Docker, vpcID string, state GatewayState) error {
	elastic := map[string]bool{}
	for _, i := range state.Interfaces {
		elastic[i.InstanceID] = i.Elastic
	}
	instances, err := docker.List(ctx, l.own(), labelVPC+"="+vpcID, labelRole+"="+roleInstance)
	if err != nil {
		return err
	}
	for _, instance := range instances {
		shares := int64(aloofShares)
		if elastic[instance.Config.Labels[labelInstance]] {
			shares = visitedShares
		}
		if instance.HostConfig.CPUShares == shares {
			continue
		}
		if _, err := docker.Run(ctx, "update", "--cpu-shares", strconv.FormatInt(shares, 10), instance.Name); err != nil {
			return err
		}
	}
	return nil
}

// startGateway starts a VPC's gateway, anew when it is not running, and waits
// until the metadata service answers.
func (l *Local) startGateway(ctx context.Context, docker engine.Docker, config GatewayConfig) error {
	name := gatewayContainer(config.VPC.ID)
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
	// Anew: an older localcloud may have written it.
	if err := home.WriteJSON(filepath.Join(l.vpcDir(config.VPC.ID), GatewayConfigFile), config); err != nil {
		return err
	}
	args := []string{"run", "--detach", "--name", name, "--hostname", config.VPC.ID,
		"--network", network, "--ip", config.Address.String(),
		"--cap-add", "NET_ADMIN", "--cap-add", "NET_RAW", "--security-opt", "systempaths=unconfined",
		"--security-opt", "apparmor=unconfined", "--sysctl", "net.ipv4.ip_forward=1",
		"--restart", "unless-stopped",
		"--volume", l.home.Executable() + ":" + program + ":ro",
		"--volume", l.vpcDir(config.VPC.ID) + ":" + GatewayDir + ":ro"}
	args = append(args, l.labels(labelRole, roleGateway, labelVPC, config.VPC.ID)...)
	if _, err := docker.Run(ctx, append(args, tag, program, "gateway", "run")...); err != nil {
		return err
	}
	if err := l.awaitGateway(ctx, docker, name); err != nil {
		return err
	}
	// The host may still know the addresses by an earlier gateway's hardware address.
	_, err = l.runner.Run(ctx, run.Command{Name: "ip", Args: []string{"neighbour", "flush", "dev", hostnet.Bridge}})
	return err
}

// awaitGateway waits until the gateway says that it serves, which it does last.
func (l *Local) awaitGateway(ctx context.Context, docker engine.Docker, name string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	for {
		_, err := docker.Run(ctx, "exec", name, program, "gateway", "ready")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			logs, logsErr := docker.Run(context.WithoutCancel(ctx), "logs", "--tail", "10", name)
			return errors.Join(fmt.Errorf("gateway does not get ready: %w\n%s", err, logs), logsErr)
		case <-poll.C:
		}
	}
}

// ensureVPC records a VPC and gives its gateway an address.
func (l *Local) ensureVPC(vpc VPC) (GatewayConfig, error) {
	unlock, err := l.lock()
	if err != nil {
		return GatewayConfig{}, err
	}
	defer unlock()
	config, err := l.readVPC(vpc.ID)
	if err == nil && config.VPC == vpc {
		return config, nil
	}
	if err == nil {
		return GatewayConfig{}, fmt.Errorf("it exists with the CIDR block %s, not %s", config.VPC.CIDRBlock, vpc.CIDRBlock)
	}
	if !errors.Is(err, ErrNotFound) {
		return GatewayConfig{}, err
	}
	ids, err := l.vpcIDs()
	if err != nil {
		return GatewayConfig{}, err
	}
	taken := map[netip.Addr]bool{}
	for _, id := range ids {
		other, err := l.readVPC(id)
		if err != nil {
			return GatewayConfig{}, err
		}
		taken[other.Address] = true
	}
	address := firstGateway()
	for taken[address] {
		address = address.Next()
	}
	config = gatewayConfig(vpc, address)
	if err := os.MkdirAll(l.vpcDir(vpc.ID), 0o700); err != nil {
		return GatewayConfig{}, err
	}
	return config, home.WriteJSON(filepath.Join(l.vpcDir(vpc.ID), GatewayConfigFile), config)
}

// readVPC returns a VPC's record; the error wraps ErrNotFound.
func (l *Local) readVPC(id string) (GatewayConfig, error) {
	var config GatewayConfig
	err := home.ReadJSON(filepath.Join(l.vpcDir(id), GatewayConfigFile), &config)
	if errors.Is(err, fs.ErrNotExist) {
		return config, fmt.Errorf("VPC %s: %w", id, ErrNotFound)
	}
	return gatewayConfig(config.VPC, config.Address), err
}

func gatewayConfig(vpc VPC, address netip.Addr) GatewayConfig {
	return GatewayConfig{
		VPC: vpc, Address: address, Region: Region,
		S3: s3Address(), Registry: registryAddress(), DNS: dnsAddress(), VictorOps: victorOpsAddress(),
	}
}

// readState returns the state that was last applied to a VPC's gateway.
func (l *Local) readState(id string) (GatewayState, error) {
	var state GatewayState
	err := home.ReadJSON(filepath.Join(l.vpcDir(id), GatewayStateFile), &state)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return state, err
	}
	return state, nil
}

func (l *Local) vpcIDs() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(l.home.Cloud(), "vpcs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list VPCs: %w", err)
	}
	var ids []string
	for _, entry := range entries {
		ids = append(ids, entry.Name())
	}
	return ids, nil
}

func (l *Local) vpcDir(id string) string { return filepath.Join(l.home.Cloud(), "vpcs", id) }

func gatewayContainer(vpcID string) string { return network + "-" + vpcID }
