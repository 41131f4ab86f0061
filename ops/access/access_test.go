package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pulumi/esc"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/require"

	"immutable-infra/ops/access/permissions"
)

// values returns a valid configuration with changes.
func values(change map[string]string) map[string]string {
	values := map[string]string{
		"aws:region": "eu-central-1", "account": "123456789012", "repository": "example/site",
		"stacks": `["test", "production"]`, "production": "production", "keys": `{}`, "zoneIds": `["Z0123456789ABCDEFGHIJ"]`,
		"subjectPrefix": "", "stateBucket": "", "oidcProvider": "", "names": `{}`,
	}
	maps.Copy(values, change)
	return values
}

// registered is one registered resource.
type registered struct {
	Type, Name, Parent string
	Inputs             resource.PropertyMap
}

// cloud mocks the engine and the provider.
type cloud struct {
	mutex     sync.Mutex
	resources []registered
	// exported are the stack's outputs.
	exported map[string]any
}

func (c *cloud) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.resources = append(c.resources, registered{Type: args.TypeToken, Name: args.Name, Inputs: args.Inputs,
		Parent: resource.URN(args.RegisterRPC.GetParent()).Name()})
	outputs := args.Inputs.Copy()
	outputs["arn"] = resource.NewStringProperty("arn:aws:mock:::" + args.Name)
	return args.Name + "-id", outputs, nil
}

func (c *cloud) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) {
	return nil, fmt.Errorf("the program is not expected to call %s", args.Token)
}

func deployed(t *testing.T, change map[string]string) *cloud {
	t.Helper()
	config, err := Parse(values(change))
	require.NoError(t, err)
	mocks := &cloud{}
	require.NoError(t, pulumi.RunErr(func(ctx *pulumi.Context) error {
		outputs, err := deploy(ctx, config)
		if err != nil {
			return err
		}
		outputs.ToMapOutput().ApplyT(func(exported map[string]any) string {
			mocks.exported = exported
			return ""
		})
		return nil
	}, pulumi.WithMocks("immutable-infra-access", "access", mocks)))
	return mocks
}

func (c *cloud) find(t *testing.T, kind, name string) registered {
	t.Helper()
	i := slices.IndexFunc(c.resources, func(r registered) bool { return r.Type == kind && r.Name == name })
	require.GreaterOrEqual(t, i, 0, "no %s %s", kind, name)
	return c.resources[i]
}

func TestRolesAndBoundariesBelongToOneComponent(t *testing.T) {
	var lines []string
	for _, r := range deployed(t, nil).resources {
		lines = append(lines, r.Type+" "+r.Name+" < "+r.Parent)
	}
	slices.Sort(lines)
	require.Equal(t, []string{
		"aws:iam/openIdConnectProvider:OpenIdConnectProvider github < github",
		"aws:iam/policy:Policy server-production < github",
		"aws:iam/policy:Policy server-test < github",
		"aws:iam/role:Role deploy-production < github",
		"aws:iam/role:Role deploy-test < github",
		"aws:iam/role:Role preview < github",
		"aws:iam/role:Role restore-drill < github",
		"aws:iam/rolePolicy:RolePolicy deploy-production < deploy-production",
		"aws:iam/rolePolicy:RolePolicy deploy-test < deploy-test",
		"aws:iam/rolePolicy:RolePolicy preview < preview",
		"aws:iam/rolePolicy:RolePolicy restore-drill < restore-drill",
		"immutable-infra-access:index:GitHubAccess github < immutable-infra-access-access",
	}, lines)
}

// token holds the claims in a job's token that trust policies compare.
type token struct{ sub, ref, workflow string }

// admits reports whether a trust policy lets a job with the token assume the role.
func admits(t *testing.T, trust string, job token) bool {
	t.Helper()
	var document struct {
		Statement []struct {
			Effect, Action string
			Condition      map[string]map[string]any
		}
	}
	require.NoError(t, json.Unmarshal([]byte(trust), &document))
	claims := map[string]string{"aud": audience, "sub": job.sub, "ref": job.ref, "job_workflow_ref": job.workflow}
	for _, statement := range document.Statement {
		require.Equal(t, "Allow sts:AssumeRoleWithWebIdentity", statement.Effect+" "+statement.Action)
		require.Equal(t, []string{"StringEquals"}, slices.Collect(maps.Keys(statement.Condition)),
			"a pattern might match others")
		met := true
		for key, wanted := range statement.Condition["StringEquals"] {
			claim, known := claims[strings.TrimPrefix(key, issuer+":")]
			require.True(t, known, key)
			values, ok := wanted.([]any)
			if !ok {
				values = []any{wanted}
			}
			met = met && slices.Contains(values, any(claim))
		}
		if met {
			return true
		}
	}
	return false
}

func TestRolesCanBeAssumedOnlyByTheirWorkflows(t *testing.T) {
	const (
		main, branch, pull = "refs/heads/main", "refs/heads/attack", "refs/pull/7/merge"
		files              = "example/site/.github/workflows/"
	)
	for _, prefix := range []string{"repo:example/site", "repo:example@12/site@34"} {
		change := map[string]string{}
		if strings.Contains(prefix, "@") {
			change = map[string]string{"repository": "", "subjectPrefix": prefix}
		}
		mocks := deployed(t, change)
		for name, test := range map[string]struct {
			job  token
			role string
		}{
			"deployment of test": {token{prefix + ":environment:test", main, files + "up.yml@" + main}, "deploy-test"},
			"deployment of production": {token{prefix + ":environment:production", main, files + "up.yml@" + main},
				"deploy-production"},
			"preview of a pull request": {token{prefix + ":environment:preview", pull, files + "preview.yml@" + pull},
				"preview"},
			"drift":   {token{prefix + ":ref:" + main, main, files + "drift.yml@" + main}, "preview"},
			"rebuild": {token{prefix + ":ref:" + main, main, files + "rebuild.yml@" + main}, "preview"},
			"restore drill": {token{prefix + ":ref:" + main, main, files + "restore-drill.yml@" + main},
				"restore-drill"},
			"deployment of a branch": {token{prefix + ":environment:production", branch, files + "up.yml@" + branch}, ""},
			"main's deployment by a branch's workflow": {token{prefix + ":environment:production", main,
				files + "up.yml@" + branch}, ""},
			"another workflow in the environment": {token{prefix + ":environment:production", main,
				files + "attack.yml@" + main}, ""},
			"a pull request in production's environment": {token{prefix + ":environment:production", pull,
				files + "up.yml@" + pull}, ""},
			"another repository's up.yml": {token{prefix + ":environment:production", main,
				"mallory/site/.github/workflows/up.yml@" + main}, ""},
			"another repository": {token{"repo:mallory/site:environment:production", main,
				files + "up.yml@" + main}, ""},
			"the same name in another case": {token{strings.Replace(prefix, "example", "Example", 1) +
				":environment:production", main, files + "up.yml@" + main}, ""},
			"a pull request without the environment": {token{prefix + ":pull_request", pull, files + "preview.yml@" + pull},
				""},
			"a drill by a branch's workflow": {token{prefix + ":ref:" + branch, branch,
				files + "restore-drill.yml@" + branch}, ""},
			"another workflow of main, for the drill": {token{prefix + ":ref:" + main, main, files + "deploy.yml@" + main},
				""},
			"an environment that a workflow made up": {token{prefix + ":environment:staging", main,
				files + "up.yml@" + main}, ""},
		} {
			for _, role := range []string{"preview", "deploy-test", "deploy-production", "restore-drill"} {
				inputs := mocks.find(t, "aws:iam/role:Role", role).Inputs
				require.Equal(t, "immutable-infra-"+role, inputs["name"].StringValue())
				require.Equal(t, role == test.role, admits(t, inputs["assumeRolePolicy"].StringValue(), test.job), "%s: %s", name,
					role)
			}
		}
	}
}

// This is the recipe for a renamed repository in docs/github.md: change the setting, then run make access.
func TestRenamedRepositoryKeepsItsRoles(t *testing.T) {
	const main = "refs/heads/main"
	of := func(repository, environment string) token {
		return token{"repo:" + repository + ":environment:" + environment, main,
			repository + "/.github/workflows/up.yml@" + main}
	}
	before, after := deployed(t, nil), deployed(t, map[string]string{"repository": "Example/new-site"})
	for _, stack := range []string{"test", "production"} {
		old, renamed := before.find(t, "aws:iam/role:Role", "deploy-"+stack).Inputs, after.find(t, "aws:iam/role:Role",
			"deploy-"+stack).Inputs
		trust := renamed["assumeRolePolicy"].StringValue()
		require.True(t, admits(t, trust, of("Example/new-site", stack)))
		require.False(t, admits(t, trust, of("example/site", stack)), "another owner may have the old name now")
		require.False(t, admits(t, trust, of("example/new-site", stack)), "GitHub shows a capital letter")
		for _, inputs := range []resource.PropertyMap{old, renamed} {
			delete(inputs, "assumeRolePolicy")
		}
		require.Equal(t, old, renamed, "the role is updated in place, and keeps its ARN")
	}
}

func TestRolesAndBoundariesHaveThePermissionsOfTheTable(t *testing.T) {
	mocks := deployed(t, nil)
	config, err := Parse(values(nil))
	require.NoError(t, err)
	for name, test := range map[string]struct {
		stack string
		role  permissions.Role
	}{
		"preview": {"production", permissions.Preview}, "restore-drill": {"production", permissions.RestoreDrill},
		"deploy-test": {"test", permissions.Deploy}, "deploy-production": {"production", permissions.Deploy},
	} {
		policy, err := config.Of(test.stack).For(test.role).JSON(permissions.MaxSize)
		require.NoError(t, err)
		require.Equal(t, policy, mocks.find(t, "aws:iam/rolePolicy:RolePolicy", name).Inputs["policy"].StringValue())
	}
	for _, stack := range config.Stacks {
		policy, err := config.Of(stack).For(permissions.Server).JSON(permissions.MaxManagedSize)
		require.NoError(t, err)
		boundary := mocks.find(t, "aws:iam/policy:Policy", "server-"+stack).Inputs
		require.Equal(t, policy, boundary["policy"].StringValue())
		require.Equal(t, "immutable-infra-server-"+stack, boundary["name"].StringValue())
	}
}

func TestDeployRoleCannotChangeTheAccessResources(t *testing.T) {
	for _, r := range deployed(t, nil).resources {
		if tags, tagged := r.Inputs["tags"]; tagged {
			require.Equal(t, "immutable-infra-access", tags.ObjectValue()["Project"].StringValue(), r.Name)
		}
	}
}

func TestOutputsAreTheGitHubVariables(t *testing.T) {
	require.Equal(t, map[string]any{
		"PREVIEW_ROLE": "arn:aws:mock:::preview", "RESTORE_DRILL_ROLE": "arn:aws:mock:::restore-drill",
		"DEPLOY_STACKS": "production test",
		"DEPLOY_ROLE": map[string]string{"test": "arn:aws:mock:::deploy-test",
			"production": "arn:aws:mock:::deploy-production"},
		"serverBoundaries": map[string]string{"test": "arn:aws:mock:::server-test",
			"production": "arn:aws:mock:::server-production"},
		"AWS_REGION":         "eu-central-1",
		"PULUMI_BACKEND_URL": "s3://immutable-infra-state-123456789012-eu-central-1?region=eu-central-1",
	}, deployed(t, nil).exported)
}

func TestExistingProviderIsUsed(t *testing.T) {
	const existing = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
	mocks := deployed(t, map[string]string{"oidcProvider": existing})
	for _, r := range mocks.resources {
		require.NotEqual(t, "aws:iam/openIdConnectProvider:OpenIdConnectProvider", r.Type)
	}
	trust := mocks.find(t, "aws:iam/role:Role", "deploy-test").Inputs["assumeRolePolicy"].StringValue()
	require.Contains(t, trust, existing)
}

func TestInvalidConfigurationErrorNamesTheKeyAndTheFix(t *testing.T) {
	for name, test := range map[string]struct {
		change map[string]string
		want   []string
	}{
		"nothing set": {map[string]string{"aws:region": "", "account": "", "repository": "", "stacks": "",
			"production": ""}, []string{
			"5 problems", "account: ", "aws:region: ", "production: ", "repository: not set", "stacks: not set"}},
		"an account's name": {map[string]string{"account": "site"}, []string{`account: "site"`, "12 digits"}},
		// YAML parses an unquoted id with a leading zero as a number.
		"a short account": {map[string]string{"account": "12345678901"}, []string{"in quotes"}},
		"a repository's URL": {map[string]string{"repository": "https://github.com/example/site"},
			[]string{"repository: ", "use owner/name"}},
		"both": {map[string]string{"subjectPrefix": "repo:example@1/site@2"},
			[]string{"repository: set together with subjectPrefix"}},
		"a whole subject": {map[string]string{"repository": "", "subjectPrefix": "repo:example/site:*"},
			[]string{"subjectPrefix: "}},
		"not a list": {map[string]string{"stacks": "test"}, []string{`stacks: "test" is not a list of names`}},
		"a stack's name": {map[string]string{"stacks": `["Production", "production"]`},
			[]string{`stacks[0]: "Production"`}},
		"the previews' environment": {map[string]string{"stacks": `["preview", "production"]`},
			[]string{"stacks[0]: ", "environment of previews"}},
		"a duplicate stack": {map[string]string{"stacks": `["production", "production"]`},
			[]string{"stacks[1]: ", "is listed twice"}},
		"a stack named like a bucket": {map[string]string{"stacks": `["test", "test-content-old", "production"]`},
			[]string{"stacks[1]: ", `the buckets of "test" would include those of "test-content-old"`}},
		"no production": {map[string]string{"production": "live"},
			[]string{`production: "live" is not in stacks`}},
		"a bucket's URL": {map[string]string{"stateBucket": "s3://state"}, []string{"stateBucket: "}},
		"an alias": {map[string]string{"keys": `{"production": "alias/immutable-infra-production"}`},
			[]string{"keys.production: ", "which permissions need instead of an alias"}},
		"a key of an unknown stack": {map[string]string{"keys": `{"live": "arn:aws:kms:eu-central-1:123456789012:key/k"}`},
			[]string{"keys.live: is not in stacks"}},
		"keys in a list": {map[string]string{"keys": `["arn:aws:kms:eu-central-1:123456789012:key/k"]`},
			[]string{"keys: "}},
		"a zone's name": {map[string]string{"zoneIds": `["example.org"]`}, []string{`zoneIds[0]: "example.org"`}},
		"a URL as a name": {map[string]string{"names": `{"test": ["https://test.example.org"]}`},
			[]string{"names.test[0]: ", "lower case"}},
		"names of an unknown stack": {map[string]string{"names": `{"live": ["example.org"]}`},
			[]string{"names.live: is not in stacks"}},
		"another identity provider": {map[string]string{"oidcProvider": "arn:aws:iam::123456789012:oidc-provider/gitlab.com"},
			[]string{"oidcProvider: "}},
		"an unknown key": {map[string]string{"zoneID": "Z1"}, []string{"zoneID: unknown key"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(values(test.change))
			require.Error(t, err)
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

func TestRepositoryInDifferentCaseThanTheCheckoutCausesAWarning(t *testing.T) {
	config, err := Parse(values(nil))
	require.NoError(t, err)
	for remote, wantWarning := range map[string]bool{
		"https://github.com/Example/site.git\n": true, "git@github.com:example/Site\n": true,
		"ssh://git@github.com/EXAMPLE/site":     true,
		"https://github.com/example/site.git\n": false, "https://github.com/example/other": false,
		"/srv/git/Example/site": false, "": false,
	} {
		require.Equal(t, wantWarning, config.caseWarning(remote) != "", remote)
	}
	require.Contains(t, config.caseWarning("git@github.com:Example/site.git"), "exactly as GitHub shows it")
}

func TestShippedStackConfigurationsAreValid(t *testing.T) {
	var log bytes.Buffer
	sink := diag.DefaultSink(&log, &log, diag.FormatOptions{Color: colors.Never})
	project, err := workspace.LoadProject("Pulumi.yaml")
	require.NoError(t, err)
	require.Equal(t, slices.Sorted(slices.Values(append(keys(), regionKey))), func() []string {
		var described []string
		for key := range project.Config {
			described = append(described, key)
		}
		return slices.Sorted(slices.Values(described))
	}(), "Pulumi.yaml and the program differ in their keys")

	for _, name := range []string{"access", "local"} {
		stack, err := workspace.LoadProjectStack(sink, project, "Pulumi."+name+".yaml")
		require.NoError(t, err)
		require.NoError(t, workspace.ValidateStackConfigAndApplyProjectConfig(t.Context(), name, project, esc.Value{},
			stack.Config, config.NopEncrypter, config.NopDecrypter))
		values := map[string]string{}
		for key, value := range stack.Config {
			plain, err := value.Value(config.NopDecrypter)
			require.NoError(t, err)
			values[strings.TrimPrefix(key.String(), project.Name.String()+":")] = plain
		}
		parsed, err := Parse(values)
		require.NoError(t, err, "%s: %s", name, log.String())
		for _, deployed := range parsed.Stacks {
			_, err = parsed.Of(deployed).For(permissions.Deploy).JSON(permissions.MaxSize)
			require.NoError(t, err, name)
		}
	}
}

// FuzzParse sets one key of a valid configuration to any value.
func FuzzParse(f *testing.F) {
	for _, key := range append(keys(), regionKey) {
		values := []string{"", "true", "-1", "[]", "{}", "null", `["a"]`, `{"a":["*"]}`, "production", "repo:*", "*"}
		for _, value := range values {
			f.Add(key, value)
		}
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		config, err := Parse(values(map[string]string{key: value}))
		if err != nil {
			require.Nil(t, config)
			require.ErrorAs(t, err, new(Problems))
			return
		}
		require.True(t, slices.Contains(keys(), key) || key == regionKey, "an unknown key is rejected")
		// Each of these becomes part of a policy, in which a wildcard would grant more.
		parts := []string{config.Subject, config.OIDCProvider, config.Account, config.Region, config.Production,
			config.StateBucket}
		parts = append(append(parts, config.Stacks...), config.ZoneIDs...)
		for _, arn := range config.Keys {
			parts = append(parts, arn)
		}
		for _, names := range config.Names {
			parts = append(parts, names...)
		}
		for _, part := range parts {
			require.NotContains(t, part, "*")
			require.NotContains(t, part, "?")
			require.NotContains(t, part, "${")
			require.NotContains(t, part, "\n")
		}
	})
}
