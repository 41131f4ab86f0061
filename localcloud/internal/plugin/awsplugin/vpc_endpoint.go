package awsplugin

import (
	"context"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// s3PrefixListID is the id of S3's prefix list in us-east-1. Here it serves in every region.
const s3PrefixListID = "pl-63a5400a"

// vpcEndpoint makes gateway endpoints for S3.
type vpcEndpoint struct{}

func (vpcEndpoint) create(_ context.Context, op *operation, inputs property.Map) (string, error) {
	var e store.VpcEndpoint
	if err := schema.Decode(inputs, &e); err != nil {
		return "", err
	}
	if _, err := op.vpc(e.VpcID); err != nil {
		return "", err
	}
	if service := "com.amazonaws." + op.region + ".s3"; e.ServiceName != service {
		return "", apiError("InvalidServiceName", "The Vpc Endpoint Service '%s' does not exist; localcloud has %s.", e.ServiceName, service)
	}
	for _, other := range op.VpcEndpoints {
		if other.VpcID == e.VpcID && shared(other.RouteTableIDs, e.RouteTableIDs) != "" {
			return "", apiError("RouteAlreadyExists", "route table %s already has a route with destination-prefix-list-id %s",
				shared(other.RouteTableIDs, e.RouteTableIDs), s3PrefixListID)
		}
	}
	if err := op.checkEndpointTables(&e, e.RouteTableIDs); err != nil {
		return "", err
	}
	prefixes, err := op.s3Prefixes()
	if err != nil {
		return "", err
	}
	for _, prefix := range prefixes {
		e.CidrBlocks = append(e.CidrBlocks, prefix.String())
	}
	if e.RouteTableIDs == nil {
		e.RouteTableIDs = []string{}
	}
	e.ID = newID("vpce")
	e.Arn = op.ec2ARN("vpc-endpoint", e.ID)
	e.OwnerID = accountID
	e.PrefixListID = s3PrefixListID
	e.State = "available"
	op.VpcEndpoints[e.ID] = &e
	return e.ID, nil
}

func (vpcEndpoint) read(_ context.Context, op *operation, id string) (any, error) {
	return found(op.VpcEndpoints, id)
}

func (vpcEndpoint) update(_ context.Context, op *operation, id string, inputs property.Map) error {
	e, err := found(op.VpcEndpoints, id)
	if err != nil {
		return err
	}
	var next store.VpcEndpoint
	if err := schema.Decode(inputs, &next); err != nil {
		return err
	}
	e.Tags = next.Tags
	if next.RouteTableIDs == nil {
		return nil
	}
	if err := op.checkEndpointTables(e, next.RouteTableIDs); err != nil {
		return err
	}
	e.RouteTableIDs = next.RouteTableIDs
	return nil
}

func (vpcEndpoint) delete(_ context.Context, op *operation, id string) error {
	if _, err := found(op.VpcEndpoints, id); err != nil {
		return err
	}
	delete(op.VpcEndpoints, id)
	return nil
}

func (op *operation) checkEndpointTables(e *store.VpcEndpoint, tableIDs []string) error {
	for _, id := range tableIDs {
		t, err := op.routeTable(id)
		if err != nil {
			return err
		}
		if t.VpcID != e.VpcID {
			return apiError("InvalidParameter", "The route table %s does not belong to the VPC %s", id, e.VpcID)
		}
	}
	return nil
}

// shared returns an item that both lists have, or "".
func shared(a, b []string) string {
	for _, item := range a {
		if slices.Contains(b, item) {
			return item
		}
	}
	return ""
}
