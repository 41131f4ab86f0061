// Package gateway is what runs in the gateway container of a VPC: router and address translation
// (nftables), DHCP and DNS (dnsmasq), and the instance metadata service.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"golang.org/x/sync/errgroup"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/https"
	"immutable-infra/localcloud/internal/imds"
	"immutable-infra/localcloud/internal/run"
	"immutable-infra/localcloud/internal/state"
)

const (
	runDir         = "/run/gateway"
	hostsFile      = runDir + "/hosts"
	dhcpFile       = runDir + "/dhcp"
	leaseFile      = runDir + "/leases"
	configFile     = runDir + "/dnsmasq.conf"
	dnsmasqPIDFile = runDir + "/dnsmasq.pid"
	// recordFile is the record of the state that was last applied, gone with the
	// container as the connections are.
	recordFile = runDir + "/record.json"
)

// Run is the first process of a gateway's container. It returns when the
// context ends or a part of it fails.
func Run(ctx context.Context, runner run.Runner) error {
	if err := errors.Join(os.RemoveAll(runDir), os.MkdirAll(runDir, 0o755)); err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	config, err := readConfig()
	if err != nil {
		return err
	}
	if err := createBridge(ctx, runner, config); err != nil {
		return fmt.Errorf("create the VPC's bridge: %w", err)
	}
	if err := Apply(ctx, runner); err != nil {
		return err
	}
	dnsmasq, err := dnsmasqConfig(config)
	if err == nil {
		err = state.WriteFile(configFile, []byte(dnsmasq), 0o644)
	}
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp4", net.JoinHostPort(metadataAddress, "80"))
	if err != nil {
		return fmt.Errorf("instance metadata service: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		cmd := exec.CommandContext(ctx, "dnsmasq", "--conf-file="+configFile, "--pid-file="+dnsmasqPIDFile)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); ctx.Err() == nil {
			return fmt.Errorf("dnsmasq ended: %w", err)
		}
		return nil
	})
	group.Go(func() error { return https.ServePlain(ctx, imds.NewHandler(lookup), listener) })
	return group.Wait()
}

// Ready reports whether the gateway in whose network namespace it runs serves:
// its DNS server and its metadata service accept connections.
func Ready(ctx context.Context) error {
	config, err := readConfig()
	if err != nil {
		return err
	}
	var dialer net.Dialer
	for _, address := range []string{config.VPC.Resolver().String() + ":53", metadataAddress + ":80"} {
		connection, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("gateway is not ready: %w", err)
		}
		connection.Close()
	}
	return nil
}

// readConfig and readState read what the cloud package wrote for the gateway.
func readConfig() (config cloud.GatewayConfig, err error) {
	if err = state.ReadJSON(filepath.Join(cloud.GatewayDir, cloud.GatewayConfigFile), &config); err != nil {
		err = fmt.Errorf("gateway configuration: %w", err)
	}
	return config, err
}

// readState is empty until the first ApplyGateway.
func readState() (wanted cloud.GatewayState, err error) {
	err = state.ReadJSON(filepath.Join(cloud.GatewayDir, cloud.GatewayStateFile), &wanted)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return wanted, fmt.Errorf("gateway state: %w", err)
	}
	return wanted, nil
}

func lookup(private netip.Addr) (cloud.NetworkInterface, bool, error) {
	wanted, err := readState()
	for _, eni := range wanted.Interfaces {
		if eni.PrivateIP == private {
			return eni, true, err
		}
	}
	return cloud.NetworkInterface{}, false, err
}

// createBridge makes the bridge that stands for the VPC's subnets. Its ports
// are isolated (see cloud.Local), so that what instances send to each other
// passes the gateway, which answers ARP for all of them.
func createBridge(ctx context.Context, runner run.Runner, config cloud.GatewayConfig) error {
	bits := "/" + strconv.Itoa(config.VPC.CIDRBlock.Bits())
	for _, command := range []run.Command{
		// Without an address of its own, a bridge takes one of its ports', and
		// another when that port goes: the instances would send to the old one
		// until they ask again, half a minute later.
		run.IP("link", "add", inside, "address", cloud.MAC(config.VPC.Router()), "type", "bridge"),
		run.IP("address", "add", config.VPC.Router().String()+bits, "dev", inside),
		run.IP("address", "add", config.VPC.Resolver().String()+bits, "dev", inside),
		run.IP("address", "add", metadataAddress+"/32", "dev", inside),
		run.IP("link", "set", inside, "up"),
	} {
		if _, err := runner.Run(ctx, command); err != nil {
			return err
		}
	}
	settings := "/proc/sys/net/ipv4/conf/" + inside
	return errors.Join(os.WriteFile(settings+"/proxy_arp_pvlan", []byte("1"), 0o644),
		os.WriteFile(settings+"/send_redirects", []byte("0"), 0o644))
}
