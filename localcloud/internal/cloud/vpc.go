package cloud

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"immutable-infra/localcloud/internal/hostnet"
	"immutable-infra/localcloud/internal/run"
	"immutable-infra/localcloud/internal/state"
)

// GatewayConfig is the fixed configuration of a VPC's gateway. It and the GatewayState are passed to the gateway's
// container as files in one directory.
type GatewayConfig struct {
	VPC     VPC
	Address netip.Addr // the gateway's address on localcloud's network
}

const (
	GatewayConfigFile = "gateway.json" // a GatewayConfig
	GatewayStateFile  = "state.json"   // a GatewayState
	GatewayDir        = "/vpc"         // their directory in the gateway's container
)

// Router returns the VPC's default gateway: the first address of its CIDR block.
func (v VPC) Router() netip.Addr { return v.CIDRBlock.Masked().Addr().Next() }

// Resolver returns the VPC's DNS server: the second address of its CIDR block.
func (v VPC) Resolver() netip.Addr { return v.Router().Next() }

// MAC returns the hardware address of the network interface with the given private address. It is locally
// administered and unique within the VPC.
func MAC(private netip.Addr) string {
	return net.HardwareAddr(append([]byte{2, 0}, private.AsSlice()...)).String()
}

// PrivateHostname returns the host name that AWS derives from a private address, without the domain.
func PrivateHostname(private netip.Addr) string {
	return "ip-" + strings.ReplaceAll(private.String(), ".", "-")
}

// PrivateDomain is the domain of private host names in Region.
const PrivateDomain = "ec2.internal"

func (l *Local) CreateVPC(ctx context.Context, vpc VPC) (err error) {
	defer run.Wrap(&err, "VPC %s", vpc.ID)
	if !vpc.CIDRBlock.Addr().Is4() || vpc.CIDRBlock.Bits() < 16 || vpc.CIDRBlock.Bits() > 28 {
		return fmt.Errorf("CIDR block %s must be an IPv4 block between /16 and /28", vpc.CIDRBlock)
	}
	config, err := l.ensureVPC(vpc)
	if err != nil {
		return err
	}
	return l.startGateway(ctx, config)
}

func (l *Local) DeleteVPC(ctx context.Context, id string) (err error) {
	defer run.Wrap(&err, "VPC %s", id)
	instances, err := l.instances(ctx, id)
	if err != nil {
		return err
	}
	if len(instances) > 0 {
		return fmt.Errorf("still has %d instances: terminate them first", len(instances))
	}
	if err := l.docker.Remove(ctx, gatewayContainer(id)); err != nil {
		return err
	}
	return os.RemoveAll(l.vpcDir(id))
}

func (l *Local) ApplyGateway(ctx context.Context, vpcID string, wanted GatewayState) (err error) {
	unlock, err := l.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := l.readVPC(vpcID); err != nil {
		return err
	}
	defer run.Wrap(&err, "VPC %s", vpcID)
	if wanted.Move, err = l.Move(); err != nil {
		return err
	}
	if err := state.WriteJSON(l.vpcFile(vpcID, GatewayStateFile), wanted); err != nil {
		return err
	}
	if err := l.setCPUShares(ctx, vpcID, wanted); err != nil {
		return err
	}
	_, err = l.docker.Run(ctx, "exec", gatewayContainer(vpcID), program, "gateway", "apply")
	return err
}

const (
	// The relative CPU weights of an instance that has or had an Elastic IP, and of one that never had an Elastic IP.
	servingCPUShares = 1024
	defaultCPUShares = 64
)

// setCPUShares gives instances with an Elastic IP, which serve visitors, a higher CPU weight than instances
// without, which are still being set up. On AWS, each instance has its own processors, so a new server that builds
// its images does not slow down the old one. An instance keeps its weight after its Elastic IP has moved, because
// visitors still reach it for some time.
func (l *Local) setCPUShares(ctx context.Context, vpcID string, applied GatewayState) error {
	shares := map[string]int64{}
	for _, i := range applied.Interfaces {
		if i.Elastic {
			shares[i.InstanceID] = servingCPUShares
		}
	}
	instances, err := l.instances(ctx, vpcID)
	for _, instance := range instances {
		wanted := max(instance.HostConfig.CPUShares, shares[instance.Config.Labels[labelInstance]])
		if err == nil && instance.HostConfig.CPUShares != wanted {
			_, err = l.docker.Run(ctx, "update", "--cpu-shares", strconv.FormatInt(wanted, 10), instance.Name)
		}
	}
	return err
}

// startGateway starts a VPC's gateway if it is not running, and waits until it is ready.
func (l *Local) startGateway(ctx context.Context, config GatewayConfig) error {
	id, name := config.VPC.ID, gatewayContainer(config.VPC.ID)
	options := []string{"--hostname", id, "--network", network, "--ip", config.Address.String(),
		"--cap-add", "NET_ADMIN", "--cap-add", "NET_RAW", "--security-opt", "systempaths=unconfined",
		"--security-opt", "apparmor=unconfined", "--sysctl", "net.ipv4.ip_forward=1", "--restart", "unless-stopped",
		"--volume", l.home.Executable() + ":" + program + ":ro", "--volume", l.vpcDir(id) + ":" + GatewayDir + ":ro"}
	options = append(options, l.labels(labelRole, roleGateway, labelVPC, id)...)
	started, err := l.ensureContainer(ctx, name, "", options, program, "gateway", "run")
	if err != nil || !started {
		return err
	}
	if err := l.await(ctx, name, func(ctx context.Context) error {
		_, err := l.docker.Run(ctx, "exec", name, program, "gateway", "ready")
		return err
	}); err != nil {
		return err
	}
	// The host may still have neighbor entries with an earlier gateway's hardware address.
	_, err = l.runner.Run(ctx, run.IP("neighbour", "flush", "dev", hostnet.Bridge))
	return err
}

// ensureVPC records a VPC and assigns an address to its gateway.
func (l *Local) ensureVPC(vpc VPC) (GatewayConfig, error) {
	unlock, err := l.lock()
	if err != nil {
		return GatewayConfig{}, err
	}
	defer unlock()
	config, err := l.readVPC(vpc.ID)
	switch {
	case err == nil && config.VPC == vpc:
		return config, nil
	case err == nil:
		return GatewayConfig{}, fmt.Errorf("already exists with the CIDR block %s, not %s",
			config.VPC.CIDRBlock, vpc.CIDRBlock)
	case !errors.Is(err, ErrNotFound):
		return GatewayConfig{}, err
	}
	others, err := l.vpcs()
	if err != nil {
		return GatewayConfig{}, err
	}
	address := firstGateway()
	for slices.ContainsFunc(others, func(other GatewayConfig) bool { return other.Address == address }) {
		address = address.Next()
	}
	config = GatewayConfig{VPC: vpc, Address: address}
	if err := os.MkdirAll(l.vpcDir(vpc.ID), 0o700); err != nil {
		return GatewayConfig{}, err
	}
	return config, state.WriteJSON(l.vpcFile(vpc.ID, GatewayConfigFile), config)
}

// readVPC returns a VPC's record; the error wraps ErrNotFound.
func (l *Local) readVPC(id string) (GatewayConfig, error) {
	var config GatewayConfig
	err := state.ReadJSON(l.vpcFile(id, GatewayConfigFile), &config)
	if errors.Is(err, fs.ErrNotExist) {
		return config, fmt.Errorf("VPC %s: %w", id, ErrNotFound)
	}
	return config, err
}

// vpcs returns the records of all VPCs. It skips directories without a record, which killed calls leave behind.
func (l *Local) vpcs() ([]GatewayConfig, error) {
	entries, err := os.ReadDir(l.vpcDir(""))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list VPCs: %w", err)
	}
	var all []GatewayConfig
	for _, entry := range entries {
		switch config, err := l.readVPC(entry.Name()); {
		case err == nil:
			all = append(all, config)
		case !errors.Is(err, ErrNotFound):
			return nil, err
		}
	}
	return all, nil
}

func (l *Local) vpcDir(id string) string        { return filepath.Join(l.home.Cloud(), "vpcs", id) }
func (l *Local) vpcFile(id, name string) string { return filepath.Join(l.vpcDir(id), name) }

func gatewayContainer(vpcID string) string { return network + "-" + vpcID }
