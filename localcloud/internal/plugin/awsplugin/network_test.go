package awsplugin

import (
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/cloud"
)

func TestInvalidNetworksAreRejected(t *testing.T) {
	s := newSite(t)
	other := s.create("aws:ec2/vpc:Vpc", "other", object{"cidrBlock": "10.1.0.0/16"})
	tcp := func(from, to int, more object) object {
		rule := object{"protocol": "tcp", "fromPort": from, "toPort": to}
		for k, v := range more {
			rule[k] = v
		}
		return rule
	}
	world := object{"cidrBlocks": []string{"0.0.0.0/0"}}
	group := func(rules ...object) object { return object{"vpcId": s.vpc.id, "ingress": rules} }
	for name, c := range map[string]struct {
		code, token string
		inputs      object
	}{
		"a VPC that is too big":            {"InvalidVpc.Range", "aws:ec2/vpc:Vpc", object{"cidrBlock": "10.0.0.0/8"}},
		"a VPC with host bits":             {"write 10.0.0.0/16", "aws:ec2/vpc:Vpc", object{"cidrBlock": "10.0.0.1/16"}},
		"a VPC with an invalid CIDR block": {"not an IPv4 CIDR block", "aws:ec2/vpc:Vpc", object{"cidrBlock": "ten"}},
		"a subnet of a missing VPC": {"InvalidVpcID.NotFound", "aws:ec2/subnet:Subnet",
			object{"vpcId": "vpc-1", "cidrBlock": "10.0.2.0/24"}},
		"a subnet outside its VPC": {"InvalidSubnet.Range", "aws:ec2/subnet:Subnet",
			object{"vpcId": s.vpc.id, "cidrBlock": "10.1.2.0/24"}},
		"an overlapping subnet": {"InvalidSubnet.Conflict", "aws:ec2/subnet:Subnet",
			object{"vpcId": s.vpc.id, "cidrBlock": "10.0.1.128/25"}},
		"a zone of another region": {"InvalidParameterValue", "aws:ec2/subnet:Subnet",
			object{"vpcId": s.vpc.id, "cidrBlock": "10.0.2.0/24", "availabilityZone": "eu-west-1a"}},
		"a second internet gateway": {"already has an internet gateway", "aws:ec2/internetGateway:InternetGateway",
			object{"vpcId": s.vpc.id}},
		"a route to a missing gateway": {"InvalidGatewayID.NotFound", "aws:ec2/routeTable:RouteTable",
			object{"vpcId": s.vpc.id, "routes": []object{{"cidrBlock": "0.0.0.0/0", "gatewayId": "igw-1"}}}},
		"a route to another VPC's gateway": {"different networks", "aws:ec2/routeTable:RouteTable",
			object{"vpcId": other.id, "routes": []object{{"cidrBlock": "0.0.0.0/0", "gatewayId": s.gateway.id}}}},
		"two routes to the same destination": {"RouteAlreadyExists", "aws:ec2/routeTable:RouteTable",
			object{"vpcId": s.vpc.id, "routes": []object{{"cidrBlock": "0.0.0.0/0", "gatewayId": s.gateway.id},
				{"cidrBlock": "0.0.0.0/0", "gatewayId": s.gateway.id}}}},
		"a second route table for a subnet": {"Resource.AlreadyAssociated",
			"aws:ec2/routeTableAssociation:RouteTableAssociation", object{"routeTableId": s.table.id, "subnetId": s.subnet.id}},
		"an endpoint for another service": {"InvalidServiceName", "aws:ec2/vpcEndpoint:VpcEndpoint",
			object{"vpcId": s.vpc.id, "serviceName": "com.amazonaws.us-east-1.dynamodb"}},
		"a second endpoint for a route table": {"RouteAlreadyExists", "aws:ec2/vpcEndpoint:VpcEndpoint",
			object{"vpcId": s.vpc.id, "serviceName": "com.amazonaws.us-east-1.s3", "routeTableIds": []string{s.table.id}}},
		"a duplicate group name": {"InvalidGroup.Duplicate", "aws:ec2/securityGroup:SecurityGroup",
			object{"vpcId": s.vpc.id, "name": "default"}},
		"a group name that looks like an ID": {"cannot begin with sg-", "aws:ec2/securityGroup:SecurityGroup",
			object{"vpcId": s.vpc.id, "name": "sg-web"}},
		"a duplicate rule": {"InvalidPermission.Duplicate", "aws:ec2/securityGroup:SecurityGroup", group(tcp(80, 80, world),
			tcp(80, 80, world))},
		"a rule that matches no address": {"matches no address", "aws:ec2/securityGroup:SecurityGroup",
			group(tcp(80, 80, object{"cidrBlocks": []string{}}))},
		"a rule with reversed ports": {"Invalid TCP/UDP port range", "aws:ec2/securityGroup:SecurityGroup",
			group(tcp(443, 80, world))},
		"a rule with host bits": {"write 10.0.0.0/8", "aws:ec2/securityGroup:SecurityGroup",
			group(tcp(80, 80, object{"cidrBlocks": []string{"10.1.2.3/8"}}))},
	} {
		t.Run(name, func(t *testing.T) { s.createFails(c.code, c.token, c.inputs) })
	}
}

func TestResourcesInUseCannotBeDeleted(t *testing.T) {
	s := newSite(t)
	s.moveVIP(s.server)
	for name, c := range map[string]struct {
		code     string
		resource *resource
	}{
		"a VPC with a subnet":              {"DependencyViolation", s.vpc},
		"a subnet with an instance":        {"DependencyViolation", s.subnet},
		"a security group of an instance":  {"DependencyViolation", s.group},
		"a route table of a subnet":        {"DependencyViolation", s.table},
		"a gateway with public addresses":  {"mapped public address", s.gateway},
		"an Elastic IP that is associated": {"InvalidIPAddress.InUse", s.vip},
		"a role with a policy":             {"DeleteConflict", s.role},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, s.delete(c.resource), c.code)
			require.True(t, s.refresh(c.resource), "the resource still exists")
		})
	}
}

func TestSecurityGroupRulesReachTheGateway(t *testing.T) {
	s := newSite(t)
	n := s.cloud.networkInterface(t, s.server.id)
	require.Len(t, n.Ingress, 2)
	require.Equal(t, "tcp", n.Ingress[0].Protocol)
	require.Equal(t, 80, n.Ingress[0].FromPort)
	require.Equal(t, "0.0.0.0/0", n.Ingress[0].CIDRs[0].String())
	require.Len(t, n.Egress, 1, "a group has no egress beyond its rules")
	require.Equal(t, "0.0.0.0/0", n.Egress[0].CIDRs[0].String())

	s.update(s.group, object{"vpcId": s.vpc.id, "ingress": []object{
		{"protocol": "tcp", "fromPort": 22, "toPort": 22, "cidrBlocks": []string{"203.0.113.7/32"}},
	}})
	n = s.cloud.networkInterface(t, s.server.id)
	require.Len(t, n.Ingress, 1)
	require.Equal(t, "203.0.113.7/32", n.Ingress[0].CIDRs[0].String())
	require.Len(t, n.Egress, 1, "rules that are no longer given stay")
}

func TestPublicAddressNeedsARouteToTheInternet(t *testing.T) {
	s := newSite(t)
	require.True(t, s.cloud.networkInterface(t, s.server.id).PublicIP.IsValid())
	s.update(s.table, object{"vpcId": s.vpc.id, "routes": []object{}})
	require.False(t, s.cloud.networkInterface(t, s.server.id).PublicIP.IsValid())

	s.update(s.table,
		object{"vpcId": s.vpc.id, "routes": []object{{"cidrBlock": "0.0.0.0/0", "gatewayId": s.gateway.id}}})
	require.True(t, s.cloud.networkInterface(t, s.server.id).PublicIP.IsValid())
}

func TestStandaloneRuleOpensAndClosesSecurityGroup(t *testing.T) {
	const token = "aws:ec2/securityGroupRule:SecurityGroupRule"
	s := newSite(t)
	group := s.create("aws:ec2/securityGroup:SecurityGroup", "runner",
		object{"vpcId": s.vpc.id, "tags": object{"Project": "immutable-infra", "Stack": "test"}})
	server := s.create("aws:ec2/instance:Instance", "second",
		s.serverInputs(object{"vpcSecurityGroupIds": []string{group.id}}))
	open := func() []cloud.Rule { return s.cloud.networkInterface(t, server.id).Ingress }
	inputs := func(changes object) object {
		all := object{"securityGroupId": group.id, "type": "ingress", "protocol": "tcp", "fromPort": 12222, "toPort": 12222,
			"cidrBlocks": []string{"203.0.113.7/32"}}
		for name, value := range changes {
			all[name] = value
		}
		return all
	}
	require.Empty(t, open())
	s.create("aws:iam/role:Role", "deploy", object{"name": "deploy", "assumeRolePolicy": trustEC2})
	s.create("aws:iam/rolePolicy:RolePolicy", "deploy",
		object{"name": "deploy", "role": "deploy", "policy": reviewedPolicy(t, "deploy-test")})
	restore := s.as("deploy")
	rule := s.create(token, "runner", inputs(nil))
	require.Len(t, open(), 1)
	require.Equal(t, 12222, open()[0].FromPort)
	require.Equal(t, "203.0.113.7/32", open()[0].CIDRs[0].String())
	before := *rule
	require.True(t, s.refresh(rule))
	require.True(t, before.inputs.Equals(rule.inputs), "%v became %v", before.inputs, rule.inputs)

	// The group has no inline rules, so that neither resource undoes the other.
	require.True(t, s.refresh(group))
	_, diff := s.diff(group, object{"vpcId": s.vpc.id, "tags": object{"Project": "immutable-infra", "Stack": "test"}})
	require.False(t, diff.HasChanges, "%v", diff.DetailedDiff)
	s.createFails("InvalidPermission.Duplicate", token, inputs(nil))
	_, err := s.tryCreate(token, "other", inputs(object{"securityGroupId": s.group.id}))
	require.ErrorContains(t, err, "ec2:AuthorizeSecurityGroupIngress", "a group of another project")
	require.NoError(t, s.delete(rule))
	require.Empty(t, open())
	require.False(t, s.refresh(rule))
	restore()

	s.createFails("InvalidGroup.NotFound", token, inputs(object{"securityGroupId": "sg-missing"}))
	rule = s.create(token, "runner", inputs(object{"description": "one"}))
	s.update(rule, inputs(object{"description": "two"}))
	require.True(t, s.refresh(rule))
	require.Equal(t, "two", rule.get("description"))
	require.NoError(t, s.delete(server))
	require.NoError(t, s.delete(group))
	require.False(t, s.refresh(rule), "deleting a group deletes its rules")
}

func TestInternetGatewayCannotMoveToAnotherVPC(t *testing.T) {
	s := newNetwork(t)
	other := s.create("aws:ec2/vpc:Vpc", "other", object{"cidrBlock": "10.1.0.0/16"})
	require.ErrorContains(t, s.tryUpdate(s.gateway, object{"vpcId": other.id}, false),
		`localcloud cannot change vpcId in place: set pulumi.ReplaceOnChanges([]string{"vpcId"})`)
}

func TestRouteTableTagsCanChangeAfterItsGatewayIsDeleted(t *testing.T) {
	h := newHarness(t)
	vpc := h.create("aws:ec2/vpc:Vpc", "vpc", object{"cidrBlock": "10.0.0.0/16"})
	gateway := h.create("aws:ec2/internetGateway:InternetGateway", "gateway", object{"vpcId": vpc.id})
	inputs := object{"vpcId": vpc.id, "routes": []object{{"cidrBlock": "0.0.0.0/0", "gatewayId": gateway.id}}}
	table := h.create("aws:ec2/routeTable:RouteTable", "table", inputs)
	require.NoError(t, h.delete(gateway))
	inputs["tags"] = object{"Name": "public"}
	h.update(table, inputs)
	require.Len(t, h.state().RouteTables[table.id].Objects("routes"), 1)
}
