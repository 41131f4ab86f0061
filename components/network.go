package components

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// NetworkArgs are the arguments of a Network.
type NetworkArgs struct {
	// CIDRBlock is the VPC's address range, from /16 to /24. The subnet is its first /24.
	CIDRBlock string `pulumi:"cidrBlock"`
	// Region is the AWS region, which the S3 endpoint's name contains.
	Region string `pulumi:"region"`
	// InstanceType is the EC2 instance type that the subnet's availability zone must offer.
	InstanceType string `pulumi:"instanceType"`
	// SSHFromRunner creates a security group that admits the machine that deploys if its address differs each time, as
	// that of a GitHub runner does. The group's rule exists only during an update, and replaces no server. Default: false.
	SSHFromRunner bool `pulumi:"sshFromRunner"`
	// RunnerBlock is the CIDR block of that machine while it deploys, and "" at all other times.
	RunnerBlock string `pulumi:"runnerBlock"`
	// SSHPort is the port of the SSH daemon. Mandatory with SSHFromRunner.
	SSHPort int `pulumi:"sshPort"`
}

// Network is a VPC with one public subnet, and a gateway endpoint for S3, which keeps its traffic within AWS and costs
// nothing.
type Network struct {
	pulumi.ResourceState

	VpcID    pulumi.IDOutput `pulumi:"vpcId"`
	SubnetID pulumi.IDOutput `pulumi:"subnetId"`

	// RunnerGroup is the id of the security group for SSHFromRunner, or nil.
	RunnerGroup pulumi.StringInput

	// Ready lists the resources through which a server reaches the internet.
	Ready []pulumi.Resource
}

// NewNetwork creates a Network.
func NewNetwork(ctx *pulumi.Context, name string, args *NetworkArgs, opts ...pulumi.ResourceOption) (*Network, error) {
	if args == nil {
		return nil, fmt.Errorf("network %s: %w", name, errNoArgs)
	}
	if err := required(map[string]bool{
		"CIDRBlock": args.CIDRBlock != "", "Region": args.Region != "", "InstanceType": args.InstanceType != "",
		"SSHPort": args.SSHPort > 0 || !args.SSHFromRunner,
	}); err != nil {
		return nil, fmt.Errorf("network %s: %w", name, err)
	}
	subnetBlock, err := firstSubnet(args.CIDRBlock)
	if err != nil {
		return nil, fmt.Errorf("network %s: %w", name, err)
	}

	network := &Network{}
	if err := ctx.RegisterComponentResource(token("Network"), name, network, opts...); err != nil {
		return nil, err
	}
	parent := pulumi.Parent(network)

	zones, err := zonesOffering(ctx, args.Region, args.InstanceType, parent)
	if err != nil {
		return nil, fmt.Errorf("network %s: %w", name, err)
	}
	vpc, err := ec2.NewVpc(ctx, name, &ec2.VpcArgs{
		CidrBlock:          pulumi.String(args.CIDRBlock),
		EnableDnsSupport:   pulumi.Bool(true),
		EnableDnsHostnames: pulumi.Bool(true),
	}, parent)
	if err != nil {
		return nil, err
	}
	subnet, err := ec2.NewSubnet(ctx, name, &ec2.SubnetArgs{
		VpcId:            vpc.ID(),
		CidrBlock:        pulumi.String(subnetBlock),
		AvailabilityZone: pulumi.String(zones[0]),
		// Another zone would replace the subnet, and with it the server.
	}, parent, pulumi.IgnoreChanges([]string{"availabilityZone"}))
	if err != nil {
		return nil, err
	}
	gateway, err := ec2.NewInternetGateway(ctx, name, &ec2.InternetGatewayArgs{
		VpcId: vpc.ID(),
		// An update would move the gateway to another VPC, which EC2 rejects while the old VPC has public addresses.
	}, parent, pulumi.ReplaceOnChanges([]string{"vpcId"}))
	if err != nil {
		return nil, err
	}
	routes, err := ec2.NewRouteTable(ctx, name, &ec2.RouteTableArgs{
		VpcId: vpc.ID(),
		Routes: ec2.RouteTableRouteArray{&ec2.RouteTableRouteArgs{
			CidrBlock: pulumi.String("0.0.0.0/0"),
			GatewayId: gateway.ID(),
		}},
	}, parent)
	if err != nil {
		return nil, err
	}
	association, err := ec2.NewRouteTableAssociation(ctx, name, &ec2.RouteTableAssociationArgs{
		SubnetId:     subnet.ID(),
		RouteTableId: routes.ID(),
	}, parent)
	if err != nil {
		return nil, err
	}
	endpoint, err := ec2.NewVpcEndpoint(ctx, name+"-s3", &ec2.VpcEndpointArgs{
		VpcId:           vpc.ID(),
		ServiceName:     pulumi.Sprintf("com.amazonaws.%s.s3", args.Region),
		VpcEndpointType: pulumi.String("Gateway"),
		RouteTableIds:   pulumi.StringArray{routes.ID()},
	}, parent)
	if err != nil {
		return nil, err
	}

	if args.SSHFromRunner {
		group, err := newRunnerGroup(ctx, name+"-runner", args, vpc, parent)
		if err != nil {
			return nil, err
		}
		network.RunnerGroup = group.ID()
	}

	network.VpcID = vpc.ID()
	network.SubnetID = pulumi.All(subnet.ID(), subnet.AvailabilityZone).ApplyT(func(all []any) (pulumi.ID, error) {
		id, zone := all[0].(pulumi.ID), all[1].(string)
		if !slices.Contains(zones, zone) {
			return "", fmt.Errorf("network %s: the zone of its subnet, %s, does not offer the instance type %s: "+
				"choose another instance type, or another vpcCidr for a new network in one of %s",
				name, zone, args.InstanceType, strings.Join(zones, ", "))
		}
		return id, nil
	}).(pulumi.IDOutput)
	network.Ready = []pulumi.Resource{association, endpoint}
	return network, ctx.RegisterResourceOutputs(network, pulumi.Map{
		"vpcId":    network.VpcID,
		"subnetId": network.SubnetID,
	})
}

// newRunnerGroup creates the security group for SSHFromRunner, and its rule while a machine deploys. Nothing depends on
// the rule, so that updating only the rule after a failed update deletes no server that still serves.
func newRunnerGroup(
	ctx *pulumi.Context, name string, args *NetworkArgs, vpc *ec2.Vpc, parent pulumi.ResourceOption,
) (*ec2.SecurityGroup, error) {
	group, err := ec2.NewSecurityGroup(ctx, name, &ec2.SecurityGroupArgs{
		Description: pulumi.String("SSH from the machine that deploys"),
		VpcId:       vpc.ID(),
	}, parent)
	if err != nil || args.RunnerBlock == "" {
		return group, err
	}
	_, err = ec2.NewSecurityGroupRule(ctx, name+"-ssh", &ec2.SecurityGroupRuleArgs{
		SecurityGroupId: group.ID(),
		Type:            pulumi.String("ingress"),
		Description:     pulumi.String("SSH from the machine that deploys, until the update has ended"),
		Protocol:        pulumi.String("tcp"),
		FromPort:        pulumi.Int(args.SSHPort),
		ToPort:          pulumi.Int(args.SSHPort),
		// Previews must not show the address of the operator's machine.
		CidrBlocks: pulumi.ToSecret(pulumi.ToStringArray([]string{args.RunnerBlock})).(pulumi.StringArrayOutput),
	}, pulumi.Parent(group))
	return group, err
}

// zonesOffering returns the availability zones of a region that offer an instance type, sorted. Not every zone does:
// us-east-1e lacks t4g and t3.micro. If none does, it returns an error.
func zonesOffering(ctx *pulumi.Context, region, instanceType string, opts ...pulumi.InvokeOption) ([]string, error) {
	offerings, err := ec2.GetInstanceTypeOfferings(ctx, &ec2.GetInstanceTypeOfferingsArgs{
		LocationType: pulumi.StringRef("availability-zone"),
		Filters:      []ec2.GetInstanceTypeOfferingsFilter{{Name: "instance-type", Values: []string{instanceType}}},
	}, opts...)
	if err != nil {
		return nil, fmt.Errorf("cannot list the zones that offer %s: %w", instanceType, err)
	}
	// A zone's name is the region's plus a letter. Longer names are those of Local Zones, such as us-east-1-bos-1a, which
	// an account must opt in to.
	zones := slices.DeleteFunc(offerings.Locations, func(zone string) bool { return len(zone) != len(region)+1 })
	if len(zones) == 0 {
		return nil, fmt.Errorf("no availability zone of %s offers the instance type %s: choose another type or region",
			region, instanceType)
	}
	slices.Sort(zones)
	return zones, nil
}

// firstSubnet returns the first /24 of a block.
func firstSubnet(block string) (string, error) {
	prefix, err := netip.ParsePrefix(block)
	if err != nil {
		return "", fmt.Errorf("cannot parse CIDRBlock: %w", err)
	}
	if prefix.Bits() > 24 {
		return "", fmt.Errorf("CIDRBlock %s is smaller than the /24 of its subnet", block)
	}
	return netip.PrefixFrom(prefix.Addr(), 24).String(), nil
}
