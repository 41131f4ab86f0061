package stack

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// minimumPulumi is the first release that meets the program's requirements. Above all, the engine must delete replaced
// resources last, and keep them after a failed step: before 3.46, the update after a failed one would start by deleting
// the active server.
const minimumPulumi = "3.250.0"

// RequirePulumi fails if the engine is too old. Pulumi also checks requiredPulumiVersion in Pulumi.yaml, but much older
// releases ignore it.
func RequirePulumi(ctx *pulumi.Context) error {
	if err := ctx.RequirePulumiVersion(">=" + minimumPulumi); err != nil {
		return fmt.Errorf("this program needs Pulumi %[2]s or newer; nothing was changed. Install it: "+
			"curl -fsSL https://get.pulumi.com | sh -s -- --version %[2]s (other ways: https://www.pulumi.com/docs/install/), "+
			"and check it with pulumi version: %[1]w", err, minimumPulumi)
	}
	return nil
}
