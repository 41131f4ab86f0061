package awsplugin

import (
	"context"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// maxAddresses is AWS's default quota of Elastic IPs in a region.
const maxAddresses = 5

// eip allocates Elastic IPs.
type eip struct{}

func (eip) create(_ context.Context, op *operation, inputs property.Map) (string, error) {
	var a store.Address
	if err := schema.Decode(inputs, &a); err != nil {
		return "", err
	}
	if len(op.Addresses) >= maxAddresses {
		return "", apiError("AddressLimitExceeded", "The maximum number of addresses has been reached: %d", maxAddresses)
	}
	address, err := op.allocatePublicIP()
	if err != nil {
		return "", err
	}
	a.ID = newID("eipalloc")
	a.AllocationID = a.ID
	a.Arn = op.ec2ARN("elastic-ip", a.ID)
	a.Domain = "vpc"
	a.PublicIP = address
	a.PublicDNS = op.publicDNS(address)
	op.Addresses[a.ID] = &a
	return a.ID, nil
}

func (eip) read(_ context.Context, op *operation, id string) (any, error) {
	return found(op.Addresses, id)
}

func (eip) update(_ context.Context, op *operation, id string, inputs property.Map) error {
	a, err := found(op.Addresses, id)
	if err != nil {
		return err
	}
	var next store.Address
	if err := schema.Decode(inputs, &next); err != nil {
		return err
	}
	a.Tags = next.Tags
	return nil
}

func (eip) delete(_ context.Context, op *operation, id string) error {
	a, err := found(op.Addresses, id)
	if err != nil {
		return err
	}
	if a.AssociationID != "" {
		return apiError("InvalidIPAddress.InUse", "Address %s is in use by %s.", a.PublicIP, a.InstanceID)
	}
	delete(op.Addresses, id)
	return nil
}
