package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"immutable-infra/ops/access/permissions"
)

// issuer signs the tokens of GitHub's workflows; audience is their recipient.
const (
	issuer   = "token.actions.githubusercontent.com"
	audience = "sts.amazonaws.com"
)

// GitHubAccessArgs are the arguments of a GitHubAccess.
type GitHubAccessArgs struct {
	// Subject is the prefix of the subject claims in the repository's tokens, such as repo:owner/name.
	Subject string `pulumi:"subject"`
	// ProviderARN is the ARN of the account's OIDC provider for GitHub; an account can have only one. Default: the
	// component creates it.
	ProviderARN string `pulumi:"providerArn"`
	// Settings determine the roles' permissions.
	Settings permissions.Settings `pulumi:"settings"`
}

// GitHubAccess gives the workflows of one GitHub repository access to AWS without stored keys: through roles that trust
// GitHub's signed tokens, which identify the workflow.
type GitHubAccess struct {
	pulumi.ResourceState

	// The ARNs of the roles. DeployRoles has one for each stack.
	PreviewRole      pulumi.StringOutput    `pulumi:"previewRole"`
	DeployRoles      pulumi.StringMapOutput `pulumi:"deployRoles"`
	RestoreDrillRole pulumi.StringOutput    `pulumi:"restoreDrillRole"`
	// ServerBoundaries are the ARNs of the permissions boundaries of the servers' roles, by stack.
	ServerBoundaries pulumi.StringMapOutput `pulumi:"serverBoundaries"`
}

// NewGitHubAccess creates a GitHubAccess.
func NewGitHubAccess(
	ctx *pulumi.Context, name string, args *GitHubAccessArgs, opts ...pulumi.ResourceOption,
) (*GitHubAccess, error) {
	if args == nil || args.Subject == "" || len(args.Settings.Stacks) == 0 {
		return nil, errors.New("GitHub access " + name + ": the mandatory arguments Subject and Settings.Stacks are missing")
	}
	access := &GitHubAccess{}
	if err := ctx.RegisterComponentResource(ctx.Project()+":index:GitHubAccess", name, access, opts...); err != nil {
		return nil, err
	}

	provider := pulumi.String(args.ProviderARN).ToStringOutput()
	if args.ProviderARN == "" {
		created, err := iam.NewOpenIdConnectProvider(ctx, name, &iam.OpenIdConnectProviderArgs{
			Url:           pulumi.String("https://" + issuer),
			ClientIdLists: pulumi.ToStringArray([]string{audience}),
			// Thumbprints are not needed: AWS trusts the CA of GitHub's certificate.
			Tags: tags(ctx, name),
		}, pulumi.Parent(access))
		if err != nil {
			return nil, err
		}
		provider = created.Arn
	}

	onMain := func(workflows ...string) grant {
		return grant{subject: args.Subject + ":ref:" + mainBranch, workflows: workflows}
	}
	for _, role := range []struct {
		role        permissions.Role
		description string
		grants      []grant
		arn         *pulumi.StringOutput
	}{
		// A pull request can change its workflow, so only the environment's rules protect this role.
		{permissions.Preview, "Reads what the program manages, for previews, rebuilds and the look for drift",
			[]grant{{subject: args.Subject + ":environment:" + previewEnvironment},
				onMain("drift.yml", "rebuild.yml")}, &access.PreviewRole},
		{permissions.RestoreDrill, "Reads the backups of the monitoring history", []grant{onMain("restore-drill.yml")},
			&access.RestoreDrillRole},
	} {
		policy := args.Settings.Of(args.Settings.Production).For(role.role)
		trusted := trust(provider, args.Subject, role.grants...)
		created, err := newRole(ctx, string(role.role), role.description, trusted, policy, access)
		if err != nil {
			return nil, fmt.Errorf("role %s: %w", role.role, err)
		}
		*role.arn = created.Arn
	}

	deployRoles, boundaries := pulumi.StringMap{}, pulumi.StringMap{}
	for _, stack := range args.Settings.Stacks {
		boundary, err := newBoundary(ctx, stack, args.Settings, access)
		if err != nil {
			return nil, fmt.Errorf("boundary of %s: %w", stack, err)
		}
		boundaries[stack] = boundary.Arn

		name := string(permissions.Deploy) + "-" + stack
		// The subject of a job with an environment does not contain the branch.
		trusted := trust(provider, args.Subject,
			grant{subject: args.Subject + ":environment:" + stack, ref: mainBranch, workflows: []string{"up.yml"}})
		role, err := newRole(ctx, name, "Makes, changes and deletes what the program manages in stack "+stack, trusted,
			args.Settings.Of(stack).For(permissions.Deploy), access)
		if err != nil {
			return nil, fmt.Errorf("role %s: %w", name, err)
		}
		deployRoles[stack] = role.Arn
	}
	access.DeployRoles, access.ServerBoundaries = deployRoles.ToStringMapOutput(), boundaries.ToStringMapOutput()
	return access, ctx.RegisterResourceOutputs(access, pulumi.Map{
		"previewRole":      access.PreviewRole,
		"deployRoles":      access.DeployRoles,
		"restoreDrillRole": access.RestoreDrillRole,
		"serverBoundaries": access.ServerBoundaries,
	})
}

const (
	mainBranch = "refs/heads/main"
	// previewEnvironment is the environment of pull requests' previews at GitHub.
	previewEnvironment = "preview"
)

// grant describes the jobs that may assume a role. A job's token must match all fields.
type grant struct {
	subject string
	// ref is the branch; "" if the subject contains it.
	ref string
	// workflows are the files of main below .github/workflows that may contain the job; none means any.
	workflows []string
}

// trust returns a trust policy that admits the jobs of the grants. It compares with StringEquals because a pattern
// might match tokens of other repositories.
func trust(provider pulumi.StringOutput, subject string, grants ...grant) pulumi.StringOutput {
	var statements pulumi.Array
	for _, g := range grants {
		claims := pulumi.Map{issuer + ":aud": pulumi.String(audience), issuer + ":sub": pulumi.String(g.subject)}
		if g.ref != "" {
			claims[issuer+":ref"] = pulumi.String(g.ref)
		}
		var files []string
		for _, workflow := range g.workflows {
			files = append(files, repositoryOf(subject)+"/.github/workflows/"+workflow+"@"+mainBranch)
		}
		if len(files) > 0 {
			claims[issuer+":job_workflow_ref"] = pulumi.ToStringArray(files)
		}
		statements = append(statements, pulumi.Map{
			"Effect":    pulumi.String("Allow"),
			"Principal": pulumi.Map{"Federated": provider},
			"Action":    pulumi.String("sts:AssumeRoleWithWebIdentity"),
			"Condition": pulumi.Map{"StringEquals": claims},
		})
	}
	return pulumi.JSONMarshal(pulumi.Map{"Version": pulumi.String("2012-10-17"), "Statement": statements})
}

// repositoryOf returns owner/name from a subject prefix, without ids, as in the claim job_workflow_ref.
func repositoryOf(subject string) string {
	return regexp.MustCompile(`@\d+`).ReplaceAllString(strings.TrimPrefix(subject, "repo:"), "")
}

// newRole creates a role with one policy.
func newRole(
	ctx *pulumi.Context, name, description string, trust pulumi.StringOutput, policy permissions.Policy,
	parent pulumi.Resource,
) (*iam.Role, error) {
	text, err := policy.JSON(permissions.MaxSize)
	if err != nil {
		return nil, err
	}
	full := program + "-" + name
	role, err := iam.NewRole(ctx, name, &iam.RoleArgs{
		Name:             pulumi.String(full),
		Description:      pulumi.String(description),
		AssumeRolePolicy: trust,
		Tags:             tags(ctx, name),
		// The name is fixed and unique, so the old role must be deleted first.
	}, pulumi.Parent(parent), pulumi.DeleteBeforeReplace(true))
	if err != nil {
		return nil, err
	}
	_, err = iam.NewRolePolicy(ctx, name, &iam.RolePolicyArgs{
		Name:   pulumi.String(full),
		Role:   role.Name,
		Policy: pulumi.String(text),
	}, pulumi.Parent(role))
	if err != nil {
		return nil, err
	}
	return role, nil
}

// newBoundary creates the permissions boundary of a stack's servers. It is not part of the stack because a deployment
// of the stack must not be able to change it.
func newBoundary(
	ctx *pulumi.Context, stack string, settings permissions.Settings, parent pulumi.Resource,
) (*iam.Policy, error) {
	text, err := settings.Of(stack).For(permissions.Server).JSON(permissions.MaxManagedSize)
	if err != nil {
		return nil, err
	}
	return iam.NewPolicy(ctx, "server-"+stack, &iam.PolicyArgs{
		Name:   pulumi.String(settings.BoundaryName(stack)),
		Policy: pulumi.String(text),
		Tags:   tags(ctx, "server-"+stack),
	}, pulumi.Parent(parent))
}

// tags returns tags that differ from those of the program's resources, which the deploy role can change.
func tags(ctx *pulumi.Context, name string) pulumi.StringMap {
	return pulumi.StringMap{
		"Name":    pulumi.String(fmt.Sprintf("%s-%s", ctx.Project(), name)),
		"Project": pulumi.String(ctx.Project()),
		"Stack":   pulumi.String(ctx.Stack()),
	}
}
