package components

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi-command/sdk/go/command/local"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"immutable-infra/bake"
)

// moveTimeout bounds the wait until the server answers at the address, with a valid certificate and
// the new release. EC2 moves an address within seconds; the first server of all asks for its
// certificate only then, which may take a minute. A release of changed content alone takes the
// server some seconds, and the time of the download.
const moveTimeout = 2 * time.Minute

// returnTimeout bounds the way back, with the wait until the old server serves again.
const returnTimeout = 3 * time.Minute

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
	// BackupBucket is the name of the bucket in which the server reports during the bake, Region that of both.
	BackupBucket pulumi.StringInput `pulumi:"backupBucket"`
	Region       string             `pulumi:"region"`
	// Bake says for how long the server is watched after the move, and when the VIP returns.
	Bake bake.Criteria `pulumi:"bake"`
	// DependsOn are the resources that the move waits for: the server's, and the address records, because an authority
	// looks for the site where its name leads. They are unchanged in a replacement. The move should wait for no other
	// record: Route 53 takes 21 to 28 s for a change of one.
	DependsOn []pulumi.Resource
}

// Cutover moves the VIP to a server, once that is ready and the server before it has handed over, and then probes the
// site at the VIP, by its name. A new release on the same server is probed in the same way, so that an update of the
// content ends when visitors get it. After a move, both servers run for the bake time: if visitors fare worse, the VIP
// returns to the old server and the update fails. The engine deletes the old server after that.
type Cutover struct {
	pulumi.ResourceState

	// ServerID is the id of the instance that the VIP points to.
	ServerID pulumi.StringOutput `pulumi:"serverId"`
	// Ready are the probe and the bake.
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
		"BackupBucket": args.BackupBucket != nil, "Region": args.Region != "",
	}); err != nil {
		return nil, fmt.Errorf("cutover %s: %w", name, err)
	}
	cutover := &Cutover{}
	if err := ctx.RegisterComponentResource(token("Cutover"), name, cutover, opts...); err != nil {
		return nil, err
	}
	parent := pulumi.Parent(cutover)

	dependsOn := slices.Clone(args.DependsOn)
	var previous *local.Command
	if safeguards {
		// The server that holds the VIP before the move, to which the bake may return it. Its id is in the state: an
		// update that was killed in the bake is continued by the next one.
		var err error
		previous, err = newLocalCommand(ctx, name+"-previous", localCommand{
			Script: goRun("bake", "previous"),
			Environment: pulumi.StringMap{
				"REGION": pulumi.String(args.Region), "ALLOCATION_ID": args.AllocationID,
			},
			Triggers: pulumi.Array{args.ServerID},
			Timeout:  (compileTimeout + reportTimeout).String(),
		}, parent)
		if err != nil {
			return nil, fmt.Errorf("cutover %s: %w", name, err)
		}
		dependsOn = append(dependsOn, previous)
	}
	association, err := ec2.NewEipAssociation(ctx, name, &ec2.EipAssociationArgs{
		AllocationId: args.AllocationID,
		InstanceId:   args.ServerID,
		// Without it, the behaviour depends on the account: EC2 moves an address in a VPC by
		// default, and otherwise refuses one that is associated elsewhere with
		// Resource.AlreadyAssociated.
		AllowReassociation: pulumi.Bool(true),
		// An association that was created without the argument stays; the next one has it.
	}, parent, pulumi.IgnoreChanges([]string{"allowReassociation"}), pulumi.DependsOn(dependsOn),
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
	limits, err := json.Marshal(args.Bake)
	if err != nil {
		return nil, fmt.Errorf("cutover %s: %w", name, err)
	}
	baked, err := newLocalCommand(ctx, name+"-bake", localCommand{
		Script: goRun("bake", "watch"),
		Environment: pulumi.StringMap{
			"REGION":        pulumi.String(args.Region),
			"ALLOCATION_ID": args.AllocationID,
			"NAME":          pulumi.String(args.Domain),
			"ADDRESS":       args.Address,
			"ROOTS":         pulumi.String(args.RootsFile),
			"SERVER":        association.InstanceId,
			"PREVIOUS":      previous.Stdout,
			"BUCKET":        args.BackupBucket,
			"BAKE":          pulumi.String(limits),
		},
		// Not the release: a change of the content alone has no bake.
		Triggers: pulumi.Array{association.ID()},
		Timeout: (compileTimeout + bake.ArrivalTimeout + time.Duration(args.Bake.Time)*time.Second + returnTimeout +
			reportTimeout).String(),
	}, parent, pulumi.DependsOn([]pulumi.Resource{probed}))
	if err != nil {
		return nil, fmt.Errorf("cutover %s: %w", name, err)
	}
	cutover.Ready = []pulumi.Resource{probed, baked}
	return cutover, ctx.RegisterResourceOutputs(cutover, outputs)
}
