package awsplugin

import (
	"context"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// routeTable makes route tables with the routes given inline.
type routeTable struct{}

func (routeTable) create(_ context.Context, op *operation, inputs property.Map) (string, error) {
	var t store.RouteTable
	if err := schema.Decode(inputs, &t); err != nil {
		return "", err
	}
	if _, err := op.vpc(t.VpcID); err != nil {
		return "", err
	}
	routes := t.Routes
	t.Routes = []store.RouteTableRoute{}
	for _, r := range routes {
		if err := op.addRoute(&t, r); err != nil {
			return "", err
		}
	}
	t.ID = newID("rtb")
	t.Arn = op.ec2ARN("route-table", t.ID)
	t.OwnerID = accountID
	op.RouteTables[t.ID] = &t
	return t.ID, nil
}

func (routeTable) read(_ context.Context, op *operation, id string) (any, error) {
	return found(op.RouteTables, id)
}

func (routeTable) update(ctx context.Context, op *operation, id string, inputs property.Map) error {
	t, err := found(op.RouteTables, id)
	if err != nil {
		return err
	}
	var next store.RouteTable
	if err := schema.Decode(inputs, &next); err != nil {
		return err
	}
	t.Tags = next.Tags
	// Without inline routes, those of aws:ec2/route:Route are left alone.
	if _, inline := inputs.GetOk("routes"); !inline {
		return nil
	}
	t.Routes = []store.RouteTableRoute{}
	for _, r := range next.Routes {
		if err := op.addRoute(t, r); err != nil {
			return err
		}
	}
	return op.applyGateway(ctx, t.VpcID)
}

func (routeTable) delete(_ context.Context, op *operation, id string) error {
	t, err := found(op.RouteTables, id)
	if err != nil {
		return err
	}
	for _, a := range op.RouteTableAssociations {
		if a.RouteTableID == id {
			return apiError("DependencyViolation", "The routeTable '%s' has dependencies and cannot be deleted: %s is associated with it.",
				id, a.SubnetID)
		}
	}
	if v := op.Vpcs[t.VpcID]; v != nil && v.MainRouteTableID == id {
		return apiError("DependencyViolation", "The routeTable '%s' is the main one of %s and cannot be deleted.", id, v.ID)
	}
	for _, e := range op.VpcEndpoints {
		e.RouteTableIDs = without(e.RouteTableIDs, id)
	}
	delete(op.RouteTables, id)
	return nil
}

// addRoute adds a route to an internet gateway of the table's VPC.
func (op *operation) addRoute(t *store.RouteTable, r store.RouteTableRoute) error {
	for _, other := range t.Routes {
		if other.CidrBlock == r.CidrBlock {
			return apiError("RouteAlreadyExists", "The route identified by %s already exists.", r.CidrBlock)
		}
	}
	if err := op.checkRouteTarget(t, r.GatewayID); err != nil {
		return err
	}
	t.Routes = append(t.Routes, r)
	return nil
}

func (op *operation) checkRouteTarget(t *store.RouteTable, gatewayID string) error {
	g, ok := op.InternetGateways[gatewayID]
	if !ok {
		return apiError("InvalidGatewayID.NotFound", "The gateway ID '%s' does not exist", gatewayID)
	}
	if g.VpcID != t.VpcID {
		return apiError("InvalidParameterValue", "the route table of %s and network gateway %s belong to different networks", t.VpcID, g.ID)
	}
	return nil
}

// isPublic says whether a subnet's route table leads to the internet.
func (op *operation) isPublic(s *store.Subnet) bool {
	v, ok := op.Vpcs[s.VpcID]
	if !ok {
		return false
	}
	tableID := v.MainRouteTableID
	for _, a := range op.RouteTableAssociations {
		if a.SubnetID == s.ID {
			tableID = a.RouteTableID
		}
	}
	t, ok := op.RouteTables[tableID]
	if !ok {
		return false
	}
	for _, r := range t.Routes {
		g := op.InternetGateways[r.GatewayID]
		if r.CidrBlock == "0.0.0.0/0" && g != nil && g.VpcID == s.VpcID {
			return true
		}
	}
	return false
}

func without(list []string, item string) []string {
	kept := []string{}
	for _, other := range list {
		if other != item {
			kept = append(kept, other)
		}
	}
	return kept
}
