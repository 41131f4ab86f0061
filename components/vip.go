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

// VIPArgs are the arguments of a VIP.
type VIPArgs struct {
	// Protect refuses to release the address. Defaulted: true.
	Protect *bool `pulumi:"protect"`
}

// VIP is the persistent public address of the site, an Elastic IP. It outlives
// every server and points to one of them.
type VIP struct {
	pulumi.ResourceState

	// Address is the IPv4 address.
	Address pulumi.StringOutput `pulumi:"address"`
	// ServerID is the id of the instance that the address points to. It is
	// there after PointTo.
	ServerID pulumi.StringOutput `pulumi:"serverId"`
	// Served is what somebody who looks at the site has to wait for. It is there
	// after PointTo.
	Served []pulumi.Resource

	name string
	eip  *ec2.Eip
}

// NewVIP allocates the address. It points nowhere until PointTo.
func NewVIP(ctx *pulumi.Context, name string, args *VIPArgs, opts ...pulumi.ResourceOption) (*VIP, error) {
	if args == nil {
		args = &VIPArgs{}
	}
	vip := &VIP{name: name}
	if err := ctx.RegisterComponentResource(token("VIP"), name, vip, opts...); err != nil {
		return nil, err
	}
	eip, err := ec2.NewEip(ctx, name, &ec2.EipArgs{
		Domain: pulumi.String("vpc"),
		Tags:   tags(ctx, name),
	}, pulumi.Parent(vip), pulumi.Protect(args.Protect == nil || *args.Protect))
	if err != nil {
		return nil, err
	}
	vip.eip = eip
	vip.Address = eip.PublicIp
	return vip, ctx.RegisterResourceOutputs(vip, pulumi.Map{"address": vip.Address})
}

// PointTo moves the address to a server, once the server is ready and the one
// before it has handed over, and then probes the site there, by its name: release
// is what it must serve. The engine deletes the old server after that. A new
// release on the same server is probed in the same way, so that an update of the
// content ends when visitors get it.
//
// The move waits for the address records, because an authority looks for the site where its name
// leads; they are unchanged in a replacement. It waits for no other record: Route 53 takes 21 to
// 28 s for a change of one.
//
// The association is created anew before the old one is deleted. EC2 takes the
// address from the old server in the same step, so there is no moment at which
// it points nowhere; deleting the old association afterwards finds it gone.
func (v *VIP) PointTo(ctx *pulumi.Context, server *WebServer, dns *DNS, release pulumi.StringInput) error {
	association, err := ec2.NewEipAssociation(ctx, v.name, &ec2.EipAssociationArgs{
		AllocationId: v.eip.AllocationId,
		InstanceId:   server.InstanceID,
		// Without it, EC2's answer depends on the account: an address in a VPC moves by default, one
		// that is associated elsewhere is otherwise refused with Resource.AlreadyAssociated.
		AllowReassociation: pulumi.Bool(true),
		// An association that was made without the argument stays; the next one has it.
	}, pulumi.Parent(v), pulumi.IgnoreChanges([]string{"allowReassociation"}),
		pulumi.DependsOn(append([]pulumi.Resource{server.Ready}, dns.Addresses...)))
	if err != nil {
		return fmt.Errorf("point VIP %s to a server: %w", v.name, err)
	}
	v.ServerID = association.InstanceId
	verified, err := newProbe(ctx, v.name+"-verify", probe{
		Name:     server.domain,
		Address:  v.Address,
		Roots:    server.roots,
		Server:   association.InstanceId,
		Release:  release,
		Within:   moveTimeout,
		Triggers: pulumi.Array{association.ID(), release},
	}, pulumi.Parent(v))
	if err != nil {
		return err
	}
	v.Served = []pulumi.Resource{verified}
	return nil
}
