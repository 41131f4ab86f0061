package gateway

import (
	"fmt"
	"net"
	"strings"

	"immutable-infra/localcloud/internal/cloud"
)

// dnsmasqConfig is the configuration of the VPC's DHCP and DNS server. The
// names of AWS, Docker Hub and VictorOps that servers use lead to localcloud; no
// other name of AWS resolves, so that nothing here ever talks to the real one.
func dnsmasqConfig(config cloud.GatewayConfig) string {
	block := config.VPC.CIDRBlock.Masked()
	mask := net.IP(net.CIDRMask(block.Bits(), 32))
	lines := []string{
		"keep-in-foreground",
		"user=root",
		"interface=" + inside,
		"bind-interfaces",
		"no-hosts",
		"addn-hosts=" + hostsFile,
		"resolv-file=/etc/resolv.conf",
		"cache-size=1000",
		"dhcp-authoritative",
		"dhcp-leasefile=" + leaseFile,
		"dhcp-hostsfile=" + dhcpFile,
		fmt.Sprintf("dhcp-range=%s,static,%s,1h", block.Addr(), mask),
		"dhcp-option=option:router," + config.VPC.Router().String(),
		"dhcp-option=option:dns-server," + config.VPC.Resolver().String(),
		"domain=" + cloud.PrivateDomain(config.Region),
		"local=/" + cloud.PrivateDomain(config.Region) + "/",
		"local=/amazonaws.com/",
		fmt.Sprintf("address=/s3.%s.amazonaws.com/%s", config.Region, config.S3),
		// Without "local", questions for an IPv6 address would leave the machine.
		"local=/registry-1.docker.io/",
		fmt.Sprintf("address=/registry-1.docker.io/%s", config.Registry),
		"local=/" + cloud.VictorOpsName + "/",
		fmt.Sprintf("address=/%s/%s", cloud.VictorOpsName, config.VictorOps),
		fmt.Sprintf("server=/%s/%s", cloud.ZoneName, config.DNS),
	}
	return strings.Join(lines, "\n") + "\n"
}

// dhcpHosts gives every interface its private address.
func dhcpHosts(state cloud.GatewayState) string {
	var text strings.Builder
	for _, eni := range state.Interfaces {
		fmt.Fprintf(&text, "%s,%s,%s\n", cloud.MAC(eni.PrivateIP), eni.PrivateIP, cloud.PrivateHostname(eni.PrivateIP))
	}
	return text.String()
}

// hosts are the private host names.
func hosts(config cloud.GatewayConfig, state cloud.GatewayState) string {
	var text strings.Builder
	for _, eni := range state.Interfaces {
		name := cloud.PrivateHostname(eni.PrivateIP)
		fmt.Fprintf(&text, "%s %s.%s %s\n", eni.PrivateIP, name, cloud.PrivateDomain(config.Region), name)
	}
	return text.String()
}
