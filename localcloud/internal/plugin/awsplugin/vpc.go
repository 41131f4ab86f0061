package awsplugin

import (
	"context"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// vpc makes VPCs, each with its main route table and default security group.
type vpc struct{}

func (vpc) create(ctx context.Context, op *operation, inputs property.Map) (string, error) {
	var v store.Vpc
	if err := schema.Decode(inputs, &v); err != nil {
		return "", err
	}
	block, err := parseCIDR(v.CidrBlock)
	if err != nil {
		return "", err
	}
	if block.Bits() < 16 || block.Bits() > 28 {
		return "", apiError("InvalidVpc.Range", "The CIDR '%s' is invalid: a VPC's block is between /16 and /28.", v.CidrBlock)
	}
	v.ID = newID("vpc")
	v.Arn = op.ec2ARN("vpc", v.ID)
	v.OwnerID = accountID
	v.DefaultNetworkACLID = newID("acl")
	v.DHCPOptionsID = newID("dopt")

	main := &store.RouteTable{ID: newID("rtb"), VpcID: v.ID, Routes: []store.RouteTableRoute{}, OwnerID: accountID}
	main.Arn = op.ec2ARN("route-table", main.ID)
	v.MainRouteTableID, v.DefaultRouteTableID = main.ID, main.ID

	group := &store.SecurityGroup{
		ID: newID("sg"), VpcID: v.ID, Name: "default", Description: "default VPC security group", OwnerID: accountID,
		Ingress: []store.SecurityGroupRule{{Protocol: "-1", Self: true}},
		Egress:  []store.SecurityGroupRule{{Protocol: "-1", CidrBlocks: []string{"0.0.0.0/0"}}},
	}
	group.Arn = op.ec2ARN("security-group", group.ID)
	v.DefaultSecurityGroupID = group.ID

	if err := op.cloud.CreateVPC(ctx, cloud.VPC{ID: v.ID, CIDRBlock: block}); err != nil {
		clean, cancel := detached(ctx)
		defer cancel()
		return "", joinCleanUp(err, op.cloud.DeleteVPC(clean, v.ID))
	}
	op.Vpcs[v.ID] = &v
	op.RouteTables[main.ID] = main
	op.SecurityGroups[group.ID] = group
	return v.ID, nil
}

func (vpc) read(_ context.Context, op *operation, id string) (any, error) {
	return found(op.Vpcs, id)
}

func (vpc) update(_ context.Context, op *operation, id string, inputs property.Map) error {
	v, err := found(op.Vpcs, id)
	if err != nil {
		return err
	}
	var next store.Vpc
	if err := schema.Decode(inputs, &next); err != nil {
		return err
	}
	v.EnableDNSHostnames = next.EnableDNSHostnames
	v.Tags = next.Tags
	return nil
}

func (vpc) delete(ctx context.Context, op *operation, id string) error {
	v, err := found(op.Vpcs, id)
	if err != nil {
		return err
	}
	for _, user := range op.usersOfVpc(v) {
		return apiError("DependencyViolation", "The vpc '%s' has dependencies and cannot be deleted: %s is left.", id, user)
	}
	if err := ignoreNotFound(op.cloud.DeleteVPC(ctx, id)); err != nil {
		return err
	}
	delete(op.RouteTables, v.MainRouteTableID)
	delete(op.SecurityGroups, v.DefaultSecurityGroupID)
	delete(op.Vpcs, id)
	return nil
}

// usersOfVpc lists what keeps a VPC from being deleted.
func (op *operation) usersOfVpc(v *store.Vpc) []string {
	var users []string
	for id, s := range op.Subnets {
		if s.VpcID == v.ID {
			users = append(users, id)
		}
	}
	for id, g := range op.InternetGateways {
		if g.VpcID == v.ID {
			users = append(users, id)
		}
	}
	for id, t := range op.RouteTables {
		if t.VpcID == v.ID && id != v.MainRouteTableID {
			users = append(users, id)
		}
	}
	for id, g := range op.SecurityGroups {
		if g.VpcID == v.ID && id != v.DefaultSecurityGroupID {
			users = append(users, id)
		}
	}
	for id, e := range op.VpcEndpoints {
		if e.VpcID == v.ID {
			users = append(users, id)
		}
	}
	return users
}
