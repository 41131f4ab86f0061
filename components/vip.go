package components

import (
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// VIPArgs are the arguments of a VIP.
type VIPArgs struct {
	// Protect prevents the release of the address. Default: true.
	Protect *bool `pulumi:"protect"`
}

// VIP is the persistent public address of the site, an Elastic IP. It outlives every server; a Cutover points it to the
// active one.
type VIP struct {
	pulumi.ResourceState

	// Address is the IPv4 address.
	Address pulumi.StringOutput `pulumi:"address"`
	// AllocationID is the id of the Elastic IP.
	AllocationID pulumi.StringOutput `pulumi:"allocationId"`
}

// NewVIP allocates the address.
func NewVIP(ctx *pulumi.Context, name string, args *VIPArgs, opts ...pulumi.ResourceOption) (*VIP, error) {
	if args == nil {
		args = &VIPArgs{}
	}
	vip := &VIP{}
	if err := ctx.RegisterComponentResource(token("VIP"), name, vip, opts...); err != nil {
		return nil, err
	}
	eip, err := ec2.NewEip(ctx, name, &ec2.EipArgs{
		Domain: pulumi.String("vpc"),
	}, pulumi.Parent(vip), pulumi.Protect(args.Protect == nil || *args.Protect))
	if err != nil {
		return nil, err
	}
	vip.Address, vip.AllocationID = eip.PublicIp, eip.AllocationId
	return vip, ctx.RegisterResourceOutputs(vip, pulumi.Map{"address": vip.Address, "allocationId": vip.AllocationID})
}
