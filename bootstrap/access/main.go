// The roles by which GitHub's workflows reach AWS: what each may do, and which workflow may
// take it on.
package main

import (
	"net/url"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

func main() {
	pulumi.Run(func(ctx *pulumi.Context) error {
		config, err := Load(ctx)
		if err != nil {
			return err
		}
		return deploy(ctx, config)
	})
}

func deploy(ctx *pulumi.Context, config *Config) error {
	access, err := NewGitHubAccess(ctx, "github", &GitHubAccessArgs{
		Subject:     config.Subject,
		ProviderARN: config.OIDCProvider,
		Settings:    config.Settings,
	})
	if err != nil {
		return err
	}
	// By the names of the variables at GitHub that they are for.
	ctx.Export("PREVIEW_ROLE", access.PreviewRole)
	ctx.Export("DEPLOY_ROLE", access.DeployRole)
	ctx.Export("RESTORE_DRILL_ROLE", access.RestoreDrillRole)
	ctx.Export("AWS_REGION", pulumi.String(config.Region))
	ctx.Export("PULUMI_BACKEND_URL", pulumi.String("s3://"+config.StateBucket+"?"+url.Values{"region": {config.Region}}.Encode()))
	return nil
}
