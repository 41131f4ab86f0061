package components

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// DeletionGuardArgs are the arguments of a DeletionGuard.
type DeletionGuardArgs struct {
	// Protect prevents the deletion of the guarded resources. Default: true.
	Protect *bool `pulumi:"protect"`
	// DependsOn lists the resources to guard; their dependencies are guarded as well. Component resources are ignored:
	// the SDK may leave out some of their children.
	DependsOn []pulumi.Resource
}

// DeletionGuard guards a stack against an accidental destroy. The engine checks the protection of a resource only
// just before it deletes the resource, and deletes dependents first: it would delete unprotected resources such as
// the server before it reaches a protected one. The guard is protected and depends on everything else, so it is
// checked first.
//
// Servers themselves cannot be protected, because they could then not be replaced.
type DeletionGuard struct {
	pulumi.ResourceState
}

// NewDeletionGuard creates a DeletionGuard. Call it after all other resources are registered.
func NewDeletionGuard(
	ctx *pulumi.Context, name string, args *DeletionGuardArgs, opts ...pulumi.ResourceOption,
) (*DeletionGuard, error) {
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
