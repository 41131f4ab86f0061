package permissions_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/golden"
	"immutable-infra/ops/access/permissions"
)

func settings() permissions.Settings {
	return permissions.Settings{
		Project: "immutable-infra", Account: "123456789012", Region: "eu-central-1",
		Stacks: []string{"test", "production"}, Production: "production",
		StateBucket: "immutable-infra-state-123456789012-eu-central-1",
		Keys: map[string]string{
			"test":       "arn:aws:kms:eu-central-1:123456789012:key/test",
			"production": "arn:aws:kms:eu-central-1:123456789012:key/production",
		},
		ZoneIDs: []string{"Z0123456789ABCDEFGHIJ"},
		Names:   map[string][]string{"test": {"test.example.org"}, "production": {"example.org"}},
	}
}

// policies returns the program's policies by the base names of their files in testdata.
func policies() map[string]permissions.Policy {
	all := map[string]permissions.Policy{
		"preview":       settings().Of("production").For(permissions.Preview),
		"restore-drill": settings().Of("production").For(permissions.RestoreDrill),
	}
	for _, stack := range settings().Stacks {
		all["deploy-"+stack] = settings().Of(stack).For(permissions.Deploy)
		all["server-"+stack] = settings().Of(stack).For(permissions.Server)
	}
	return all
}

// roles returns the roles in the table.
func roles() []permissions.Role {
	return []permissions.Role{permissions.Preview, permissions.Deploy, permissions.RestoreDrill, permissions.Server}
}

// everyCall returns the calls in the table.
func everyCall() []permissions.Call {
	var calls []permissions.Call
	for _, resource := range append(permissions.Resources(), permissions.Others()...) {
		calls = append(calls, resource.Calls...)
	}
	return calls
}

// programTypes returns the resource types in the golden files of the program's stacks.
func programTypes(t *testing.T) []string {
	t.Helper()
	lists, err := filepath.Glob("../../../testdata/resources-*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, lists)
	var used []string
	for _, list := range lists {
		content, err := os.ReadFile(list)
		require.NoError(t, err)
		for line := range strings.Lines(string(content)) {
			// Components make no API calls.
			if kind, _, _ := strings.Cut(line, " "); !strings.HasPrefix(kind, "immutable-infra:") {
				used = append(used, kind)
			}
		}
	}
	slices.Sort(used)
	return slices.Compact(used)
}

func TestTableListsExactlyTheProgramsResourceTypes(t *testing.T) {
	var known []string
	for _, resource := range permissions.Resources() {
		known = append(known, resource.Type)
		if strings.HasPrefix(resource.Type, "aws:") {
			require.NotEmpty(t, resource.Calls, "%s: no resource is created without a call", resource.Type)
		}
	}
	slices.Sort(known)
	require.Equal(t, programTypes(t), known)
}

func TestActionsAreWellFormedAndHaveAReason(t *testing.T) {
	for _, call := range everyCall() {
		require.Regexp(t, `^(ec2|iam|kms|route53|s3):[A-Z][A-Za-z]+\d?[A-Za-z]*$`, call.Action, "a pattern would match more")
		require.NotEmpty(t, call.Why, call.Action)
		require.NotEmpty(t, call.Roles, call.Action)
		require.NotEmpty(t, call.On, call.Action)
	}
}

func TestRolesAreAllowedExactlyTheActionsThatTheyNeed(t *testing.T) {
	for _, role := range roles() {
		var needed, allowed []string
		for _, call := range everyCall() {
			if slices.Contains(call.Roles, role) {
				needed = append(needed, call.Action)
			}
		}
		for _, statement := range settings().For(role).Statement {
			if statement.Effect == "Allow" {
				allowed = append(allowed, statement.Action...)
			}
		}
		slices.Sort(needed)
		slices.Sort(allowed)
		require.Equal(t, slices.Compact(needed), slices.Compact(allowed), role)
	}
}

func TestPreviewAndDrillAreReadOnly(t *testing.T) {
	reads := regexp.MustCompile(`^[a-z0-9]+:(Describe|Get|List|Decrypt)`)
	for _, role := range []permissions.Role{permissions.Preview, permissions.RestoreDrill} {
		for _, statement := range settings().For(role).Statement {
			for _, action := range statement.Action {
				require.Regexp(t, reads, action, role)
			}
		}
	}
}

func TestPoliciesMatchTheReviewedFiles(t *testing.T) {
	for name, policy := range policies() {
		text, err := policy.JSON(permissions.MaxSize)
		require.NoError(t, err)
		var indented bytes.Buffer
		require.NoError(t, json.Indent(&indented, []byte(text), "", "  "))
		indented.WriteByte('\n')
		golden.Equal(t, name+".json", indented.String())
	}
}

func TestPolicyThatIsTooLargeForARoleIsAnError(t *testing.T) {
	large := settings()
	for range 200 {
		large.ZoneIDs = append(large.ZoneIDs, "Z0123456789ABCDEFGHIJ")
	}
	_, err := large.For(permissions.Deploy).JSON(permissions.MaxSize)
	require.ErrorContains(t, err, "more than AWS's limit of 10240; configure fewer hosted zones")
}

func TestStatementsWithoutResourcesAreLeftOut(t *testing.T) {
	bare := settings()
	bare.Keys, bare.ZoneIDs = nil, nil
	for _, role := range roles() {
		for _, statement := range bare.For(role).Statement {
			require.NotEmpty(t, statement.Resource, statement.Sid)
			for _, action := range statement.Action {
				require.NotContains(t, action, "route53:")
				require.NotContains(t, action, "kms:")
			}
		}
	}
}

// request is a request that AWS allows or denies.
type request struct {
	action, resource string
	context          map[string]string
}

// allows reports whether a policy allows a request, by AWS's rule: an explicit denial wins, and the default is denial.
func allows(t *testing.T, policy permissions.Policy, r request) bool {
	t.Helper()
	allowed := false
	for _, statement := range policy.Statement {
		matchesResource := func(pattern string) bool { return matches(pattern, r.resource) }
		if !slices.Contains(statement.Action, r.action) || !slices.ContainsFunc(statement.Resource, matchesResource) {
			continue
		}
		met := true
		for operator, keys := range statement.Condition {
			require.Contains(t, []string{"StringEquals", "StringEqualsIfExists", "StringNotEquals", "ForAllValues:StringLike"},
				operator)
			for key, values := range keys {
				value, present := r.context[key]
				if operator == "ForAllValues:StringLike" {
					met = met && (!present ||
						slices.ContainsFunc(values, func(pattern string) bool { return matches(pattern, value) }))
					continue
				}
				met = met && (slices.Contains(values, value) == (operator != "StringNotEquals") ||
					operator == "StringEqualsIfExists" && !present)
			}
		}
		if !met {
			continue
		}
		if statement.Effect == "Deny" {
			return false
		}
		allowed = true
	}
	return allowed
}

func matches(pattern, resource string) bool {
	expression := "^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*") + "$"
	return regexp.MustCompile(expression).MatchString(resource)
}

func TestWhatEachRoleCanAndCannotDo(t *testing.T) {
	const (
		ours   = "arn:aws:ec2:eu-central-1:123456789012:"
		state  = "arn:aws:s3:::immutable-infra-state-123456789012-eu-central-1"
		backup = "arn:aws:s3:::production-backup-2026"
	)
	tags := func(where, project, stack string) map[string]string {
		return map[string]string{"aws:" + where + "/Project": project, "aws:" + where + "/Stack": stack}
	}
	here := map[string]string{"aws:RequestedRegion": "eu-central-1"}
	there := map[string]string{"aws:RequestedRegion": "us-east-1"}
	own, foreign := tags("ResourceTag", "immutable-infra", "production"), tags("ResourceTag", "other", "production")
	passed := func(to string) map[string]string { return map[string]string{"iam:PassedToService": to} }
	creates := func(action string) map[string]string {
		context := tags("RequestTag", "immutable-infra", "test")
		context["ec2:CreateAction"] = action
		return context
	}
	bounded := func(stack string) map[string]string {
		return map[string]string{"iam:PermissionsBoundary": "arn:aws:iam::123456789012:policy/immutable-infra-server-" +
			stack}
	}
	const preview, deployTest, deploy, drill = "preview", "deploy-test", "deploy-production", "restore-drill"

	for _, test := range []struct {
		request
		what    string
		allowed []string
	}{
		{request{"ec2:DescribeInstances", "*", here}, "list servers", []string{preview, deployTest, deploy}},
		{request{"ec2:DescribeInstances", "*", there}, "list servers in another region", nil},
		{request{"ec2:TerminateInstances", ours + "instance/i-1", own}, "delete a server", []string{deploy}},
		{request{"ec2:TerminateInstances", ours + "instance/i-1", foreign}, "delete a server of another project", nil},
		{request{"ec2:TerminateInstances", ours + "instance/i-1", tags("ResourceTag", "immutable-infra", "other")},
			"delete a server of another stack", nil},
		{request{"ec2:TerminateInstances", ours + "instance/i-1", nil}, "delete a server without tags", nil},
		{request{"ec2:RunInstances", ours + "instance/*", tags("RequestTag", "immutable-infra", "production")},
			"create a server", []string{deploy}},
		{request{"ec2:RunInstances", ours + "instance/*", nil}, "create a server that no role could delete", nil},
		{request{"ec2:RunInstances", ours + "subnet/subnet-1", foreign}, "create a server in another project's subnet", nil},
		{request{"ec2:RunInstances", "arn:aws:ec2:eu-central-1::image/ami-1", nil}, "create a server from an image",
			[]string{deployTest, deploy}},
		{request{"ec2:AssociateAddress", ours + "elastic-ip/eipalloc-1", own}, "move the VIP", []string{deploy}},
		{request{"ec2:AssociateAddress", ours + "elastic-ip/eipalloc-1", foreign}, "move another project's address", nil},
		{request{"ec2:DisassociateAddress", ours + "elastic-ip/eipalloc-1", nil}, "learn that an association has ended",
			[]string{deployTest, deploy}},
		{request{"ec2:DisassociateAddress", ours + "elastic-ip/eipalloc-1", foreign},
			"take another project's address off its server", nil},
		{request{"ec2:ReleaseAddress", ours + "elastic-ip/eipalloc-1", foreign}, "release another project's address", nil},
		{request{"ec2:CreateTags", ours + "vpc/vpc-1", creates("CreateVpc")}, "create a resource with tags",
			[]string{deployTest}},
		{request{"ec2:CreateTags", ours + "instance/i-1", tags("RequestTag", "immutable-infra", "test")},
			"claim another project's server by tags", nil},

		{request{"iam:PassRole", "arn:aws:iam::123456789012:role/immutable-infra/production/web-1a2b3c4",
			passed("ec2.amazonaws.com")}, "give a server its role", []string{deploy}},
		{request{"iam:PassRole", "arn:aws:iam::123456789012:role/immutable-infra/production/web-1a2b3c4",
			passed("lambda.amazonaws.com")}, "give a function a server's role", nil},
		{request{"iam:PassRole", "arn:aws:iam::123456789012:role/admin", passed("ec2.amazonaws.com")},
			"give a server another role", nil},
		{request{"iam:PutRolePolicy", "arn:aws:iam::123456789012:role/immutable-infra/production/web-1a2b3c4",
			bounded("production")}, "set the permissions of servers", []string{deploy}},
		{request{"iam:PutRolePolicy", "arn:aws:iam::123456789012:role/immutable-infra/other/web-1a2b3c4", nil},
			"set the permissions of another stack's servers", nil},
		{request{"iam:PutRolePolicy", "arn:aws:iam::123456789012:role/immutable-infra-deploy", nil},
			"set the role's own permissions", nil},
		{request{"iam:UpdateAssumeRolePolicy", "arn:aws:iam::123456789012:role/immutable-infra-preview", nil},
			"change who can assume a workflow's role", nil},
		{request{"iam:GetRole", "arn:aws:iam::123456789012:role/immutable-infra/production/web-1a2b3c4", nil},
			"read a server's role", []string{preview, deploy}},

		{request{"s3:GetObject", backup + "/certificates/example.json", nil}, "read certificates' private keys", nil},
		{request{"s3:GetObject", backup + "/history/manifests/1.json", nil}, "read the monitoring history", []string{drill}},
		{request{"s3:ListBucket", backup, nil}, "list the backup bucket", []string{preview, deploy, drill}},
		{request{"s3:DeleteObjectVersion", backup + "/history/manifests/1.json", nil}, "destroy a backup", nil},
		{request{"s3:DeleteObject", backup + "/history/manifests/1.json", nil}, "delete a backup", nil},
		{request{"s3:DeleteObjectVersion", "arn:aws:s3:::test-backup-2026/history/1", nil}, "empty the backup bucket of test",
			[]string{deployTest}},
		{request{"s3:PutObject", "arn:aws:s3:::production-content-2026/site/index.html", nil}, "upload the site",
			[]string{deploy}},
		{request{"s3:PutObject", backup + "/handover/holder.json", nil}, "pose as a server", nil},
		{request{"s3:PutBucketPolicy", state, nil}, "make the state readable to others", nil},
		{request{"s3:PutBucketPolicy", backup, nil}, "set the backup bucket's policy", nil},
		{request{"s3:GetObject", state + "/.pulumi/stacks/immutable-infra/production.json", nil}, "read the state",
			[]string{preview, deploy, drill}},
		{request{"s3:PutObject", state + "/.pulumi/locks/organization/immutable-infra/production/1.json", nil},
			"lock the state", []string{deploy}},
		{request{"s3:DeleteObjectVersion", state + "/.pulumi/stacks/immutable-infra/production.json", nil},
			"destroy the state", nil},

		{request{"kms:Decrypt", "arn:aws:kms:eu-central-1:123456789012:key/production", nil}, "read production's secrets",
			[]string{preview, deploy, drill}},
		{request{"kms:Decrypt", "arn:aws:kms:eu-central-1:123456789012:key/test", nil}, "read the secrets of test",
			[]string{deployTest}},
		{request{"kms:Decrypt", "arn:aws:kms:eu-central-1:123456789012:key/other", nil}, "read others' secrets", nil},

		{request{"route53:ChangeResourceRecordSets", "arn:aws:route53:::hostedzone/Z0123456789ABCDEFGHIJ", nil},
			"change the zone's records", []string{deployTest, deploy}},
		{request{"route53:ChangeResourceRecordSets", "arn:aws:route53:::hostedzone/Z9", nil}, "change another zone's records",
			nil},
	} {
		for _, role := range []string{preview, deployTest, deploy, drill} {
			require.Equal(t, slices.Contains(test.allowed, role), allows(t, policies()[role], test.request), "%s: %s", role,
				test.what)
		}
	}
}

func TestPreviewCannotReadBackupsWhateverElseItIsAllowed(t *testing.T) {
	policy := settings().For(permissions.Preview)
	policy.Statement = append(policy.Statement, permissions.Statement{
		Effect: "Allow", Action: []string{"s3:GetObject", "s3:GetObjectVersion"}, Resource: []string{"*"},
	})
	require.True(t, allows(t, policy, request{"s3:GetObject", "arn:aws:s3:::production-content-2026/SHA256SUMS", nil}))
	for _, action := range []string{"s3:GetObject", "s3:GetObjectVersion"} {
		require.False(t, allows(t, policy,
			request{action, "arn:aws:s3:::production-backup-2026/certificates/example.json", nil}))
	}
}
