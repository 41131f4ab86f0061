package main

import (
	"errors"
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"immutable-infra/bootstrap/access/permissions"
)

// issuer is who signs the tokens of GitHub's workflows, and audience is whom they are for.
const (
	issuer   = "token.actions.githubusercontent.com"
	audience = "sts.amazonaws.com"
)

// GitHubAccessArgs are the arguments of a GitHubAccess.
type GitHubAccessArgs struct {
	// Subject is what the subjects of the repository's tokens begin with, as repo:owner/name.
	Subject string `pulumi:"subject"`
	// ProviderARN is that of the account's OIDC provider for GitHub. Optional: without it, the
	// provider is made. An account can have one only.
	ProviderARN string `pulumi:"providerArn"`
	// Settings are what the roles' permissions are made for.
	Settings permissions.Settings `pulumi:"settings"`
}

// GitHubAccess is how the workflows of one repository at GitHub reach AWS: without a stored
// key, by roles that AWS lets them take on because GitHub says which workflow it is.
type GitHubAccess struct {
	pulumi.ResourceState

	// The ARNs of the roles.
	PreviewRole      pulumi.StringOutput `pulumi:"previewRole"`
	DeployRole       pulumi.StringOutput `pulumi:"deployRole"`
	RestoreDrillRole pulumi.StringOutput `pulumi:"restoreDrillRole"`
}

// NewGitHubAccess makes a GitHubAccess.
func NewGitHubAccess(ctx *pulumi.Context, name string, args *GitHubAccessArgs, opts ...pulumi.ResourceOption) (*GitHubAccess, error) {
	if args == nil || args.Subject == "" || len(args.Settings.Stacks) == 0 {
		return nil, errors.New("GitHub access " + name + ": the mandatory arguments Subject and Settings.Stacks are missing")
	}
	access := &GitHubAccess{}
	if err := ctx.RegisterComponentResource(ctx.Project()+":index:GitHubAccess", name, access, opts...); err != nil {
		return nil, err
	}

	provider := pulumi.String(args.ProviderARN).ToStringOutput()
	if args.ProviderARN == "" {
		made, err := iam.NewOpenIdConnectProvider(ctx, name, &iam.OpenIdConnectProviderArgs{
			Url:           pulumi.String("https://" + issuer),
			ClientIdLists: pulumi.ToStringArray([]string{audience}),
			// Without thumbprints: AWS knows the authorities that vouch for GitHub.
			Tags: tags(ctx, name),
		}, pulumi.Parent(access))
		if err != nil {
			return nil, err
		}
		provider = made.Arn
	}

	// Where a job names an environment, that is its subject, and GitHub has asked whom the environment asks.
	main, pullRequest := args.Subject+":ref:refs/heads/main", args.Subject+":pull_request"
	var environments []string
	for _, stack := range args.Settings.Stacks {
		environments = append(environments, args.Subject+":environment:"+stack)
	}
	for _, role := range []struct {
		role        permissions.Role
		description string
		subjects    []string
		arn         *pulumi.StringOutput
	}{
		{permissions.Preview, "Reads what the program manages, for previews, rebuilds and the look for drift", []string{pullRequest, main}, &access.PreviewRole},
		{permissions.Deploy, "Makes, changes and deletes what the program manages", environments, &access.DeployRole},
		{permissions.RestoreDrill, "Reads the backups of the monitoring history", []string{main}, &access.RestoreDrillRole},
	} {
		policy, err := args.Settings.For(role.role).JSON()
		if err != nil {
			return nil, fmt.Errorf("role %s: %w", role.role, err)
		}
		made, err := newRole(ctx, string(role.role), role.description, provider, role.subjects, policy, access)
		if err != nil {
			return nil, fmt.Errorf("role %s: %w", role.role, err)
		}
		*role.arn = made.Arn
	}
	return access, ctx.RegisterResourceOutputs(access, pulumi.Map{
		"previewRole":      access.PreviewRole,
		"deployRole":       access.DeployRole,
		"restoreDrillRole": access.RestoreDrillRole,
	})
}

// newRole makes a role for workflows whose token has one of the subjects, with one policy.
func newRole(ctx *pulumi.Context, name, description string, provider pulumi.StringOutput, subjects []string, policy string, parent pulumi.Resource) (*iam.Role, error) {
	full := program + "-" + name
	role, err := iam.NewRole(ctx, name, &iam.RoleArgs{
		Name:        pulumi.String(full),
		Description: pulumi.String(description),
		AssumeRolePolicy: pulumi.JSONMarshal(pulumi.Map{
			"Version": pulumi.String("2012-10-17"),
			"Statement": pulumi.Array{pulumi.Map{
				"Effect":    pulumi.String("Allow"),
				"Principal": pulumi.Map{"Federated": provider},
				"Action":    pulumi.String("sts:AssumeRoleWithWebIdentity"),
				// Equal, and not like: with a pattern, the subjects of others might match.
				"Condition": pulumi.Map{"StringEquals": pulumi.Map{
					issuer + ":aud": pulumi.String(audience),
					issuer + ":sub": pulumi.ToStringArray(subjects),
				}},
			}},
		}),
		Tags: tags(ctx, name),
		// Two roles cannot have one name.
	}, pulumi.Parent(parent), pulumi.DeleteBeforeReplace(true))
	if err != nil {
		return nil, err
	}
	_, err = iam.NewRolePolicy(ctx, name, &iam.RolePolicyArgs{
		Name:   pulumi.String(full),
		Role:   role.Name,
		Policy: pulumi.String(policy),
	}, pulumi.Parent(role))
	if err != nil {
		return nil, err
	}
	return role, nil
}

// tags are other than those of what the program makes, which the deploy role may change.
func tags(ctx *pulumi.Context, name string) pulumi.StringMap {
	return pulumi.StringMap{
		"Name":    pulumi.String(fmt.Sprintf("%s-%s", ctx.Project(), name)),
		"Project": pulumi.String(ctx.Project()),
		"Stack":   pulumi.String(ctx.Stack()),
	}
}
