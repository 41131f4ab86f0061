package awsplugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// s3PrefixListID is the id of S3's prefix list in us-east-1. Here it is the same in all regions.
const s3PrefixListID = "pl-63a5400a"

// makeVPC creates a VPC with its main route table and default security group.
func makeVPC(ctx context.Context, op *operation, r store.Record) error {
	id, table, group := r.Text("id"), newID("rtb"), newID("sg")
	r["defaultNetworkAclId"], r["dhcpOptionsId"] = newID("acl"), newID("dopt")
	r["mainRouteTableId"], r["defaultRouteTableId"], r["defaultSecurityGroupId"] = table, table, group
	op.RouteTables[table] = store.Record{
		"id": table, "vpcId": id, "routes": []any{}, "ownerId": accountID, "arn": op.ec2ARN("route-table", table),
	}
	op.SecurityGroups[group] = store.Record{
		"id": group, "vpcId": id, "name": "default", "description": "default VPC security group",
		"ownerId": accountID, "arn": op.ec2ARN("security-group", group), "revokeRulesOnDelete": false,
	}
	block := netip.MustParsePrefix(r.Text("cidrBlock"))
	if err := op.cloud.CreateVPC(ctx, cloud.VPC{ID: id, CIDRBlock: block}); err != nil {
		clean, cancel := detached(ctx)
		defer cancel()
		if cleanUp := ignoreNotFound(op.cloud.DeleteVPC(clean, id)); cleanUp != nil {
			return errors.Join(err, fmt.Errorf("cannot clean up: %w", cleanUp))
		}
		return err
	}
	return nil
}

func removeVPC(ctx context.Context, op *operation, r store.Record) error {
	delete(op.RouteTables, r.Text("mainRouteTableId"))
	delete(op.SecurityGroups, r.Text("defaultSecurityGroupId"))
	return ignoreNotFound(op.cloud.DeleteVPC(ctx, r.Text("id")))
}

// deletedWithVPC reports whether a resource is deleted together with its VPC.
func (op *operation) deletedWithVPC(id string) bool {
	for _, v := range op.Vpcs {
		if id == v.Text("mainRouteTableId") || id == v.Text("defaultSecurityGroupId") {
			return true
		}
	}
	return false
}

func checkSubnet(op *operation, r store.Record) error {
	block := netip.MustParsePrefix(r.Text("cidrBlock"))
	if v := op.Vpcs[r.Text("vpcId")].Text("cidrBlock"); !contains(netip.MustParsePrefix(v), block) {
		return apiError("InvalidSubnet.Range", "The CIDR '%s' is invalid: it must lie within the VPC's %s.", block, v)
	}
	for id, other := range op.Subnets {
		sameVPC := other.Text("vpcId") == r.Text("vpcId") && id != r.Text("id")
		if sameVPC && netip.MustParsePrefix(other.Text("cidrBlock")).Overlaps(block) {
			return apiError("InvalidSubnet.Conflict",
				"The CIDR '%s' conflicts with another subnet: %s has %s.", block, id, other.Text("cidrBlock"))
		}
	}
	if r.Text("availabilityZone") == "" {
		r["availabilityZone"] = zones(op.region)[0]
	}
	if !slices.Contains(zones(op.region), r.Text("availabilityZone")) {
		return invalidParameter(
			"Value (%s) for parameter availabilityZone is invalid. Subnets can be created in the following availability "+
				"zones: %s.",
			r.Text("availabilityZone"), strings.Join(zones(op.region), ", "))
	}
	return nil
}

func removeSubnet(_ context.Context, op *operation, r store.Record) error {
	maps.DeleteFunc(op.RouteTableAssociations, func(_ string, a store.Record) bool { return a["subnetId"] == r["id"] })
	return nil
}

// removeInternetGateway refuses to remove a gateway from a VPC with public addresses.
func removeInternetGateway(_ context.Context, op *operation, r store.Record) error {
	for id, i := range op.Instances {
		if address := op.publicIP(i); address != "" && i.VpcID == r["vpcId"] {
			return apiError("DependencyViolation",
				"Network %s has some mapped public address(es). Please unmap those public address(es) before detaching "+
					"the gateway: %s of %s.", i.VpcID, address, id)
		}
	}
	return nil
}

// internetGatewayOf returns the gateway attached to a VPC, or "".
func (op *operation) internetGatewayOf(vpcID string) string {
	for id, g := range op.InternetGateways {
		if g.Text("vpcId") == vpcID {
			return id
		}
	}
	return ""
}

func checkRouteTable(op *operation, r store.Record) error {
	// Do not check unchanged routes in an update, since their gateways may have been deleted since.
	if reflect.DeepEqual(r["routes"], op.RouteTables[r.Text("id")]["routes"]) {
		return nil
	}
	for _, route := range r.Objects("routes") {
		id := route.Text("gatewayId")
		gateway := op.InternetGateways[id]
		if gateway == nil {
			return apiError("InvalidGatewayID.NotFound", "The gateway ID '%s' does not exist", id)
		}
		if vpc := r.Text("vpcId"); gateway.Text("vpcId") != vpc {
			return invalidParameter("the route table of %s and network gateway %s belong to different networks", vpc, id)
		}
	}
	return nil
}

func removeRouteTable(_ context.Context, op *operation, r store.Record) error {
	id := r.Text("id")
	if op.deletedWithVPC(id) {
		return apiError("DependencyViolation",
			"The routeTable '%s' is the main route table of %s and cannot be deleted.", id, r.Text("vpcId"))
	}
	for _, e := range op.VpcEndpoints {
		e["routeTableIds"] = slices.DeleteFunc(e.List("routeTableIds"), func(table any) bool { return table == id })
	}
	return nil
}

// isPublic reports whether a subnet's route table has a route to the internet.
func (op *operation) isPublic(subnet store.Record) bool {
	vpc := subnet.Text("vpcId")
	table := op.Vpcs[vpc].Text("mainRouteTableId")
	for _, a := range op.RouteTableAssociations {
		if a.Text("subnetId") == subnet.Text("id") {
			table = a.Text("routeTableId")
		}
	}
	for _, route := range op.RouteTables[table].Objects("routes") {
		gateway := route.Text("gatewayId")
		if route["cidrBlock"] == "0.0.0.0/0" && gateway != "" && gateway == op.internetGatewayOf(vpc) {
			return true
		}
	}
	return false
}

func checkVPCEndpoint(op *operation, r store.Record) error {
	if service := "com.amazonaws." + op.region + ".s3"; r.Text("serviceName") != service {
		return apiError("InvalidServiceName",
			"The Vpc Endpoint Service '%s' does not exist; localcloud has %s.", r.Text("serviceName"), service)
	}
	for id, other := range op.VpcEndpoints {
		for _, table := range other.Texts("routeTableIds") {
			if id != r.Text("id") && slices.Contains(r.Texts("routeTableIds"), table) {
				return apiError("RouteAlreadyExists",
					"route table %s already has a route with destination-prefix-list-id %s", table, s3PrefixListID)
			}
		}
	}
	return nil
}

func makeVPCEndpoint(_ context.Context, _ *operation, r store.Record) error {
	r["cidrBlocks"], r["prefixListId"] = []any{cloud.S3Address().String() + "/32"}, s3PrefixListID
	r["requesterManaged"], r["state"] = false, "available"
	return nil
}

// contains reports whether inner lies entirely within outer.
func contains(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

func ignoreNotFound(err error) error {
	if errors.Is(err, cloud.ErrNotFound) {
		return nil
	}
	return err
}

// zones returns the availability zones of a region: six in us-east-1, as on AWS, and three in all others.
func zones(region string) []string {
	letters := "abc"
	if region == "us-east-1" {
		letters = "abcdef"
	}
	var names []string
	for _, letter := range letters {
		names = append(names, region+string(letter))
	}
	return names
}

// zonesOffering returns the zones of a region that offer an instance type. As on AWS, us-east-1e has neither t3
// nor Graviton.
func zonesOffering(region, instanceType string) []string {
	form := regexp.MustCompile(`^[a-z]+[0-9][a-z0-9-]*\.(nano|micro|small|medium|large|[0-9]*xlarge|metal[a-z0-9-]*)$`)
	if !form.MatchString(instanceType) {
		return nil
	}
	excluded := strings.HasPrefix(instanceType, "t3.") || schema.Architecture(instanceType) == "arm64"
	return slices.DeleteFunc(zones(region), func(zone string) bool { return zone == "us-east-1e" && excluded })
}

// checkZone returns AWS's error if a zone does not offer an instance type.
func checkZone(region, zone, instanceType string) error {
	offering := zonesOffering(region, instanceType)
	switch {
	case slices.Contains(offering, zone):
		return nil
	case len(offering) == 0:
		return invalidParameter("Invalid value '%s' for InstanceType.", instanceType)
	}
	return apiError("Unsupported",
		"Your requested instance type (%s) is not supported in your requested Availability Zone (%s). "+
			"Please retry your request by not specifying an Availability Zone or choosing %s.",
		instanceType, zone, strings.Join(offering, ", "))
}

// getInstanceTypeOfferings returns the zones in reverse order, since EC2 does not guarantee an order.
func getInstanceTypeOfferings(op *operation, arguments store.Record) (store.Record, error) {
	filters, kind := arguments.Objects("filters"), arguments.Text("locationType")
	if kind != "availability-zone" || len(filters) != 1 || filters[0].Text("name") != "instance-type" {
		return nil, fmt.Errorf("localcloud can list only the availability zones of given instance types: " +
			`write locationType "availability-zone" and one filter "instance-type"`)
	}
	types, locations, kinds := []any{}, []any{}, []any{}
	for _, instanceType := range filters[0].Texts("values") {
		if strings.ContainsAny(instanceType, "*?") {
			return nil, fmt.Errorf("localcloud does not support wildcards in the filter instance-type: %q", instanceType)
		}
		for _, zone := range slices.Backward(zonesOffering(op.region, instanceType)) {
			types, locations, kinds = append(types, instanceType), append(locations, zone), append(kinds, kind)
		}
	}
	return store.Record{
		"id": op.region, "filters": arguments["filters"], "locationType": kind,
		"instanceTypes": types, "locations": locations, "locationTypes": kinds,
	}, nil
}
