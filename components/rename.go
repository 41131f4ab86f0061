package components

import (
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/urn"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// bucketType is the type token of a bucket.
const bucketType = "aws:s3/bucketV2:BucketV2"

// RequireStackName fails if the stack was deployed under another name: after `pulumi stack rename`, an update would
// replace every resource whose name contains the stack's, such as both buckets, and an unprotected stack would lose
// them. It compares the stack's name with the name of a bucket in the state; bucket is the bucket's resource name. A
// state without that bucket passes: the stack was never deployed, or its first update failed before it had anything to
// lose.
//
// It calls the engine's built-in provider to read the state; a StackReference would add a resource. The stack's outputs
// are not enough: a failed first update leaves buckets, but no outputs.
func RequireStackName(ctx *pulumi.Context, bucket string) error {
	name := ctx.Stack()
	// Stacks of Pulumi Cloud belong to an organization. Other backends always report "organization", and their older
	// layouts do not support it in a name.
	if organization := ctx.Organization(); organization != "" && organization != "organization" {
		name = fmt.Sprintf("%s/%s/%s", organization, ctx.Project(), ctx.Stack())
	}
	var state struct {
		Resources map[string]struct {
			Outputs struct {
				Bucket any `pulumi:"bucket"`
			} `pulumi:"outputs"`
		} `pulumi:"outputs"`
	}
	args := map[string]any{"stackName": name}
	if _, err := ctx.InvokePackageRaw("pulumi:pulumi:readStackResourceOutputs", args, &state, ""); err != nil {
		return fmt.Errorf("cannot read the state of stack %s: %w", ctx.Stack(), err)
	}
	for id, resource := range state.Resources {
		if id := urn.URN(id); id.Type() != bucketType || id.Name() != bucket {
			continue
		}
		deployed, _ := resource.Outputs.Bucket.(string)
		end := strings.LastIndex(deployed, "-"+bucket+"-")
		if end < 0 || deployed[:end] == strings.TrimSuffix(bucketPrefix(ctx.Stack(), bucket), "-"+bucket+"-") {
			continue
		}
		return fmt.Errorf("stack %[1]s was deployed as %[2]s: an update would replace the bucket %[3]s and other "+
			"resources with the name; rename the stack back (pulumi stack rename %[2]s --stack %[1]s), or see \"Rename a "+
			"stack\" in docs/runbook.md", ctx.Stack(), deployed[:end], deployed)
	}
	return nil
}
