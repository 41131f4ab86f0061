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

	// The ARNs of the roles, that of a deployment by stack.
	PreviewRole      pulumi.StringOutput    `pulumi:"previewRole"`
	DeployRoles      pulumi.StringMapOutput `pulumi:"deployRoles"`
	RestoreDrillRole pulumi.StringOutput    `pulumi:"restoreDrillRole"`
	// ServerBoundaries are the ARNs of the permissions boundaries of the servers' roles, by stack.
	ServerBoundaries pulumi.StringMapOutput `pulumi:"serverBoundaries"`
}

// NewGitHubAccess makes a GitHubAccess.
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

	onMain := func(workflows ...string) grant {
		return grant{subject: args.Subject + ":ref:" + mainBranch, workflows: workflows}
	}
	for _, role := range []struct {
		role        permissions.Role
		description string
		grants      []grant
		arn         *pulumi.StringOutput
	}{
		// The workflow of a pull request is what the pull request makes of it: only the rules of the environment count there.
		{permissions.Preview, "Reads what the program manages, for previews, rebuilds and the look for drift",
			[]grant{{subject: args.Subject + ":environment:" + previewEnvironment},
				onMain("drift.yml", "rebuild.yml")}, &access.PreviewRole},
		{permissions.RestoreDrill, "Reads the backups of the monitoring history", []grant{onMain("restore-drill.yml")},
			&access.RestoreDrillRole},
	} {
		policy := args.Settings.Of(args.Settings.Production).For(role.role)
		made, err := newRole(ctx, string(role.role), role.description, trust(provider, args.Subject, role.grants...), policy,
			access)
		if err != nil {
			return nil, fmt.Errorf("role %s: %w", role.role, err)
		}
		*role.arn = made.Arn
	}

	deployRoles, boundaries := pulumi.StringMap{}, pulumi.StringMap{}
	for _, stack := range args.Settings.Stacks {
		boundary, err := newBoundary(ctx, stack, args.Settings, access)
		if err != nil {
			return nil, fmt.Errorf("boundary of %s: %w", stack, err)
		}
		boundaries[stack] = boundary.Arn

		name := string(permissions.Deploy) + "-" + stack
		// Where a job names an environment, its subject does not tell the branch.
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
	// previewEnvironment is the environment at GitHub that previews of pull requests run in.
	previewEnvironment = "preview"
)

// grant is a kind of job that may take on a role: all of it must be as the job's token says.
type grant struct {
	subject string
	// ref is the branch, and "" where the subject tells it.
	ref string
	// workflows are files of main below .github/workflows, of which one must have the job. None for any.
	workflows []string
}

// trust lets the jobs of the grants take on a role. Values are equal, and not like: a pattern might match
// the tokens of other repositories.
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

// repositoryOf is the owner/name that a subject's beginning is of. The claim job_workflow_ref has no ids in it.
func repositoryOf(subject string) string {
	return regexp.MustCompile(`@\d+`).ReplaceAllString(strings.TrimPrefix(subject, "repo:"), "")
}

// newRole makes a role with one policy.
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
		// Two roles cannot have one name.
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

// newBoundary makes the permissions boundary of the servers of a stack. It is no part of the stack: whoever
// deploys the stack must not change it.
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

// tags are other than those of what the program makes, which the deploy role may change.
func tags(ctx *pulumi.Context, name string) pulumi.StringMap {
	return pulumi.StringMap{
		"Name":    pulumi.String(fmt.Sprintf("%s-%s", ctx.Project(), name)),
		"Project": pulumi.String(ctx.Project()),
		"Stack":   pulumi.String(ctx.Stack()),
	}
}
