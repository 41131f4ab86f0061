package components

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// DeletionGuardArgs are the arguments of a DeletionGuard.
type DeletionGuardArgs struct {
	// Protect refuses to delete the guarded resources. Default: true.
	Protect *bool `pulumi:"protect"`
	// DependsOn are the resources to guard, with all that they depend on. Component resources are ignored: the SDK
	// may leave out some of their children.
	DependsOn []pulumi.Resource
}

// DeletionGuard guards a stack against an accidental destroy. The engine checks the protection of a resource when its
// turn to be deleted comes, and deletes dependents first: unprotected resources such as the server would be gone before
// it reaches a protected one. The guard is protected and depends on everything else, so it is the first to be checked.
//
// Servers themselves cannot be protected, or they could not be replaced.
type DeletionGuard struct {
	pulumi.ResourceState
}

// NewDeletionGuard creates a DeletionGuard. It comes last.
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
