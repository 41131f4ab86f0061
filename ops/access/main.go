// Program access creates the AWS roles that GitHub's workflows assume, with their permissions and trust policies, and
// the permissions boundaries of the servers' roles.
package main

import (
	"net/url"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

func main() {
	pulumi.Run(func(ctx *pulumi.Context) error {
		config, err := Load(ctx)
		if err != nil {
			return err
		}
		outputs, err := deploy(ctx, config)
		if err != nil {
			return err
		}
		for name, value := range outputs {
			ctx.Export(name, value)
		}
		return nil
	})
}

// deploy creates the roles and returns the stack's outputs. Outputs in capitals become GitHub variables: of the
// repository or, for maps, of the environments. serverBoundaries is for the configuration of the stacks.
func deploy(ctx *pulumi.Context, config *Config) (pulumi.Map, error) {
	access, err := NewGitHubAccess(ctx, "github", &GitHubAccessArgs{
		Subject:     config.Subject,
		ProviderARN: config.OIDCProvider,
		Settings:    config.Settings,
	})
	if err != nil {
		return nil, err
	}
	return pulumi.Map{
		"PREVIEW_ROLE":       access.PreviewRole,
		"DEPLOY_ROLE":        access.DeployRoles,
		"DEPLOY_STACKS":      pulumi.String(strings.Join(slices.Sorted(slices.Values(config.Stacks)), " ")),
		"RESTORE_DRILL_ROLE": access.RestoreDrillRole,
		"AWS_REGION":         pulumi.String(config.Region),
		"PULUMI_BACKEND_URL": pulumi.String("s3://" + config.StateBucket + "?" +
			url.Values{"region": {config.Region}}.Encode()),
		"serverBoundaries": access.ServerBoundaries,
	}, nil
}
