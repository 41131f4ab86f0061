package awsplugin

import (
	"context"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// route makes single routes. They live in their route table.
type route struct{}

func (route) create(ctx context.Context, op *operation, inputs property.Map) (string, error) {
	var r store.Route
	if err := schema.Decode(inputs, &r); err != nil {
		return "", err
	}
	t, err := op.routeTable(r.RouteTableID)
	if err != nil {
		return "", err
	}
	if err := op.addRoute(t, store.RouteTableRoute{CidrBlock: r.DestinationCidrBlock, GatewayID: r.GatewayID}); err != nil {
		return "", err
	}
	return routeID(t.ID, r.DestinationCidrBlock), op.applyGateway(ctx, t.VpcID)
}

func (route) read(_ context.Context, op *operation, id string) (any, error) {
	t, index := op.findRoute(id)
	if t == nil {
		return nil, errGone
	}
	return &store.Route{
		ID: id, RouteTableID: t.ID, DestinationCidrBlock: t.Routes[index].CidrBlock, GatewayID: t.Routes[index].GatewayID,
		Origin: "CreateRoute", State: "active",
	}, nil
}

func (route) update(ctx context.Context, op *operation, id string, inputs property.Map) error {
	t, index := op.findRoute(id)
	if t == nil {
		return errGone
	}
	var next store.Route
	if err := schema.Decode(inputs, &next); err != nil {
		return err
	}
	if err := op.checkRouteTarget(t, next.GatewayID); err != nil {
		return err
	}
	t.Routes[index].GatewayID = next.GatewayID
	return op.applyGateway(ctx, t.VpcID)
}

func (route) delete(ctx context.Context, op *operation, id string) error {
	t, index := op.findRoute(id)
	if t == nil {
		return errGone
	}
	t.Routes = slices.Delete(t.Routes, index, index+1)
	return op.applyGateway(ctx, t.VpcID)
}

func (op *operation) findRoute(id string) (*store.RouteTable, int) {
	for _, t := range op.RouteTables {
		for i, r := range t.Routes {
			if routeID(t.ID, r.CidrBlock) == id {
				return t, i
			}
		}
	}
	return nil, 0
}

// routeID is the Terraform provider's: routes have no id in EC2.
func routeID(tableID, destination string) string {
	return fmt.Sprintf("r-%s%d", tableID, crc32.ChecksumIEEE([]byte(destination)))
}
