package awsplugin

import (
	"context"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// routeTableAssociation gives subnets a route table in place of the main one.
type routeTableAssociation struct{}

func (routeTableAssociation) create(ctx context.Context, op *operation, inputs property.Map) (string, error) {
	var a store.RouteTableAssociation
	if err := schema.Decode(inputs, &a); err != nil {
		return "", err
	}
	s, err := op.subnet(a.SubnetID)
	if err != nil {
		return "", err
	}
	if err := op.checkAssociation(s, a.RouteTableID); err != nil {
		return "", err
	}
	for _, other := range op.RouteTableAssociations {
		if other.SubnetID == a.SubnetID {
			return "", apiError("Resource.AlreadyAssociated",
				"the specified association for route table %s conflicts with an existing association: %s of %s", a.RouteTableID, other.ID, a.SubnetID)
		}
	}
	a.ID = newID("rtbassoc")
	op.RouteTableAssociations[a.ID] = &a
	return a.ID, op.applyGateway(ctx, s.VpcID)
}

func (routeTableAssociation) read(_ context.Context, op *operation, id string) (any, error) {
	return found(op.RouteTableAssociations, id)
}

func (routeTableAssociation) update(ctx context.Context, op *operation, id string, inputs property.Map) error {
	a, err := found(op.RouteTableAssociations, id)
	if err != nil {
		return err
	}
	var next store.RouteTableAssociation
	if err := schema.Decode(inputs, &next); err != nil {
		return err
	}
	s, err := op.subnet(a.SubnetID)
	if err != nil {
		return err
	}
	if err := op.checkAssociation(s, next.RouteTableID); err != nil {
		return err
	}
	a.RouteTableID = next.RouteTableID
	return op.applyGateway(ctx, s.VpcID)
}

func (routeTableAssociation) delete(ctx context.Context, op *operation, id string) error {
	a, err := found(op.RouteTableAssociations, id)
	if err != nil {
		return err
	}
	delete(op.RouteTableAssociations, id)
	s, err := op.subnet(a.SubnetID)
	if err != nil {
		return err
	}
	return op.applyGateway(ctx, s.VpcID)
}

func (op *operation) checkAssociation(s *store.Subnet, tableID string) error {
	t, err := op.routeTable(tableID)
	if err != nil {
		return err
	}
	if t.VpcID != s.VpcID {
		return apiError("InvalidParameterValue", "route table %s and subnet %s belong to different networks", t.ID, s.ID)
	}
	return nil
}
