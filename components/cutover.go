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

// moveTimeout bounds the wait until the server responds at the VIP with a valid certificate and the new release. EC2
// moves an address within seconds; the first server of a stack requests its certificate only then, which may take a
// minute. After a change of only the content, the server needs a few seconds plus the time for the download.
const moveTimeout = 2 * time.Minute

// returnTimeout bounds the return of the VIP, including the wait until the old server serves again.
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
	// Domain is the site's domain name.
	Domain string `pulumi:"domain"`
	// RootsFile is the path of a PEM file with the authorities of the site's certificate. Default: the machine's.
	RootsFile string `pulumi:"rootsFile"`
	// BackupBucket is the name of the bucket to which the server writes its report during the bake, Region the region of
	// the bucket and the VIP.
	BackupBucket pulumi.StringInput `pulumi:"backupBucket"`
	Region       string             `pulumi:"region"`
	// Bake decides how long the server is watched after the move, and when the VIP returns.
	Bake bake.Criteria `pulumi:"bake"`
	// DependsOn lists the resources that the move waits for: the server's, and the address records, because a certificate
	// authority validates the site at the address that its name resolves to. A replacement does not change these records.
	// The move should not wait for other records: Route 53 takes 21 to 28 s to change one.
	DependsOn []pulumi.Resource
}

// Cutover moves the VIP to a server when that server is ready and the previous one has handed over, and then probes the
// site by name at the VIP. A new release on the same server is probed in the same way, so that a content update ends
// when visitors get the new content. After a move, both servers run for the bake time: if visitors fare worse, the VIP
// returns to the old server and the update fails. Otherwise, the engine deletes the old server after the bake.
type Cutover struct {
	pulumi.ResourceState

	// ServerID is the id of the instance that the VIP points to.
	ServerID pulumi.StringOutput `pulumi:"serverId"`
	// Ready lists the probe and the bake.
	Ready []pulumi.Resource
}

// NewCutover creates a Cutover.
//
// The new association is created before the old one is deleted. EC2 removes the address from the old server in the same
// step, so that the VIP always points to a server; the old association no longer exists when the engine deletes it.
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
		// The server that holds the VIP before the move, to which the bake may return it. Its id is kept in the state, so
		// that the next update can continue one that was killed during the bake.
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
		// Without this argument, the behavior depends on the account: in a VPC, EC2 moves the address by default; otherwise
		// it rejects an address that is already associated, with Resource.AlreadyAssociated.
		AllowReassociation: pulumi.Bool(true),
		// Adding the argument must not replace an association that was created without it.
	}, parent, pulumi.IgnoreChanges([]string{"allowReassociation"}), pulumi.DependsOn(dependsOn),
		movedFrom(ctx, "VIP", "vip", "vip"))
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
	}, parent, movedFrom(ctx, "VIP", "vip", "vip-verify"))
	if err != nil {
		return nil, fmt.Errorf("cutover %s: %w", name, err)
	}
	limits, err := json.Marshal(args.Bake)
	if err != nil {
		return nil, fmt.Errorf("cutover %s: %w", name, err)
	}
	baked, err := newLocalCommand(ctx, name+"-bake", localCommand{
		// If Pulumi is killed, a return of the VIP still completes.
		Script: goRunToTheEnd("bake", "watch"),
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
		// Not the release: a change of only the content has no bake.
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
