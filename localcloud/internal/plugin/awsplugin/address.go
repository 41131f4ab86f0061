package awsplugin

import (
	"fmt"
	"net/netip"
	"strings"

	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// publicAddresses is the number of public addresses, in 198.18.1.0/24, which
// serves as a part of the internet.
const publicAddresses = 254

// allocatePublicIP returns a public address that is not in use, and not the
// one that was released last.
func (op *operation) allocatePublicIP() (string, error) {
	used := map[string]bool{}
	for _, a := range op.Addresses {
		used[a.PublicIP] = true
	}
	for _, i := range op.Instances {
		used[i.AutoPublicIP] = true
	}
	for range publicAddresses {
		op.LastPublicAddress = op.LastPublicAddress%publicAddresses + 1
		address := netip.AddrFrom4([4]byte{198, 18, 1, byte(op.LastPublicAddress)}).String()
		if !used[address] {
			return address, nil
		}
	}
	return "", apiError("InsufficientAddressCapacity", "all %d public addresses are in use", publicAddresses)
}

// elasticIP returns the Elastic IP that is associated with an instance, or nil.
func (op *operation) elasticIP(instanceID string) *store.Address {
	for _, a := range op.Addresses {
		if a.InstanceID == instanceID {
			return a
		}
	}
	return nil
}

// publicIP returns an instance's Elastic IP, or else its auto-assigned
// address, or "".
func (op *operation) publicIP(i *store.InstanceRecord) string {
	if a := op.elasticIP(i.Instance.ID); a != nil {
		return a.PublicIP
	}
	return i.AutoPublicIP
}

// autoAssign gives an instance a new auto-assigned address if it asked for one at launch.
func (op *operation) autoAssign(i *store.InstanceRecord) error {
	if !i.AutoAssign {
		return nil
	}
	address, err := op.allocatePublicIP()
	if err != nil {
		return err
	}
	i.AutoPublicIP = address
	return nil
}

func disassociate(a *store.Address) {
	a.AssociationID, a.InstanceID, a.NetworkInterface, a.PrivateIP, a.PrivateDNS = "", "", "", "", ""
}

// publicDNS is the name that AWS gives to a public address.
func (op *operation) publicDNS(address string) string {
	if address == "" {
		return ""
	}
	zone := op.region + ".compute"
	if op.region == "us-east-1" {
		zone = "compute-1"
	}
	return fmt.Sprintf("ec2-%s.%s.amazonaws.com", strings.ReplaceAll(address, ".", "-"), zone)
}

// privateDNS is the name that AWS gives to a private address.
func (op *operation) privateDNS(address string) string {
	zone := op.region + ".compute.internal"
	if op.region == "us-east-1" {
		zone = "ec2.internal"
	}
	return fmt.Sprintf("ip-%s.%s", strings.ReplaceAll(address, ".", "-"), zone)
}
