package components

import (
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// RequireStackName fails if the stack was deployed under another name: after `pulumi stack rename`, an update would
// replace every resource with the stack's name, such as both buckets, and an unprotected stack would lose them. It
// compares the stack's name with that of a bucket in an output of the last update; bucket is the name of its resource.
//
// The engine reads the output, by a provider of its own that is in the state. A StackReference would be a resource.
func RequireStackName(ctx *pulumi.Context, output, bucket string) error {
	name := ctx.Stack()
	// Stacks of Pulumi Cloud belong to an organization. In other backends it is always this one, and the
	// older of their layouts do not know it.
	if organization := ctx.Organization(); organization != "" && organization != "organization" {
		name = fmt.Sprintf("%s/%s/%s", organization, ctx.Project(), ctx.Stack())
	}
	var read struct {
		Outputs map[string]any `pulumi:"outputs"`
	}
	args := map[string]any{"name": name}
	if _, err := ctx.InvokePackageRaw("pulumi:pulumi:readStackOutputs", args, &read, ""); err != nil {
		return fmt.Errorf("cannot read the outputs of stack %s: %w", ctx.Stack(), err)
	}
	deployed, _ := read.Outputs[output].(string)
	end := strings.LastIndex(deployed, "-"+bucket+"-")
	if end < 0 || deployed[:end] == strings.TrimSuffix(bucketPrefix(ctx.Stack(), bucket), "-"+bucket+"-") {
		return nil
	}
	return fmt.Errorf("stack %[1]s was deployed as %[2]s: an update would replace the bucket %[3]s and other resources "+
		"with the name; rename the stack back (pulumi stack rename %[2]s --stack %[1]s), or see \"Rename a stack\" in "+
		"docs/runbook.md", ctx.Stack(), deployed[:end], deployed)
}
