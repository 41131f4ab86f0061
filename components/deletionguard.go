package components

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// DeletionGuardArgs are the arguments of a DeletionGuard.
type DeletionGuardArgs struct {
	// Protect refuses the deletion of all that is guarded. Defaulted: true.
	Protect *bool `pulumi:"protect"`
	// DependsOn are the resources to guard, with all that they depend on. Component resources are ignored: the SDK
	// may leave out some of their children.
	DependsOn []pulumi.Resource
}

// DeletionGuard keeps `pulumi destroy` from taking away what a protected stack can do
// without, such as its server, before it comes to what is protected: the engine looks at
// each resource when it is that one's turn, and what others depend on is last. So the first
// in the queue is protected here, and everything that it depends on has to stay.
//
// Servers themselves cannot be protected, or they could not be replaced.
type DeletionGuard struct {
	pulumi.ResourceState
}

// NewDeletionGuard makes a DeletionGuard. It is made last.
func NewDeletionGuard(ctx *pulumi.Context, name string, args *DeletionGuardArgs, opts ...pulumi.ResourceOption) (*DeletionGuard, error) {
	if args == nil {
		return nil, fmt.Errorf("deletion guard %s: %w", name, errNoArgs)
	}
	if err := required(map[string]bool{"DependsOn": len(args.DependsOn) > 0}); err != nil {
		return nil, fmt.Errorf("deletion guard %s: %w", name, err)
	}
	guard := &DeletionGuard{}
	opts = append(opts, pulumi.Protect(args.Protect == nil || *args.Protect), pulumi.DependsOn(args.DependsOn))
	if err := ctx.RegisterComponentResource(token("DeletionGuard"), name, guard, opts...); err != nil {
		return nil, err
	}
	return guard, ctx.RegisterResourceOutputs(guard, pulumi.Map{})
}
