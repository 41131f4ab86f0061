// Package gateway is what runs in the gateway container of a VPC: router and
// address translation (nftables), DHCP and DNS (dnsmasq), and the instance
// metadata service.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/home"
	"immutable-infra/localcloud/internal/imds"
	"immutable-infra/localcloud/internal/run"
)

const (
	runDir         = "/run/gateway"
	hostsFile      = runDir + "/hosts"
	dhcpFile       = runDir + "/dhcp"
	leaseFile      = runDir + "/leases"
	configFile     = runDir + "/dnsmasq.conf"
	dnsmasqPIDFile = runDir + "/dnsmasq.pid"
	// mappingFile is the public addresses as last applied, gone with the
	// container as the connections are.
	mappingFile = runDir + "/public.json"

	shutdownTimeout = 2 * time.Second
)

// Run is the first process of a gateway's container. It returns when the
// context ends or a part of it fails.
func Run(ctx context.Context, runner run.Runner) error {
	if err := os.RemoveAll(runDir); err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	source := files{dir: cloud.GatewayDir}
	config, err := source.config()
	if err != nil {
		return err
	}
	if err := createBridge(ctx, runner, config); err != nil {
		return fmt.Errorf("create the VPC's bridge: %w", err)
	}
	if err := Apply(ctx, runner); err != nil {
		return err
	}
	if err := home.WriteFile(configFile, []byte(dnsmasqConfig(config)), 0o644); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return serveNames(ctx) })
	group.Go(func() error { return serveMetadata(ctx, source) })
	return group.Wait()
}

// createBridge makes the bridge that stands for the VPC's subnets. Its ports
// are isolated (see cloud.Local), so that what instances send to each other
// passes the gateway, which answers ARP for all of them.
func createBridge(ctx context.Context, runner run.Runner, config cloud.GatewayConfig) error {
	bits := strconv.Itoa(config.VPC.CIDRBlock.Bits())
	commands := [][]string{
		// Without an address of its own, a bridge takes one of its ports', and
		// another when that port goes: the instances would send to the old one
		// until they ask again, half a minute later.
		{"link", "add", inside, "address", cloud.MAC(config.VPC.Router()), "type", "bridge"},
		{"address", "add", config.VPC.Router().String() + "/" + bits, "dev", inside},
		{"address", "add", config.VPC.Resolver().String() + "/" + bits, "dev", inside},
		{"address", "add", metadataAddress + "/32", "dev", inside},
		{"link", "set", inside, "up"},
	}
	for _, args := range commands {
		if _, err := runner.Run(ctx, run.Command{Name: "ip", Args: args}); err != nil {
			return err
		}
	}
	for name, value := range map[string]string{"proxy_arp_pvlan": "1", "send_redirects": "0"} {
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+inside+"/"+name, []byte(value), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// serveNames runs dnsmasq until the context ends.
func serveNames(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "dnsmasq", "--conf-file="+configFile, "--pid-file="+dnsmasqPIDFile)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("dnsmasq ended: %w", err)
}

// serveMetadata runs the instance metadata service until the context ends.
func serveMetadata(ctx context.Context, source files) error {
	listener, err := net.Listen("tcp4", net.JoinHostPort(metadataAddress, "80"))
	if err != nil {
		return fmt.Errorf("instance metadata service: %w", err)
	}
	server := &http.Server{Handler: imds.NewHandler(source.lookup), ReadHeaderTimeout: 10 * time.Second}
	stopped := context.AfterFunc(ctx, func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if err := server.Shutdown(closing); err != nil {
			server.Close()
		}
	})
	defer stopped()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("instance metadata service: %w", err)
	}
	return nil
}
