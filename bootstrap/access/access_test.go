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

	"immutable-infra/bootstrap/access/permissions"
)

// values are a configuration without a problem, but for what change does with it.
func values(change map[string]string) map[string]string {
	values := map[string]string{
		"aws:region": "eu-central-1", "account": "123456789012", "repository": "example/site",
		"stacks": `["test", "production"]`, "production": "production", "keys": `{}`, "zoneIds": `["Z0123456789ABCDEFGHIJ"]`,
		"subjectPrefix": "", "stateBucket": "", "oidcProvider": "",
	}
	maps.Copy(values, change)
	return values
}

// registered is one resource as the program asked for it.
type registered struct {
	Type, Name, Parent string
	Inputs             resource.PropertyMap
}

// cloud stands in for the engine and the provider.
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
	require.GreaterOrEqual(t, i, 0, "there is no %s %s", kind, name)
	return c.resources[i]
}

func TestTheRolesAreOfOneComponentEachWithItsPolicy(t *testing.T) {
	var lines []string
	for _, r := range deployed(t, nil).resources {
		lines = append(lines, r.Type+" "+r.Name+" < "+r.Parent)
	}
	slices.Sort(lines)
	require.Equal(t, []string{
		"aws:iam/openIdConnectProvider:OpenIdConnectProvider github < github",
		"aws:iam/role:Role deploy < github",
		"aws:iam/role:Role preview < github",
		"aws:iam/role:Role restore-drill < github",
		"aws:iam/rolePolicy:RolePolicy deploy < deploy",
		"aws:iam/rolePolicy:RolePolicy preview < preview",
		"aws:iam/rolePolicy:RolePolicy restore-drill < restore-drill",
		"immutable-infra-access:index:GitHubAccess github < immutable-infra-access-access",
	}, lines)
}

func TestEachRoleIsTakenOnByItsWorkflowsAndByNobodyElse(t *testing.T) {
	for _, test := range []struct {
		change map[string]string
		prefix string
	}{
		{nil, "repo:example/site"},
		{map[string]string{"repository": "", "subjectPrefix": "repo:example@12/site@34"}, "repo:example@12/site@34"},
	} {
		mocks := deployed(t, test.change)
		for role, subjects := range map[string][]string{
			"preview":       {"pull_request", "ref:refs/heads/main"},
			"deploy":        {"environment:test", "environment:production"},
			"restore-drill": {"ref:refs/heads/main"},
		} {
			var full []string
			for _, subject := range subjects {
				full = append(full, test.prefix+":"+subject)
			}
			encoded, err := json.Marshal(full)
			require.NoError(t, err)
			inputs := mocks.find(t, "aws:iam/role:Role", role).Inputs
			require.Equal(t, "immutable-infra-"+role, inputs["name"].StringValue())
			require.JSONEq(t, `{"Version": "2012-10-17", "Statement": [{
				"Effect": "Allow", "Principal": {"Federated": "arn:aws:mock:::github"}, "Action": "sts:AssumeRoleWithWebIdentity",
				"Condition": {"StringEquals": {"token.actions.githubusercontent.com:aud": "sts.amazonaws.com", "token.actions.githubusercontent.com:sub": `+string(encoded)+`}}
			}]}`, inputs["assumeRolePolicy"].StringValue())
		}
	}
}

func TestEachRoleHasTheTablesPermissions(t *testing.T) {
	mocks := deployed(t, nil)
	config, err := Parse(values(nil))
	require.NoError(t, err)
	for _, role := range []permissions.Role{permissions.Preview, permissions.Deploy, permissions.RestoreDrill} {
		policy, err := config.For(role).JSON()
		require.NoError(t, err)
		require.Equal(t, policy, mocks.find(t, "aws:iam/rolePolicy:RolePolicy", string(role)).Inputs["policy"].StringValue())
	}
}

func TestWhatIsMadeHereIsNotTheDeployRolesToChange(t *testing.T) {
	for _, r := range deployed(t, nil).resources {
		if tags, tagged := r.Inputs["tags"]; tagged {
			require.Equal(t, "immutable-infra-access", tags.ObjectValue()["Project"].StringValue(), r.Name)
		}
	}
}

func TestTheOutputsAreTheVariablesAtGitHub(t *testing.T) {
	require.Equal(t, map[string]any{
		"PREVIEW_ROLE": "arn:aws:mock:::preview", "DEPLOY_ROLE": "arn:aws:mock:::deploy", "RESTORE_DRILL_ROLE": "arn:aws:mock:::restore-drill",
		"AWS_REGION": "eu-central-1", "PULUMI_BACKEND_URL": "s3://immutable-infra-state-123456789012-eu-central-1?region=eu-central-1",
	}, deployed(t, nil).exported)
}

func TestAProviderThatIsThereIsUsed(t *testing.T) {
	const there = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
	mocks := deployed(t, map[string]string{"oidcProvider": there})
	for _, r := range mocks.resources {
		require.NotEqual(t, "aws:iam/openIdConnectProvider:OpenIdConnectProvider", r.Type)
	}
	require.Contains(t, mocks.find(t, "aws:iam/role:Role", "deploy").Inputs["assumeRolePolicy"].StringValue(), there)
}

func TestAWrongConfigurationNamesItsKeyAndWhatToWrite(t *testing.T) {
	for name, test := range map[string]struct {
		change map[string]string
		told   []string
	}{
		"nothing set":       {map[string]string{"aws:region": "", "account": "", "repository": "", "stacks": "", "production": ""}, []string{"5 problems", "account: ", "aws:region: ", "production: ", "repository: not set", "stacks: not set"}},
		"an account's name": {map[string]string{"account": "site"}, []string{`account: "site"`, "12 digits"}},
		// What YAML makes of an id without quotes that begins with a zero.
		"a short account":     {map[string]string{"account": "12345678901"}, []string{"in quotes"}},
		"a repository's URL":  {map[string]string{"repository": "https://github.com/example/site"}, []string{"repository: ", "write owner/name"}},
		"both":                {map[string]string{"subjectPrefix": "repo:example@1/site@2"}, []string{"repository: set together with subjectPrefix"}},
		"a whole subject":     {map[string]string{"repository": "", "subjectPrefix": "repo:example/site:*"}, []string{"subjectPrefix: "}},
		"no list":             {map[string]string{"stacks": "test"}, []string{`stacks: "test" is not a list of names`}},
		"a stack's name":      {map[string]string{"stacks": `["Production", "production"]`}, []string{`stacks[0]: "Production"`}},
		"a stack twice":       {map[string]string{"stacks": `["production", "production"]`}, []string{"stacks[1]: ", "is there already"}},
		"no production":       {map[string]string{"production": "live"}, []string{`production: "live" is none of the stacks`}},
		"a bucket's URL":      {map[string]string{"stateBucket": "s3://state"}, []string{"stateBucket: "}},
		"an alias":            {map[string]string{"keys": `{"production": "alias/immutable-infra-production"}`}, []string{"keys.production: ", "an alias is not enough"}},
		"a key for nothing":   {map[string]string{"keys": `{"live": "arn:aws:kms:eu-central-1:123456789012:key/k"}`}, []string{"keys.live: is for none of the stacks"}},
		"keys in a list":      {map[string]string{"keys": `["arn:aws:kms:eu-central-1:123456789012:key/k"]`}, []string{"keys: "}},
		"a zone's name":       {map[string]string{"zoneIds": `["example.org"]`}, []string{`zoneIds[0]: "example.org"`}},
		"another provider":    {map[string]string{"oidcProvider": "arn:aws:iam::123456789012:oidc-provider/gitlab.com"}, []string{"oidcProvider: "}},
		"a key that is wrong": {map[string]string{"zoneID": "Z1"}, []string{"zoneID: there is no such key"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(values(test.change))
			require.Error(t, err)
			for _, told := range test.told {
				require.ErrorContains(t, err, told)
			}
		})
	}
}

func TestTheStacksOfTheRepositoryAreConfiguredAsPulumiAndTheProgramWantIt(t *testing.T) {
	var said bytes.Buffer
	sink := diag.DefaultSink(&said, &said, diag.FormatOptions{Color: colors.Never})
	project, err := workspace.LoadProject("Pulumi.yaml")
	require.NoError(t, err)
	require.Equal(t, slices.Sorted(slices.Values(append(keys(), regionKey))), func() []string {
		var described []string
		for key := range project.Config {
			described = append(described, key)
		}
		return slices.Sorted(slices.Values(described))
	}(), "Pulumi.yaml describes other keys than the program knows")

	for _, name := range []string{"access", "local"} {
		stack, err := workspace.LoadProjectStack(sink, project, "Pulumi."+name+".yaml")
		require.NoError(t, err)
		require.NoError(t, workspace.ValidateStackConfigAndApplyProjectConfig(t.Context(), name, project, esc.Value{}, stack.Config, config.NopEncrypter, config.NopDecrypter))
		values := map[string]string{}
		for key, value := range stack.Config {
			plain, err := value.Value(config.NopDecrypter)
			require.NoError(t, err)
			values[strings.TrimPrefix(key.String(), project.Name.String()+":")] = plain
		}
		parsed, err := Parse(values)
		require.NoError(t, err, "%s: %s", name, said.String())
		_, err = parsed.For(permissions.Deploy).JSON()
		require.NoError(t, err, name)
	}
}
