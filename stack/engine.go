package stack

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// minimumPulumi is the first release with all that the program asks of the engine.
// Above all it must delete what was replaced last, and keep it after a failed step:
// before 3.46, the update after a failed one would begin by deleting the server
// that serves.
const minimumPulumi = "3.250.0"

// RequirePulumi refuses an engine that is too old. Pulumi itself does so by
// requiredPulumiVersion in Pulumi.yaml, which releases that are much older do not know.
func RequirePulumi(ctx *pulumi.Context) error {
	if err := ctx.RequirePulumiVersion(">=" + minimumPulumi); err != nil {
		return fmt.Errorf("this program needs Pulumi %[2]s or newer, and nothing was changed. Install it, beside the one that is there if need be: "+
			"curl -fsSL https://get.pulumi.com | sh -s -- --version %[2]s (other ways: https://www.pulumi.com/docs/install/); "+
			"pulumi version says which one runs: %[1]w", err, minimumPulumi)
	}
	return nil
}
