package policy_test

import (
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/plugin/awsplugin/policy"
)

// reviewedPolicy reads the reviewed test data for a policy that the program in ops/access creates.
func reviewedPolicy(t *testing.T, name string) policy.Document {
	t.Helper()
	text, err := os.ReadFile("../../../../../ops/access/permissions/testdata/" + name + ".json")
	require.NoError(t, err)
	return rolePolicy(t, string(text))
}

// attempt is a request by a workflow role or by a server; role is the name of its reviewed policy.
type attempt struct {
	role, action, resource string
	keys                   map[string]string
}

const (
	iamARNs     = "arn:aws:iam::123456789012:"
	ec2ARNs     = "arn:aws:ec2:eu-central-1:123456789012:"
	stateBucket = "arn:aws:s3:::immutable-infra-state-123456789012-eu-central-1"
	backup      = "arn:aws:s3:::production-backup-2026"
	serverRole  = iamARNs + "role/immutable-infra/production/web-1a2b3c4"
	boundary    = iamARNs + "policy/immutable-infra-server-production"
)

// keys returns the default condition keys and those of a list of alternating names and values.
func keys(pairs ...string) map[string]string {
	all := map[string]string{"aws:requestedregion": "eu-central-1", "aws:securetransport": "true"}
	for i := 0; i < len(pairs); i += 2 {
		all[pairs[i]] = pairs[i+1]
	}
	return all
}

func bounded(arn string) map[string]string { return keys("iam:permissionsboundary", arn) }

func recordName(name string) map[string]string {
	return keys("route53:changeresourcerecordsetsnormalizedrecordnames", name)
}

// tagged returns the condition keys for two tags; source is requesttag or resourcetag.
func tagged(source, project, stack string) map[string]string {
	return keys("aws:"+source+"/project", project, "aws:"+source+"/stack", stack)
}

func mergeKeys(one, other map[string]string) map[string]string {
	merged := maps.Clone(one)
	maps.Copy(merged, other)
	return merged
}

func TestAttacksByWorkflowRolesAndServersAreDenied(t *testing.T) {
	const production, test, preview, drill = "deploy-production", "deploy-test", "preview", "restore-drill"
	passed := func(service string) map[string]string { return keys("iam:passedtoservice", service) }
	for name, a := range map[string]attempt{
		// Become an administrator of the account.
		"create a role without the boundary": {production, "iam:CreateRole", serverRole, keys()},
		"create a role with another boundary": {production, "iam:CreateRole", serverRole,
			bounded("arn:aws:iam::aws:policy/AdministratorAccess")},
		"create a role with another stack's boundary": {test, "iam:CreateRole",
			iamARNs + "role/immutable-infra/test/web", bounded(boundary)},
		"create a role outside the stack's path": {production, "iam:CreateRole", iamARNs + "role/admin", bounded(boundary)},
		"create a role in another stack's path":  {test, "iam:CreateRole", serverRole, bounded(boundary)},
		"remove a role's boundary": {production, "iam:DeleteRolePermissionsBoundary",
			serverRole, bounded(boundary)},
		"replace a role's boundary": {production, "iam:PutRolePermissionsBoundary", serverRole,
			bounded("arn:aws:iam::aws:policy/AdministratorAccess")},
		"set a boundary on a workflow role to gain control of it": {production, "iam:PutRolePermissionsBoundary",
			iamARNs + "role/immutable-infra-deploy-production", bounded(boundary)},
		"put a policy on a role without a boundary": {production, "iam:PutRolePolicy", serverRole, keys()},
		"put a policy on another stack's role":      {test, "iam:PutRolePolicy", serverRole, bounded(boundary)},
		"put a policy on the deploy role itself": {production, "iam:PutRolePolicy",
			iamARNs + "role/immutable-infra-deploy-production", keys()},
		"put a policy on a role in another path": {production, "iam:PutRolePolicy",
			iamARNs + "role/immutable-infra-preview", bounded(boundary)},
		"attach AdministratorAccess": {production, "iam:AttachRolePolicy", serverRole,
			keys("iam:policyarn", "arn:aws:iam::aws:policy/AdministratorAccess", "iam:permissionsboundary", boundary)},
		"change a server role's trust policy": {production, "iam:UpdateAssumeRolePolicy", serverRole, bounded(boundary)},
		"change the deploy role's trust policy": {production, "iam:UpdateAssumeRolePolicy",
			iamARNs + "role/immutable-infra-deploy-production", keys()},
		"write a new version of the boundary":    {production, "iam:CreatePolicyVersion", boundary, keys()},
		"restore an old version of the boundary": {production, "iam:SetDefaultPolicyVersion", boundary, keys()},
		"delete a version of the boundary":       {production, "iam:DeletePolicyVersion", boundary, keys()},
		"delete the boundary":                    {production, "iam:DeletePolicy", boundary, keys()},
		"create another policy":                  {production, "iam:CreatePolicy", iamARNs + "policy/mine", keys()},
		"create a user":                          {production, "iam:CreateUser", iamARNs + "user/mallory", keys()},
		"create an access key":                   {production, "iam:CreateAccessKey", iamARNs + "user/admin", keys()},
		"delete GitHub's OIDC provider": {production, "iam:DeleteOpenIDConnectProvider",
			iamARNs + "oidc-provider/token.actions.githubusercontent.com", keys()},
		"pass a foreign role to a server": {production, "iam:PassRole", iamARNs + "role/admin", passed("ec2.amazonaws.com")},
		"pass another stack's role to a server": {test, "iam:PassRole", serverRole,
			passed("ec2.amazonaws.com")},
		"pass a server's role to a function": {production, "iam:PassRole", serverRole, passed("lambda.amazonaws.com")},
		"put a foreign role into an instance profile": {production, "iam:PassRole",
			iamARNs + "role/immutable-infra-deploy-test", passed("ec2.amazonaws.com")},
		"assume another role": {production, "sts:AssumeRole", iamARNs + "role/admin", keys()},
		"add a role to an administrator's instance profile": {production, "iam:AddRoleToInstanceProfile",
			iamARNs + "instance-profile/admin", keys()},
		"attach a profile to a running server": {production, "ec2:AssociateIamInstanceProfile",
			ec2ARNs + "instance/i-1", tagged("resourcetag", "immutable-infra", "production")},
		"run a command on a server through Systems Manager": {production, "ssm:SendCommand", ec2ARNs + "instance/i-1",
			tagged("resourcetag", "immutable-infra", "production")},
		"claim another stack's server role by tagging it": {test, "iam:TagRole", serverRole,
			tagged("requesttag", "immutable-infra", "test")},
		"set a boundary on a user to gain control of it": {production, "iam:PutUserPermissionsBoundary",
			iamARNs + "user/admin", bounded(boundary)},
		"put a policy on a group": {production, "iam:PutGroupPolicy", iamARNs + "group/admins",
			bounded(boundary)},
		"leave the organization to escape its limits": {production, "organizations:LeaveOrganization", "*", keys()},

		// Destroy or read production's backups.
		"set a policy on the backup bucket":           {production, "s3:PutBucketPolicy", backup, keys()},
		"delete the backup bucket's policy":           {production, "s3:DeleteBucketPolicy", backup, keys()},
		"expire backup versions after a day":          {production, "s3:PutLifecycleConfiguration", backup, keys()},
		"suspend versioning of the backups":           {production, "s3:PutBucketVersioning", backup, keys()},
		"encrypt the backups with someone else's key": {production, "s3:PutEncryptionConfiguration", backup, keys()},
		"open the backup bucket to the public":        {production, "s3:PutBucketPublicAccessBlock", backup, keys()},
		"let other accounts own the backups":          {production, "s3:PutBucketOwnershipControls", backup, keys()},
		"delete the backup bucket":                    {production, "s3:DeleteBucket", backup, keys()},
		"delete versions of a backup": {production, "s3:DeleteObjectVersion", backup + "/history/1",
			keys()},
		"delete a backup":                 {production, "s3:DeleteObject", backup + "/history/1", keys()},
		"plant a backup":                  {production, "s3:PutObject", backup + "/certificates/acme.json", keys()},
		"read certificates' private keys": {production, "s3:GetObject", backup + "/certificates/acme.json", keys()},
		"read certificates' private keys from a preview": {preview, "s3:GetObject", backup + "/certificates/acme.json",
			keys()},
		"read certificates' private keys from a drill": {drill,
			"s3:GetObject", backup + "/certificates/acme.json", keys()},
		"delete versions of production's backup from test": {test, "s3:DeleteObjectVersion", backup + "/history/1", keys()},
		"expire production's backups from test":            {test, "s3:PutLifecycleConfiguration", backup, keys()},
		"overwrite production's site from test": {test, "s3:PutObject",
			"arn:aws:s3:::production-content-2026/site/index.html", keys()},
		"copy the backups to another bucket": {production, "s3:PutReplicationConfiguration", backup, keys()},
		"read an unrelated bucket of the account": {production, "s3:GetObject", "arn:aws:s3:::payroll/2026.csv",
			keys()},

		// Write state that another stack's update uses.
		"write the state of the roles": {production, "s3:PutObject",
			stateBucket + "/.pulumi/stacks/immutable-infra-access/access.json", keys()},
		"write the state of the roles from test": {test, "s3:PutObject",
			stateBucket + "/.pulumi/stacks/immutable-infra-access/access.json", keys()},
		"write another stack's state": {test, "s3:PutObject",
			stateBucket + "/.pulumi/stacks/immutable-infra/production.json", keys()},
		"write the state of a stack whose name has the same prefix": {test, "s3:PutObject",
			stateBucket + "/.pulumi/stacks/immutable-infra/test2.json", keys()},
		"read another stack's state": {test, "s3:GetObject",
			stateBucket + "/.pulumi/stacks/immutable-infra/production.json", keys()},
		"read another stack's history": {test, "s3:GetObject",
			stateBucket + "/.pulumi/history/immutable-infra/production/production-1.checkpoint.json", keys()},
		"change the layout of the state": {production, "s3:PutObject", stateBucket + "/.pulumi/meta.yaml", keys()},
		"remove another stack's lock": {test, "s3:DeleteObject",
			stateBucket + "/.pulumi/locks/organization/immutable-infra/production/1.json", keys()},
		"delete the stack's own state": {production, "s3:DeleteObject",
			stateBucket + "/.pulumi/stacks/immutable-infra/production.json", keys()},
		"delete the stack's history": {production, "s3:DeleteObject",
			stateBucket + "/.pulumi/history/immutable-infra/production/production-1.history.json", keys()},
		"delete versions of the state": {production, "s3:DeleteObjectVersion",
			stateBucket + "/.pulumi/stacks/immutable-infra/production.json", keys()},
		"open the state bucket": {production, "s3:PutBucketPolicy", stateBucket, keys()},
		"make the state world-readable through its ACL": {test, "s3:PutObjectAcl",
			stateBucket + "/.pulumi/stacks/immutable-infra/test.json", keys()},
		"open the state bucket through its ACL":               {production, "s3:PutBucketAcl", stateBucket, keys()},
		"send notifications of state changes to someone else": {production, "s3:PutBucketNotification", stateBucket, keys()},
		"expire old states": {production,
			"s3:PutLifecycleConfiguration", stateBucket, keys()},
		"write production's state from a preview": {preview, "s3:PutObject",
			stateBucket + "/.pulumi/stacks/immutable-infra/production.json", keys()},
		"read the state of the roles from a preview": {preview, "s3:GetObject",
			stateBucket + "/.pulumi/stacks/immutable-infra-access/access.json", keys()},
		"read the state of test from a preview": {preview, "s3:GetObject",
			stateBucket + "/.pulumi/stacks/immutable-infra/test.json", keys()},
		"decrypt production's secrets from test": {test, "kms:Decrypt",
			"arn:aws:kms:eu-central-1:123456789012:key/production", keys()},
		"decrypt the secrets of test from production": {production, "kms:Decrypt",
			"arn:aws:kms:eu-central-1:123456789012:key/test", keys()},
		"decrypt the secrets of test from a preview": {preview, "kms:Decrypt",
			"arn:aws:kms:eu-central-1:123456789012:key/test", keys()},
		// A pull request swaps the secretsprovider in a stack's file: no deployment can use that key for the state.
		"use another account's key for the secrets": {production, "kms:Decrypt",
			"arn:aws:kms:eu-central-1:999999999999:key/mallory", keys()},
		"let someone else use the secrets' key": {production, "kms:CreateGrant",
			"arn:aws:kms:eu-central-1:123456789012:key/production", keys()},
		"change the policy of the secrets' key": {production, "kms:PutKeyPolicy",
			"arn:aws:kms:eu-central-1:123456789012:key/production", keys()},
		"delete the secrets' key": {production, "kms:ScheduleKeyDeletion",
			"arn:aws:kms:eu-central-1:123456789012:key/production", keys()},
		"terminate production's server from test": {test, "ec2:TerminateInstances", ec2ARNs + "instance/i-1",
			tagged("resourcetag", "immutable-infra", "production")},
		"create a server with production's tags from test": {test, "ec2:RunInstances", ec2ARNs + "instance/*",
			tagged("requesttag", "immutable-infra", "production")},
		"reassociate production's address from test": {test, "ec2:AssociateAddress", ec2ARNs + "elastic-ip/eipalloc-1",
			tagged("resourcetag", "immutable-infra", "production")},
		"disassociate production's address from its server": {test,
			"ec2:DisassociateAddress", ec2ARNs + "elastic-ip/eipalloc-1",
			tagged("resourcetag", "immutable-infra", "production")},
		"disassociate another project's address from its server": {production, "ec2:DisassociateAddress",
			ec2ARNs + "elastic-ip/eipalloc-1", tagged("resourcetag", "other", "production")},
		"terminate a server of another project": {production, "ec2:TerminateInstances", ec2ARNs + "instance/i-1",
			tagged("resourcetag", "other", "production")},
		"change a record of another zone": {production, "route53:ChangeResourceRecordSets",
			"arn:aws:route53:::hostedzone/Z9", keys()},
		"point production's name elsewhere from test": {test, "route53:ChangeResourceRecordSets",
			"arn:aws:route53:::hostedzone/Z0123456789ABCDEFGHIJ", recordName("www.example.org")},
		"change a name that merely ends like the stack's": {test, "route53:ChangeResourceRecordSets",
			"arn:aws:route53:::hostedzone/Z0123456789ABCDEFGHIJ", recordName("attest.example.org")},
		"claim production's server by tagging it": {test, "ec2:CreateTags", ec2ARNs + "instance/i-1",
			mergeKeys(tagged("resourcetag", "immutable-infra", "production"), tagged("requesttag", "immutable-infra", "test"))},
		"claim an untagged server by tagging it": {test, "ec2:CreateTags", ec2ARNs + "instance/i-1",
			tagged("requesttag", "immutable-infra", "test")},
		"tag a server as part of creating a snapshot": {test, "ec2:CreateTags", ec2ARNs + "instance/i-1",
			mergeKeys(keys("ec2:createaction", "CreateSnapshot"), tagged("requesttag", "immutable-infra", "test"))},
		"open production's SSH to the world from test": {test, "ec2:AuthorizeSecurityGroupIngress",
			ec2ARNs + "security-group/sg-1", tagged("resourcetag", "immutable-infra", "production")},
		"open production's SSH from a preview": {preview, "ec2:AuthorizeSecurityGroupIngress",
			ec2ARNs + "security-group/sg-1", tagged("resourcetag", "immutable-infra", "production")},
		"change the site from a preview": {preview, "s3:PutObject",
			"arn:aws:s3:::production-content-2026/site/index.html", keys()},
		"replace the user data of production's server": {test, "ec2:ModifyInstanceAttribute", ec2ARNs + "instance/i-1",
			tagged("resourcetag", "immutable-infra", "production")},
		"copy production's disk": {production, "ec2:CreateSnapshot", ec2ARNs + "volume/vol-1",
			tagged("resourcetag", "immutable-infra", "production")},
		"push an SSH key to a server": {production, "ec2-instance-connect:SendSSHPublicKey",
			ec2ARNs + "instance/i-1", tagged("resourcetag", "immutable-infra", "production")},
		"list another region's servers": {production, "ec2:DescribeInstances", "*",
			map[string]string{"aws:requestedregion": "us-east-1"}},
		"create a resource that the program does not use": {production, "lambda:CreateFunction",
			"arn:aws:lambda:eu-central-1:123456789012:function:f", keys()},

		// A server stays within its boundary even if a deployment gave it a broader policy.
		"delete backup versions from a server": {"server-production", "s3:DeleteObjectVersion",
			backup + "/history/1", keys()},
		"expire the backups from a server": {"server-production", "s3:PutLifecycleConfiguration", backup, keys()},
		"overwrite the site from a server": {"server-production", "s3:PutObject",
			"arn:aws:s3:::production-content-2026/site/index.html", keys()},
		"read production's backups from test's server": {"server-test", "s3:GetObject", backup + "/certificates/acme.json",
			keys()},
		"write the state of the roles from a server": {"server-production", "s3:PutObject",
			stateBucket + "/.pulumi/stacks/immutable-infra-access/access.json", keys()},
		"create an administrator role from a server": {"server-production", "iam:CreateRole", iamARNs + "role/admin", keys()},
		"assume another role from a server":          {"server-production", "sts:AssumeRole", iamARNs + "role/admin", keys()},
		"decrypt the stack's secrets from a server": {"server-production", "kms:Decrypt",
			"arn:aws:kms:eu-central-1:123456789012:key/production", keys()},
		"terminate other servers from a server": {"server-production", "ec2:TerminateInstances",
			ec2ARNs + "instance/i-1", tagged("resourcetag", "immutable-infra", "production")},
		"change the zone's records from a server": {"server-production", "route53:ChangeResourceRecordSets",
			"arn:aws:route53:::hostedzone/Z0123456789ABCDEFGHIJ", keys()},
		"read an unrelated bucket from a server": {"server-production", "s3:GetObject",
			"arn:aws:s3:::payroll/2026.csv", keys()},
		"make a backup world-readable from a server": {"server-production", "s3:PutObjectAcl",
			backup + "/certificates/acme.json", keys()},
		"bypass the governance retention of the backups": {"server-production", "s3:BypassGovernanceRetention",
			backup + "/history/1", keys()},
		"open SSH to itself from a server": {"server-production", "ec2:AuthorizeSecurityGroupIngress",
			ec2ARNs + "security-group/sg-1", tagged("resourcetag", "immutable-infra", "production")},
		"reassociate the VIP from a server": {"server-production", "ec2:AssociateAddress",
			ec2ARNs + "elastic-ip/eipalloc-1", tagged("resourcetag", "immutable-infra", "production")},
		"read another stack's site from test's servers": {"server-test", "s3:GetObject",
			"arn:aws:s3:::production-content-2026/site/index.html", keys()},
	} {
		t.Run(name, func(t *testing.T) {
			require.NotEqual(t, policy.Allowed, policy.Evaluate([]policy.Document{reviewedPolicy(t, a.role)}, policy.Request{
				Action: a.action, Resource: a.resource, Keys: a.keys,
			}))
		})
	}
}

func TestDeployRoleDenialsOverrideAnyAllow(t *testing.T) {
	everything := rolePolicy(t, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`)
	for name, a := range map[string]attempt{
		"create a role without the boundary":  {"", "iam:CreateRole", iamARNs + "role/admin", keys()},
		"create a role with another boundary": {"", "iam:CreateRole", serverRole, bounded(iamARNs + "policy/mine")},
		"put a policy on a role without a boundary": {"", "iam:PutRolePolicy",
			iamARNs + "role/immutable-infra-deploy-production", keys()},
		"remove a boundary": {"", "iam:DeleteRolePermissionsBoundary", serverRole, bounded(boundary)},
		"replace a boundary": {"", "iam:PutRolePermissionsBoundary", serverRole,
			bounded(iamARNs + "policy/mine")},
		"attach a policy":                     {"", "iam:AttachRolePolicy", serverRole, bounded(boundary)},
		"change a role's trust policy":        {"", "iam:UpdateAssumeRolePolicy", serverRole, bounded(boundary)},
		"write a new version of the boundary": {"", "iam:CreatePolicyVersion", boundary, keys()},
		"delete the boundary":                 {"", "iam:DeletePolicy", boundary, keys()},
		"set a policy on the backup bucket":   {"", "s3:PutBucketPolicy", backup, keys()},
		"expire backups":                      {"", "s3:PutLifecycleConfiguration", backup, keys()},
		"suspend versioning":                  {"", "s3:PutBucketVersioning", backup, keys()},
		"delete versions":                     {"", "s3:DeleteObjectVersion", backup + "/history/1", keys()},
	} {
		t.Run(name, func(t *testing.T) {
			request := policy.Request{Action: a.action, Resource: a.resource, Keys: a.keys}
			require.Equal(t, policy.Denied,
				policy.Evaluate([]policy.Document{reviewedPolicy(t, "deploy-production"), everything}, request))
		})
	}
}

func TestDeploymentsAndServersAreAllowedWhatTheyNeed(t *testing.T) {
	needs := func(stack string) []attempt {
		deploy, server := "deploy-"+stack, "server-"+stack
		role, withBoundary := iamARNs+"role/immutable-infra/"+stack+"/web-1a2b3c4",
			bounded(iamARNs+"policy/immutable-infra-server-"+stack)
		withBoundaryAndTags := mergeKeys(withBoundary, tagged("requesttag", "immutable-infra", stack))
		own := tagged("resourcetag", "immutable-infra", stack)
		state := stateBucket + "/.pulumi/"
		return []attempt{
			{deploy, "iam:CreateRole", role, withBoundaryAndTags},
			{deploy, "iam:TagRole", role, withBoundaryAndTags},
			{deploy, "iam:PutRolePermissionsBoundary", role, withBoundary},
			{deploy, "iam:PutRolePolicy", role, withBoundary},
			{deploy, "iam:DeleteRolePolicy", role, withBoundary},
			{deploy, "iam:DeleteRole", role, withBoundary},
			{deploy, "iam:PassRole", role, keys("iam:passedtoservice", "ec2.amazonaws.com")},
			{deploy, "ec2:TerminateInstances", ec2ARNs + "instance/i-1", own},
			{deploy, "ec2:DisassociateAddress", ec2ARNs + "elastic-ip/eipalloc-1", own},
			{deploy, "ec2:DisassociateAddress", ec2ARNs + "network-interface/eni-1", keys()}, // untagged, or already deleted
			{deploy, "ec2:RunInstances", ec2ARNs + "instance/*", tagged("requesttag", "immutable-infra", stack)},
			{deploy, "s3:CreateBucket", "arn:aws:s3:::" + stack + "-backup-2026", keys()},
			{deploy, "s3:PutBucketPolicy", "arn:aws:s3:::" + stack + "-content-2026", keys()},
			{deploy, "s3:PutLifecycleConfiguration", "arn:aws:s3:::" + stack + "-content-2026", keys()},
			{deploy, "s3:PutObject", "arn:aws:s3:::" + stack + "-content-2026/site/index.html", keys()},
			{deploy, "s3:ListBucket", stateBucket, keys()},
			{deploy, "s3:GetObject", state + "meta.yaml", keys()},
			{deploy, "s3:GetObject", state + "stacks/immutable-infra/" + stack + ".json", keys()},
			{deploy, "s3:PutObject", state + "stacks/immutable-infra/" + stack + ".json", keys()},
			{deploy, "s3:PutObject", state + "stacks/immutable-infra/" + stack + ".json.bak", keys()},
			{deploy, "s3:PutObject", state + "history/immutable-infra/" + stack + "/" + stack + "-1.history.json", keys()},
			{deploy, "s3:PutObject", state + "backups/immutable-infra/" + stack + "/" + stack + ".1.json", keys()},
			{deploy, "s3:PutObject", state + "locks/organization/immutable-infra/" + stack + "/1.json", keys()},
			{deploy, "s3:DeleteObject", state + "locks/organization/immutable-infra/" + stack + "/1.json", keys()},
			{deploy, "kms:Decrypt", "arn:aws:kms:eu-central-1:123456789012:key/" + stack, keys()},
			{server, "s3:ListBucket", "arn:aws:s3:::" + stack + "-content-2026", keys()},
			{server, "s3:GetObject", "arn:aws:s3:::" + stack + "-content-2026/site/index.html", keys()},
			{server, "s3:ListBucket", "arn:aws:s3:::" + stack + "-backup-2026", keys()},
			{server, "s3:GetObject", "arn:aws:s3:::" + stack + "-backup-2026/history/1", keys()},
			{server, "s3:PutObject", "arn:aws:s3:::" + stack + "-backup-2026/history/1", keys()},
			{server, "s3:DeleteObject", "arn:aws:s3:::" + stack + "-backup-2026/history/1", keys()},
		}
	}
	zone := "arn:aws:route53:::hostedzone/Z0123456789ABCDEFGHIJ"
	records := []attempt{
		{"deploy-test", "route53:ChangeResourceRecordSets", zone, recordName("test.example.org")},
		{"deploy-test", "route53:ChangeResourceRecordSets", zone, recordName("monitoring.test.example.org")},
		{"deploy-production", "route53:ChangeResourceRecordSets", zone, recordName("www.example.org")},
		{"deploy-production", "route53:ListResourceRecordSets", zone, keys()},
	}
	for _, a := range slices.Concat(needs("test"), needs("production"), records) {
		require.Equal(t, policy.Allowed, policy.Evaluate([]policy.Document{reviewedPolicy(t, a.role)},
			policy.Request{Action: a.action, Resource: a.resource, Keys: a.keys}), "%s: %s on %s", a.role, a.action, a.resource)
	}
}

func TestBoundaryLimitsRolePermissionsOnBucket(t *testing.T) {
	identity := func(own, boundary string) policy.Identity {
		limit := rolePolicy(t, statement(boundary))
		return policy.Identity{RoleARN: "arn:aws:iam::123456789012:role/r", AccessKeyID: "AKIA1",
			Policies: []policy.Document{rolePolicy(t, statement(own))}, Boundary: &limit}
	}
	for name, c := range map[string]struct{ own, boundary, want string }{
		"broad policy, narrow boundary": {
			`{"Effect":"Allow","Action":"s3:*","Resource":"*"}`,
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/history/*"}`,
			`{"Effect":"Allow","Principal":{"AWS":["AKIA1"]},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::b/history/*"]}`,
		},
		"narrow policy, broad boundary": {
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/history/*","Condition":{"Bool":{"aws:SecureTransport":"true"}}}`, `{"Effect":"Allow","Action":"*","Resource":"*"}`,
			`{"Effect":"Allow","Principal":{"AWS":["AKIA1"]},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::b/history/*"],"Condition":{"Bool":{"aws:SecureTransport":["true"]}}}`,
		},
		"denial in the boundary": {
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}`,
			`[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/secret"}]`,
			`[{"Effect":"Allow","Principal":{"AWS":["AKIA1"]},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::b/*"]},
			  {"Effect":"Deny","Principal":{"AWS":["AKIA1"]},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::b/secret"]}]`,
		},
		"no overlap": {
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/a/*"}`,
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/b/*"}`, ``,
		},
	} {
		t.Run(name, func(t *testing.T) {
			effective, err := merged(t, "", []policy.Identity{identity(c.own, c.boundary)})
			require.NoError(t, err)
			if c.want == "" {
				require.Empty(t, effective)
				return
			}
			if c.want[0] == '{' {
				c.want = "[" + c.want + "]"
			}
			require.JSONEq(t, statement(c.want), effective)
		})
	}
	for name, c := range map[string]struct{ own, boundary string }{
		"partially overlapping patterns": {`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*.json"}`,
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/history/*"}`},
		"a question mark": {`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/a*"}`,
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/a?"}`},
		"two conditions on one key": {
			`{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::b","Condition":{"StringLike":{"s3:prefix":"a*"}}}`,
			`{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::b","Condition":{"StringLike":{"s3:prefix":"ab*"}}}`,
		},
	} {
		t.Run("rejected: "+name, func(t *testing.T) {
			_, err := merged(t, "", []policy.Identity{identity(c.own, c.boundary)})
			require.ErrorContains(t, err, "localcloud cannot enforce")
		})
	}
}
