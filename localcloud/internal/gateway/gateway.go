// Package gateway runs in the gateway container of a VPC: router and address translation (nftables), DHCP and DNS
// (dnsmasq), and the instance metadata service.
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
	// recordFile holds the record of the last applied state. It is lost with the container, as connections are.
	recordFile = runDir + "/record.json"
)

// Run runs the gateway as the first process of its container. It returns when ctx ends or a component fails.
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
			return fmt.Errorf("dnsmasq exited: %w", err)
		}
		return nil
	})
	group.Go(func() error { return forgetResets(ctx, runner) })
	group.Go(func() error { return https.ServePlain(ctx, imds.NewHandler(lookup), listener) })
	return group.Wait()
}

// Ready returns nil if the DNS server and the metadata service in the current network namespace accept connections.
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

// readConfig reads the configuration that the cloud package wrote for the gateway.
func readConfig() (config cloud.GatewayConfig, err error) {
	if err = state.ReadJSON(filepath.Join(cloud.GatewayDir, cloud.GatewayConfigFile), &config); err != nil {
		err = fmt.Errorf("cannot read the gateway's configuration: %w", err)
	}
	return config, err
}

// readState reads the state that the cloud package wrote for the gateway. It is empty until the first ApplyGateway.
func readState() (wanted cloud.GatewayState, err error) {
	err = state.ReadJSON(filepath.Join(cloud.GatewayDir, cloud.GatewayStateFile), &wanted)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return wanted, fmt.Errorf("cannot read the gateway's state: %w", err)
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

// createBridge creates the bridge that represents the VPC's subnets. Its ports are isolated (see cloud.Local), so
// that traffic between instances passes through the gateway, which answers ARP for all of them.
func createBridge(ctx context.Context, runner run.Runner, config cloud.GatewayConfig) error {
	bits := "/" + strconv.Itoa(config.VPC.CIDRBlock.Bits())
	for _, command := range []run.Command{
		// Without a fixed hardware address, a bridge uses that of a port, and changes it when that port is removed:
		// the instances would send to the old address until their ARP entries expire, half a minute later.
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
