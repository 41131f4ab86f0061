package awsplugin

import (
	"context"
	"errors"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// eipAssociation associates Elastic IPs with instances. An address that is
// associated already moves, and its old association id is dead from then on.
type eipAssociation struct{}

func (eipAssociation) create(ctx context.Context, op *operation, inputs property.Map) (string, error) {
	var e store.EipAssociation
	if err := schema.Decode(inputs, &e); err != nil {
		return "", err
	}
	a, ok := op.Addresses[e.AllocationID]
	if !ok {
		return "", apiError("InvalidAllocationID.NotFound", "The allocation ID '%s' does not exist", e.AllocationID)
	}
	i, ok := op.Instances[e.InstanceID]
	if !ok {
		return "", apiError("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", e.InstanceID)
	}
	if op.internetGatewayOf(i.VpcID) == nil {
		return "", apiError("Gateway.NotAttached", "Network %s is not attached to any internet gateway", i.VpcID)
	}
	if a.AssociationID != "" && e.AllowReassociation != nil && !*e.AllowReassociation {
		return "", apiError("Resource.AlreadyAssociated", "resource %s is already associated with associate-id %s", a.ID, a.AssociationID)
	}

	vpcs := map[string]bool{i.VpcID: true}
	if old, ok := op.Instances[a.InstanceID]; ok && old != i {
		vpcs[old.VpcID] = true
		disassociate(a)
		if err := op.autoAssign(old); err != nil {
			return "", err
		}
	}
	if other := op.elasticIP(i.Instance.ID); other != nil {
		disassociate(other)
	}
	i.AutoPublicIP = ""
	a.AssociationID = newID("eipassoc")
	a.InstanceID = i.Instance.ID
	a.NetworkInterface = i.Instance.PrimaryNetworkInterfaceID
	a.PrivateIP = i.Instance.PrivateIP
	a.PrivateDNS = i.Instance.PrivateDNS
	for vpcID := range vpcs {
		if err := op.applyGateway(ctx, vpcID); err != nil {
			return "", err
		}
	}
	return a.AssociationID, nil
}

func (eipAssociation) read(_ context.Context, op *operation, id string) (any, error) {
	a := op.findAssociation(id)
	if a == nil {
		return nil, errGone
	}
	return &store.EipAssociation{
		ID: id, AllocationID: a.ID, InstanceID: a.InstanceID,
		NetworkInterfaceID: a.NetworkInterface, PrivateIPAddress: a.PrivateIP, PublicIP: a.PublicIP,
	}, nil
}

func (eipAssociation) update(context.Context, *operation, string, property.Map) error {
	return errors.New("an association cannot change: every property of it forces replacement")
}

// delete answers errGone for an association that a later one has replaced:
// AWS's InvalidAssociationID.NotFound, which pulumi-aws takes for success.
func (eipAssociation) delete(ctx context.Context, op *operation, id string) error {
	a := op.findAssociation(id)
	if a == nil {
		return errGone
	}
	i, ok := op.Instances[a.InstanceID]
	disassociate(a)
	if !ok {
		return nil
	}
	if err := op.autoAssign(i); err != nil {
		return err
	}
	return op.applyGateway(ctx, i.VpcID)
}

func (op *operation) findAssociation(id string) *store.Address {
	for _, a := range op.Addresses {
		if a.AssociationID == id {
			return a
		}
	}
	return nil
}
