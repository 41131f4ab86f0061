package components

import (
	"fmt"
	"time"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// moveTimeout bounds the wait until the server answers at the address, with a valid certificate and
// the new release. EC2 moves an address within seconds; the first server of all asks for its
// certificate only then, which may take a minute. A release of changed content alone takes the
// server some seconds, and the time of the download.
const moveTimeout = 2 * time.Minute

// CutoverArgs are the arguments of a Cutover.
type CutoverArgs struct {
	// Address and AllocationID are those of the VIP.
	Address      pulumi.StringInput `pulumi:"address"`
	AllocationID pulumi.StringInput `pulumi:"allocationId"`
	// ServerID is the id of the instance that the VIP moves to.
	ServerID pulumi.StringInput `pulumi:"serverId"`
	// Release is the release that the server must serve.
	Release pulumi.StringInput `pulumi:"release"`
	// Domain is the site's name.
	Domain string `pulumi:"domain"`
	// RootsFile is the path of a PEM file with the authorities of the site's certificate. Optional: by default, those
	// of the machine.
	RootsFile string `pulumi:"rootsFile"`
	// DependsOn are the resources that the move waits for: the server's, and the address records, because an authority
	// looks for the site where its name leads. They are unchanged in a replacement. The move should wait for no other
	// record: Route 53 takes 21 to 28 s for a change of one.
	DependsOn []pulumi.Resource
}

// Cutover moves the VIP to a server, once that is ready and the server before it has handed over, and then probes the
// site at the VIP, by its name. The engine deletes the old server after that. A new release on the same server is
// probed in the same way, so that an update of the content ends when visitors get it.
type Cutover struct {
	pulumi.ResourceState

	// ServerID is the id of the instance that the VIP points to.
	ServerID pulumi.StringOutput `pulumi:"serverId"`
	// Ready is the probe.
	Ready []pulumi.Resource
}

// NewCutover creates a Cutover.
//
// The new association is created before the old one is deleted. EC2 takes the address from the old
// server in the same step, so that it always points to a server; the later deletion of the old
// association finds it gone.
func NewCutover(ctx *pulumi.Context, name string, args *CutoverArgs, opts ...pulumi.ResourceOption) (*Cutover, error) {
	if args == nil {
		return nil, fmt.Errorf("cutover %s: %w", name, errNoArgs)
	}
	if err := required(map[string]bool{
		"Address": args.Address != nil, "AllocationID": args.AllocationID != nil, "ServerID": args.ServerID != nil,
		"Release": args.Release != nil, "Domain": args.Domain != "",
	}); err != nil {
		return nil, fmt.Errorf("cutover %s: %w", name, err)
	}
	cutover := &Cutover{}
	if err := ctx.RegisterComponentResource(token("Cutover"), name, cutover, opts...); err != nil {
		return nil, err
	}
	parent := pulumi.Parent(cutover)

	association, err := ec2.NewEipAssociation(ctx, name, &ec2.EipAssociationArgs{
		AllocationId: args.AllocationID,
		InstanceId:   args.ServerID,
		// Without it, the behaviour depends on the account: EC2 moves an address in a VPC by
		// default, and otherwise refuses one that is associated elsewhere with
		// Resource.AlreadyAssociated.
		AllowReassociation: pulumi.Bool(true),
		// An association that was created without the argument stays; the next one has it.
	}, parent, pulumi.IgnoreChanges([]string{"allowReassociation"}), pulumi.DependsOn(args.DependsOn),
		formerly(ctx, "VIP", "vip", "vip"))
	if err != nil {
		return nil, fmt.Errorf("cutover %s: %w", name, err)
	}
	cutover.ServerID = association.InstanceId
	outputs := pulumi.Map{"serverId": cutover.ServerID}
	if !safeguards {
		return cutover, ctx.RegisterResourceOutputs(cutover, outputs)
	}
	probed, err := newProbe(ctx, name+"-verify", probe{
		Name:     args.Domain,
		Address:  args.Address,
		Roots:    args.RootsFile,
		Server:   association.InstanceId,
		Release:  args.Release,
		Within:   moveTimeout,
		Triggers: pulumi.Array{association.ID(), args.Release},
	}, parent, formerly(ctx, "VIP", "vip", "vip-verify"))
	if err != nil {
		return nil, fmt.Errorf("cutover %s: %w", name, err)
	}
	cutover.Ready = []pulumi.Resource{probed}
	return cutover, ctx.RegisterResourceOutputs(cutover, outputs)
}
