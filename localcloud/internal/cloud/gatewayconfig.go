package cloud

import (
	"net"
	"net/netip"
	"strings"
)

// GatewayConfig is what the gateway of a VPC is started with. It and the
// GatewayState reach the gateway's container as files in one directory.
type GatewayConfig struct {
	VPC VPC
	// Address is the gateway's own on localcloud's network.
	Address netip.Addr
}

const (
	// GatewayConfigFile and GatewayStateFile are the files' names.
	GatewayConfigFile = "gateway.json"
	GatewayStateFile  = "state.json"
	// GatewayDir is their directory in the gateway's container.
	GatewayDir = "/vpc"
)

// Router is the VPC's default gateway: the first address of its CIDR block.
func (v VPC) Router() netip.Addr { return v.CIDRBlock.Masked().Addr().Next() }

// Resolver is the VPC's DNS server: the second address of its CIDR block.
func (v VPC) Resolver() netip.Addr { return v.Router().Next() }

// MAC is the hardware address of the network interface with a private
// address: locally administered, and unique within the VPC.
func MAC(private netip.Addr) string {
	return net.HardwareAddr(append([]byte{2, 0}, private.AsSlice()...)).String()
}

// PrivateHostname is the host name that AWS derives from a private address, without its domain.
func PrivateHostname(private netip.Addr) string {
	return "ip-" + strings.ReplaceAll(private.String(), ".", "-")
}

// PrivateDomain is the domain of private host names in Region.
const PrivateDomain = "ec2.internal"
