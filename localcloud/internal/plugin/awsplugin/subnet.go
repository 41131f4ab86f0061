package awsplugin

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// subnet makes subnets.
type subnet struct{}

func (subnet) create(_ context.Context, op *operation, inputs property.Map) (string, error) {
	var s store.Subnet
	if err := schema.Decode(inputs, &s); err != nil {
		return "", err
	}
	v, err := op.vpc(s.VpcID)
	if err != nil {
		return "", err
	}
	block, err := parseCIDR(s.CidrBlock)
	if err != nil {
		return "", err
	}
	if !contains(storedCIDR(v.CidrBlock), block) || block.Bits() > 28 {
		return "", apiError("InvalidSubnet.Range", "The CIDR '%s' is invalid: it must lie within the VPC's %s and be at most a /28.",
			s.CidrBlock, v.CidrBlock)
	}
	for _, other := range op.Subnets {
		if other.VpcID == v.ID && storedCIDR(other.CidrBlock).Overlaps(block) {
			return "", apiError("InvalidSubnet.Conflict", "The CIDR '%s' conflicts with another subnet: %s has %s.",
				s.CidrBlock, other.ID, other.CidrBlock)
		}
	}
	if s.AvailabilityZone == "" {
		s.AvailabilityZone = zones(op.region)[0]
	}
	i := slices.Index(zones(op.region), s.AvailabilityZone)
	if i < 0 {
		return "", apiError("InvalidParameterValue",
			"Value (%s) for parameter availabilityZone is invalid. Subnets can be created in the following availability zones: %s.",
			s.AvailabilityZone, strings.Join(zones(op.region), ", "))
	}
	s.AvailabilityZoneID = zoneID(op.region, i)
	s.PrivateDNSHostnameTypeOnLaunch = "ip-name"
	s.ID = newID("subnet")
	s.Arn = op.ec2ARN("subnet", s.ID)
	s.OwnerID = accountID
	op.Subnets[s.ID] = &s
	return s.ID, nil
}

func (subnet) read(_ context.Context, op *operation, id string) (any, error) {
	return found(op.Subnets, id)
}

func (subnet) update(_ context.Context, op *operation, id string, inputs property.Map) error {
	s, err := found(op.Subnets, id)
	if err != nil {
		return err
	}
	var next store.Subnet
	if err := schema.Decode(inputs, &next); err != nil {
		return err
	}
	s.MapPublicIPOnLaunch = next.MapPublicIPOnLaunch
	s.Tags = next.Tags
	return nil
}

func (subnet) delete(_ context.Context, op *operation, id string) error {
	if _, err := found(op.Subnets, id); err != nil {
		return err
	}
	for _, i := range op.Instances {
		if i.Instance.SubnetID == id {
			return apiError("DependencyViolation", "The subnet '%s' has dependencies and cannot be deleted: instance %s is in it.",
				id, i.Instance.ID)
		}
	}
	for associationID, a := range op.RouteTableAssociations {
		if a.SubnetID == id {
			delete(op.RouteTableAssociations, associationID)
		}
	}
	delete(op.Subnets, id)
	return nil
}

// zoneID abbreviates the name of a region's i-th zone as AWS does: us-east-1a is use1-az1.
func zoneID(region string, i int) string {
	parts := strings.Split(region, "-")
	id := parts[0]
	for _, part := range parts[1:] {
		id += part[:1]
	}
	return id + "-az" + strconv.Itoa(i+1)
}
