package awsplugin

import (
	"context"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// internetGateway makes internet gateways and attaches them.
type internetGateway struct{}

func (internetGateway) create(ctx context.Context, op *operation, inputs property.Map) (string, error) {
	var g store.InternetGateway
	if err := schema.Decode(inputs, &g); err != nil {
		return "", err
	}
	vpcID := g.VpcID
	g.VpcID = ""
	g.ID = newID("igw")
	g.Arn = op.ec2ARN("internet-gateway", g.ID)
	g.OwnerID = accountID
	op.InternetGateways[g.ID] = &g
	return g.ID, op.attach(ctx, &g, vpcID)
}

func (internetGateway) read(_ context.Context, op *operation, id string) (any, error) {
	return found(op.InternetGateways, id)
}

func (internetGateway) update(ctx context.Context, op *operation, id string, inputs property.Map) error {
	g, err := found(op.InternetGateways, id)
	if err != nil {
		return err
	}
	var next store.InternetGateway
	if err := schema.Decode(inputs, &next); err != nil {
		return err
	}
	g.Tags = next.Tags
	if next.VpcID == "" || next.VpcID == g.VpcID {
		return nil
	}
	if err := op.detach(ctx, g); err != nil {
		return err
	}
	return op.attach(ctx, g, next.VpcID)
}

func (internetGateway) delete(ctx context.Context, op *operation, id string) error {
	g, err := found(op.InternetGateways, id)
	if err != nil {
		return err
	}
	if err := op.detach(ctx, g); err != nil {
		return err
	}
	delete(op.InternetGateways, id)
	return nil
}

func (op *operation) attach(ctx context.Context, g *store.InternetGateway, vpcID string) error {
	if vpcID == "" {
		return nil
	}
	if _, err := op.vpc(vpcID); err != nil {
		return err
	}
	if other := op.internetGatewayOf(vpcID); other != nil {
		return apiError("InvalidParameterValue", "Network %s already has an internet gateway attached: %s", vpcID, other.ID)
	}
	g.VpcID = vpcID
	return op.applyGateway(ctx, vpcID)
}

func (op *operation) detach(ctx context.Context, g *store.InternetGateway) error {
	if g.VpcID == "" {
		return nil
	}
	for _, i := range op.Instances {
		if i.VpcID == g.VpcID && op.publicIP(i) != "" {
			return apiError("DependencyViolation",
				"Network %s has some mapped public address(es). Please unmap those public address(es) before detaching the gateway: %s of %s.",
				g.VpcID, op.publicIP(i), i.Instance.ID)
		}
	}
	vpcID := g.VpcID
	g.VpcID = ""
	return op.applyGateway(ctx, vpcID)
}

// internetGatewayOf returns the gateway attached to a VPC, or nil.
func (op *operation) internetGatewayOf(vpcID string) *store.InternetGateway {
	for _, g := range op.InternetGateways {
		if g.VpcID == vpcID {
			return g
		}
	}
	return nil
}
