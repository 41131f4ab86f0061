package awsplugin

import (
	"context"
	"net/netip"
	"strings"

	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// publicAddresses is the number of public addresses. They are in 198.18.1.0/24, which simulates a part of the
// internet.
const publicAddresses = 254

// maxAddresses is AWS's default quota for Elastic IPs per region.
const maxAddresses = 5

func makeAddress(_ context.Context, op *operation, r store.Record) error {
	if len(op.Addresses) >= maxAddresses {
		return apiError("AddressLimitExceeded", "The maximum number of addresses has been reached: %d", maxAddresses)
	}
	address, err := op.allocatePublicIP()
	if err != nil {
		return err
	}
	r["allocationId"], r["domain"], r["publicIp"], r["publicDns"] = r["id"], "vpc", address, publicDNS(address)
	disassociate(r)
	return nil
}

func removeAddress(_ context.Context, _ *operation, r store.Record) error {
	if r.Text("associationId") != "" {
		return apiError("InvalidIPAddress.InUse", "Address %s is in use by %s.", r.Text("publicIp"), r.Text("instance"))
	}
	return nil
}

func disassociate(address store.Record) {
	for _, property := range []string{"associationId", "instance", "networkInterface", "privateIp", "privateDns"} {
		address[property] = ""
	}
}

// associationRows returns the rows of Elastic IP associations, which are stored in their addresses.
func associationRows() rows {
	return rows{
		all: func(s *store.State) store.Table {
			associations := store.Table{}
			for id, a := range s.Addresses {
				if association := a.Text("associationId"); association != "" {
					associations[association] = store.Record{
						"id": association, "allocationId": id, "instanceId": a["instance"], "networkInterfaceId": a["networkInterface"],
						"privateIpAddress": a["privateIp"], "publicIp": a["publicIp"],
					}
				}
			}
			return associations
		},
		put: func(s *store.State, id string, r store.Record) {
			a, i := s.Addresses[r.Text("allocationId")], s.Instances[r.Text("instanceId")].Shown
			a["associationId"], a["instance"], a["networkInterface"] = id, i["id"], i["primaryNetworkInterfaceId"]
			a["privateIp"], a["privateDns"] = i["privateIp"], i["privateDns"]
		},
		// If a later association has replaced this one, its address has another association id, and nothing is dropped.
		// AWS then returns InvalidAssociationID.NotFound, which pulumi-aws treats as success.
		drop: func(s *store.State, id string) {
			for _, a := range s.Addresses {
				if a.Text("associationId") == id {
					disassociate(a)
				}
			}
		},
	}
}

// makeAssociation removes the address from the instance that has it, and any other address from the instance that
// gets it.
func makeAssociation(ctx context.Context, op *operation, r store.Record) error {
	a, i := op.Addresses[r.Text("allocationId")], op.Instances[r.Text("instanceId")]
	if op.internetGatewayOf(i.VpcID) == "" {
		return apiError("Gateway.NotAttached", "Network %s is not attached to any internet gateway", i.VpcID)
	}
	if association := a.Text("associationId"); association != "" {
		if r["allowReassociation"] == false {
			return apiError("Resource.AlreadyAssociated",
				"resource %s is already associated with associate-id %s", a.Text("id"), association)
		}
		old := op.Instances[a.Text("instance")]
		disassociate(a)
		if old != nil && old != i {
			if err := op.autoAssign(old); err != nil {
				return err
			}
			// If both instances are in the same VPC, its gateway later moves the address in one step. Otherwise, the
			// gateway of the old VPC must release it first.
			if old.VpcID != i.VpcID {
				if err := op.applyGateways(ctx, old.VpcID); err != nil {
					return err
				}
			}
		}
	}
	if other := op.elasticIP(r.Text("instanceId")); other != nil {
		disassociate(other)
	}
	i.AutoPublicIP = ""
	return nil
}

// moveAddress updates the gateway after an association has been created or deleted.
func moveAddress(ctx context.Context, op *operation, before, after store.Record) error {
	if i := op.Instances[after.Text("instanceId")]; i != nil {
		return op.applyGateways(ctx, i.VpcID)
	}
	i := op.Instances[before.Text("instanceId")]
	if i == nil {
		return nil
	}
	if err := op.autoAssign(i); err != nil {
		return err
	}
	return op.applyGateways(ctx, i.VpcID)
}

// allocatePublicIP returns a public address that is not in use. It does not reuse a released address until it has
// gone through all others.
func (op *operation) allocatePublicIP() (string, error) {
	used := map[string]bool{}
	for _, a := range op.Addresses {
		used[a.Text("publicIp")] = true
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
func (op *operation) elasticIP(instanceID string) store.Record {
	for _, a := range op.Addresses {
		if a.Text("instance") == instanceID {
			return a
		}
	}
	return nil
}

// publicIP returns an instance's Elastic IP, or else its auto-assigned address, or "".
func (op *operation) publicIP(i *store.Instance) string {
	if a := op.elasticIP(i.Shown.Text("id")); a != nil {
		return a.Text("publicIp")
	}
	return i.AutoPublicIP
}

// autoAssign assigns a new public address to an instance if it was launched with associatePublicIpAddress.
func (op *operation) autoAssign(i *store.Instance) (err error) {
	if i.Shown.Flag("associatePublicIpAddress") {
		i.AutoPublicIP, err = op.allocatePublicIP()
	}
	return err
}

// publicDNS returns AWS's DNS name for a public address in us-east-1. Without an address, it returns "".
func publicDNS(address string) string {
	if address == "" {
		return ""
	}
	return "ec2-" + strings.ReplaceAll(address, ".", "-") + ".compute-1.amazonaws.com"
}
