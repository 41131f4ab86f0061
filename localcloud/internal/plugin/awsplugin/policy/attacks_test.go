package policy_test

import (
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/plugin/awsplugin/policy"
)

// reviewed reads a policy that the program in ops/access makes, as it was reviewed there.
func reviewed(t *testing.T, name string) policy.Document {
	t.Helper()
	text, err := os.ReadFile("../../../../../ops/access/permissions/testdata/" + name + ".json")
	require.NoError(t, err)
	return rolePolicy(t, string(text))
}

// attempt is a request by a caller with one of the reviewed roles, or by a server.
type attempt struct {
	who, action, resource string
	keys                  map[string]string
}

const (
	iamARNs     = "arn:aws:iam::123456789012:"
	ec2ARNs     = "arn:aws:ec2:eu-central-1:123456789012:"
	stateBucket = "arn:aws:s3:::immutable-infra-state-123456789012-eu-central-1"
	backup      = "arn:aws:s3:::production-backup-2026"
	serverRole  = iamARNs + "role/immutable-infra/production/web-1a2b3c4"
	boundary    = iamARNs + "policy/immutable-infra-server-production"
)

// key is condition keys, given as a list of names and values.
func key(pairs ...string) map[string]string {
	keys := map[string]string{"aws:requestedregion": "eu-central-1", "aws:securetransport": "true"}
	for i := 0; i < len(pairs); i += 2 {
		keys[pairs[i]] = pairs[i+1]
	}
	return keys
}

func bounded(by string) map[string]string { return key("iam:permissionsboundary", by) }

func record(name string) map[string]string {
	return key("route53:changeresourcerecordsetsnormalizedrecordnames", name)
}

func tagged(where, project, stack string) map[string]string {
	return key("aws:"+where+"/project", project, "aws:"+where+"/stack", stack)
}

// both merges condition keys.
func both(one, other map[string]string) map[string]string {
	merged := maps.Clone(one)
	maps.Copy(merged, other)
	return merged
}

func TestAttacksByARoleOfAWorkflowOrByAServerAreRefused(t *testing.T) {
	const production, test, preview, drill = "deploy-production", "deploy-test", "preview", "restore-drill"
	passed := func(to string) map[string]string { return key("iam:passedtoservice", to) }
	for name, a := range map[string]attempt{
		// Become administrator of the account.
		"create a role without the boundary": {production, "iam:CreateRole", serverRole, key()},
		"create a role with another boundary": {production, "iam:CreateRole", serverRole,
			bounded("arn:aws:iam::aws:policy/AdministratorAccess")},
		"create a role with another stack's boundary": {test, "iam:CreateRole",
			iamARNs + "role/immutable-infra/test/web", bounded(boundary)},
		"create a role outside the stack's path": {production, "iam:CreateRole", iamARNs + "role/admin", bounded(boundary)},
		"create a role in another stack's path":  {test, "iam:CreateRole", serverRole, bounded(boundary)},
		"take a role's boundary away": {production, "iam:DeleteRolePermissionsBoundary",
			serverRole, bounded(boundary)},
		"give a role another boundary": {production, "iam:PutRolePermissionsBoundary", serverRole,
			bounded("arn:aws:iam::aws:policy/AdministratorAccess")},
		"bound a role of workflows to gain a hold on it": {production, "iam:PutRolePermissionsBoundary",
			iamARNs + "role/immutable-infra-deploy-production", bounded(boundary)},
		"put a policy on a role without a boundary": {production, "iam:PutRolePolicy", serverRole, key()},
		"put a policy on another stack's role":      {test, "iam:PutRolePolicy", serverRole, bounded(boundary)},
		"put a policy on the deploy role itself": {production, "iam:PutRolePolicy",
			iamARNs + "role/immutable-infra-deploy-production", key()},
		"put a policy on a role of another path": {production, "iam:PutRolePolicy",
			iamARNs + "role/immutable-infra-preview", bounded(boundary)},
		"attach AdministratorAccess": {production, "iam:AttachRolePolicy", serverRole,
			key("iam:policyarn", "arn:aws:iam::aws:policy/AdministratorAccess", "iam:permissionsboundary", boundary)},
		"change whom a server's role trusts": {production, "iam:UpdateAssumeRolePolicy", serverRole, bounded(boundary)},
		"change whom the deploy role trusts": {production, "iam:UpdateAssumeRolePolicy",
			iamARNs + "role/immutable-infra-deploy-production", key()},
		"write a new version of the boundary":       {production, "iam:CreatePolicyVersion", boundary, key()},
		"go back to an old version of the boundary": {production, "iam:SetDefaultPolicyVersion", boundary, key()},
		"delete a version of the boundary":          {production, "iam:DeletePolicyVersion", boundary, key()},
		"delete the boundary":                       {production, "iam:DeletePolicy", boundary, key()},
		"create another policy":                     {production, "iam:CreatePolicy", iamARNs + "policy/mine", key()},
		"create a user":                             {production, "iam:CreateUser", iamARNs + "user/mallory", key()},
		"create an access key":                      {production, "iam:CreateAccessKey", iamARNs + "user/admin", key()},
		"delete GitHub's OIDC provider": {production, "iam:DeleteOpenIDConnectProvider",
			iamARNs + "oidc-provider/token.actions.githubusercontent.com", key()},
		"pass a foreign role to a server": {production, "iam:PassRole", iamARNs + "role/admin", passed("ec2.amazonaws.com")},
		"pass another stack's role to a server": {test, "iam:PassRole", serverRole,
			passed("ec2.amazonaws.com")},
		"pass a server's role to a function": {production, "iam:PassRole", serverRole, passed("lambda.amazonaws.com")},
		"put a foreign role into a profile": {production, "iam:PassRole",
			iamARNs + "role/immutable-infra-deploy-test", passed("ec2.amazonaws.com")},
		"take on another role": {production, "sts:AssumeRole", iamARNs + "role/admin", key()},
		"put the foreign profile of an administrator on servers": {production, "iam:AddRoleToInstanceProfile",
			iamARNs + "instance-profile/admin", key()},
		"give a profile to a server that runs": {production, "ec2:AssociateIamInstanceProfile",
			ec2ARNs + "instance/i-1", tagged("resourcetag", "immutable-infra", "production")},
		"run a command on a server by Systems Manager": {production, "ssm:SendCommand", ec2ARNs + "instance/i-1",
			tagged("resourcetag", "immutable-infra", "production")},
		"tag another stack's server role as one's own": {test, "iam:TagRole", serverRole,
			tagged("requesttag", "immutable-infra", "test")},
		"bound a user to gain a hold on it": {production, "iam:PutUserPermissionsBoundary",
			iamARNs + "user/admin", bounded(boundary)},
		"put a policy on a group": {production, "iam:PutGroupPolicy", iamARNs + "group/admins",
			bounded(boundary)},
		"leave the organization and its limits": {production, "organizations:LeaveOrganization", "*", key()},

		// Destroy or read production's backups.
		"give the backup bucket a policy":                 {production, "s3:PutBucketPolicy", backup, key()},
		"take the backup bucket's policy away":            {production, "s3:DeleteBucketPolicy", backup, key()},
		"let the backups' versions expire after a day":    {production, "s3:PutLifecycleConfiguration", backup, key()},
		"suspend the backups' versions":                   {production, "s3:PutBucketVersioning", backup, key()},
		"encrypt the backups with a key of somebody else": {production, "s3:PutEncryptionConfiguration", backup, key()},
		"open the backup bucket to the public":            {production, "s3:PutBucketPublicAccessBlock", backup, key()},
		"let others own the backups":                      {production, "s3:PutBucketOwnershipControls", backup, key()},
		"delete the backup bucket":                        {production, "s3:DeleteBucket", backup, key()},
		"delete versions of a backup": {production, "s3:DeleteObjectVersion", backup + "/history/1",
			key()},
		"delete a backup":                 {production, "s3:DeleteObject", backup + "/history/1", key()},
		"plant a backup":                  {production, "s3:PutObject", backup + "/certificates/acme.json", key()},
		"read certificates' private keys": {production, "s3:GetObject", backup + "/certificates/acme.json", key()},
		"read certificates' private keys, from a preview": {preview, "s3:GetObject", backup + "/certificates/acme.json",
			key()},
		"read certificates' private keys, from a drill":   {drill, "s3:GetObject", backup + "/certificates/acme.json", key()},
		"delete versions of production's backup, by test": {test, "s3:DeleteObjectVersion", backup + "/history/1", key()},
		"let production's backups expire, by test":        {test, "s3:PutLifecycleConfiguration", backup, key()},
		"overwrite production's site, by test": {test, "s3:PutObject",
			"arn:aws:s3:::production-content-2026/site/index.html", key()},
		"copy the backups to another bucket": {production, "s3:PutReplicationConfiguration", backup, key()},
		"read a bucket of the account that is not of ours": {production, "s3:GetObject", "arn:aws:s3:::payroll/2026.csv",
			key()},

		// Write a state that another stack's update runs.
		"write the state of the roles": {production, "s3:PutObject",
			stateBucket + "/.pulumi/stacks/immutable-infra-access/access.json", key()},
		"write the state of the roles, by test": {test, "s3:PutObject",
			stateBucket + "/.pulumi/stacks/immutable-infra-access/access.json", key()},
		"write another stack's state": {test, "s3:PutObject",
			stateBucket + "/.pulumi/stacks/immutable-infra/production.json", key()},
		"write the state of a stack of a longer name": {test, "s3:PutObject",
			stateBucket + "/.pulumi/stacks/immutable-infra/test2.json", key()},
		"read another stack's state": {test, "s3:GetObject",
			stateBucket + "/.pulumi/stacks/immutable-infra/production.json", key()},
		"read another stack's history": {test, "s3:GetObject",
			stateBucket + "/.pulumi/history/immutable-infra/production/production-1.checkpoint.json", key()},
		"change the layout of the state": {production, "s3:PutObject", stateBucket + "/.pulumi/meta.yaml", key()},
		"remove another stack's lock": {test, "s3:DeleteObject",
			stateBucket + "/.pulumi/locks/organization/immutable-infra/production/1.json", key()},
		"delete the stack's own state": {production, "s3:DeleteObject",
			stateBucket + "/.pulumi/stacks/immutable-infra/production.json", key()},
		"delete the stack's history": {production, "s3:DeleteObject",
			stateBucket + "/.pulumi/history/immutable-infra/production/production-1.history.json", key()},
		"delete versions of the state": {production, "s3:DeleteObjectVersion",
			stateBucket + "/.pulumi/stacks/immutable-infra/production.json", key()},
		"open the state bucket": {production, "s3:PutBucketPolicy", stateBucket, key()},
		"make the state readable to the world by its ACL": {test, "s3:PutObjectAcl",
			stateBucket + "/.pulumi/stacks/immutable-infra/test.json", key()},
		"open the state bucket by its ACL": {production, "s3:PutBucketAcl", stateBucket, key()},
		"tell somebody else of each state": {production, "s3:PutBucketNotification", stateBucket, key()},
		"let old states expire":            {production, "s3:PutLifecycleConfiguration", stateBucket, key()},
		"write production's state from a preview": {preview, "s3:PutObject",
			stateBucket + "/.pulumi/stacks/immutable-infra/production.json", key()},
		"read the state of the roles from a preview": {preview, "s3:GetObject",
			stateBucket + "/.pulumi/stacks/immutable-infra-access/access.json", key()},
		"read the state of test from a preview": {preview, "s3:GetObject",
			stateBucket + "/.pulumi/stacks/immutable-infra/test.json", key()},
		"decrypt production's secrets, by test": {test, "kms:Decrypt",
			"arn:aws:kms:eu-central-1:123456789012:key/production", key()},
		"decrypt the secrets of test, by production": {production, "kms:Decrypt",
			"arn:aws:kms:eu-central-1:123456789012:key/test", key()},
		"decrypt the secrets of test from a preview": {preview, "kms:Decrypt",
			"arn:aws:kms:eu-central-1:123456789012:key/test", key()},
		// A pull request that swaps the secretsprovider in a stack's file: no deployment encrypts the state by that key.
		"use the key of another account for the secrets": {production, "kms:Decrypt",
			"arn:aws:kms:eu-central-1:999999999999:key/mallory", key()},
		"let somebody else use the key of the secrets": {production, "kms:CreateGrant",
			"arn:aws:kms:eu-central-1:123456789012:key/production", key()},
		"change the policy of the key": {production, "kms:PutKeyPolicy",
			"arn:aws:kms:eu-central-1:123456789012:key/production", key()},
		"delete the key of the secrets": {production, "kms:ScheduleKeyDeletion",
			"arn:aws:kms:eu-central-1:123456789012:key/production", key()},
		"terminate production's server, by test": {test, "ec2:TerminateInstances", ec2ARNs + "instance/i-1",
			tagged("resourcetag", "immutable-infra", "production")},
		"make a server with production's tags, by test": {test, "ec2:RunInstances", ec2ARNs + "instance/*",
			tagged("requesttag", "immutable-infra", "production")},
		"move production's address, by test": {test, "ec2:AssociateAddress", ec2ARNs + "elastic-ip/eipalloc-1",
			tagged("resourcetag", "immutable-infra", "production")},
		"take production's address off its server": {test, "ec2:DisassociateAddress", ec2ARNs + "elastic-ip/eipalloc-1",
			tagged("resourcetag", "immutable-infra", "production")},
		"take another project's address off its server": {production, "ec2:DisassociateAddress",
			ec2ARNs + "elastic-ip/eipalloc-1", tagged("resourcetag", "other", "production")},
		"terminate a server of another project": {production, "ec2:TerminateInstances", ec2ARNs + "instance/i-1",
			tagged("resourcetag", "other", "production")},
		"change a record of another zone": {production, "route53:ChangeResourceRecordSets",
			"arn:aws:route53:::hostedzone/Z9", key()},
		"point production's name elsewhere, by test": {test, "route53:ChangeResourceRecordSets",
			"arn:aws:route53:::hostedzone/Z0123456789ABCDEFGHIJ", record("www.example.org")},
		"a name that only ends as the stack's": {test, "route53:ChangeResourceRecordSets",
			"arn:aws:route53:::hostedzone/Z0123456789ABCDEFGHIJ", record("attest.example.org")},
		"tag production's server as one's own": {test, "ec2:CreateTags", ec2ARNs + "instance/i-1",
			both(tagged("resourcetag", "immutable-infra", "production"), tagged("requesttag", "immutable-infra", "test"))},
		"tag an untagged server as one's own": {test, "ec2:CreateTags", ec2ARNs + "instance/i-1",
			tagged("requesttag", "immutable-infra", "test")},
		"tag as if it were being made": {test, "ec2:CreateTags", ec2ARNs + "instance/i-1",
			both(key("ec2:createaction", "CreateSnapshot"), tagged("requesttag", "immutable-infra", "test"))},
		"open production's SSH to the world, by test": {test, "ec2:AuthorizeSecurityGroupIngress",
			ec2ARNs + "security-group/sg-1", tagged("resourcetag", "immutable-infra", "production")},
		"open production's SSH, from a preview": {preview, "ec2:AuthorizeSecurityGroupIngress",
			ec2ARNs + "security-group/sg-1", tagged("resourcetag", "immutable-infra", "production")},
		"change the site, from a preview": {preview, "s3:PutObject",
			"arn:aws:s3:::production-content-2026/site/index.html", key()},
		"give production's server another start script": {test, "ec2:ModifyInstanceAttribute", ec2ARNs + "instance/i-1",
			tagged("resourcetag", "immutable-infra", "production")},
		"copy production's disk": {production, "ec2:CreateSnapshot", ec2ARNs + "volume/vol-1",
			tagged("resourcetag", "immutable-infra", "production")},
		"send a server an SSH key": {production, "ec2-instance-connect:SendSSHPublicKey",
			ec2ARNs + "instance/i-1", tagged("resourcetag", "immutable-infra", "production")},
		"see another region's servers": {production, "ec2:DescribeInstances", "*",
			map[string]string{"aws:requestedregion": "us-east-1"}},
		"start something that the program does not have": {production, "lambda:CreateFunction",
			"arn:aws:lambda:eu-central-1:123456789012:function:f", key()},

		// A server stays within its boundary, even if a deployment gave it a wider policy.
		"destroy the backups' versions from a server": {"server-production", "s3:DeleteObjectVersion",
			backup + "/history/1", key()},
		"let the backups expire from a server": {"server-production", "s3:PutLifecycleConfiguration", backup, key()},
		"overwrite the site from a server": {"server-production", "s3:PutObject",
			"arn:aws:s3:::production-content-2026/site/index.html", key()},
		"read production's backups from test's server": {"server-test", "s3:GetObject", backup + "/certificates/acme.json",
			key()},
		"write the state of the roles from a server": {"server-production", "s3:PutObject",
			stateBucket + "/.pulumi/stacks/immutable-infra-access/access.json", key()},
		"make an administrator from a server": {"server-production", "iam:CreateRole", iamARNs + "role/admin", key()},
		"take on another role from a server":  {"server-production", "sts:AssumeRole", iamARNs + "role/admin", key()},
		"decrypt the stack's secrets from a server": {"server-production", "kms:Decrypt",
			"arn:aws:kms:eu-central-1:123456789012:key/production", key()},
		"terminate other servers from a server": {"server-production", "ec2:TerminateInstances",
			ec2ARNs + "instance/i-1", tagged("resourcetag", "immutable-infra", "production")},
		"change the zone's records from a server": {"server-production", "route53:ChangeResourceRecordSets",
			"arn:aws:route53:::hostedzone/Z0123456789ABCDEFGHIJ", key()},
		"read the rest of the account from a server": {"server-production", "s3:GetObject",
			"arn:aws:s3:::payroll/2026.csv", key()},
		"make a backup readable to the world": {"server-production", "s3:PutObjectAcl",
			backup + "/certificates/acme.json", key()},
		"get round a lock of the backups": {"server-production", "s3:BypassGovernanceRetention",
			backup + "/history/1", key()},
		"let itself in by SSH, from a server": {"server-production", "ec2:AuthorizeSecurityGroupIngress",
			ec2ARNs + "security-group/sg-1", tagged("resourcetag", "immutable-infra", "production")},
		"take the VIP from a server": {"server-production", "ec2:AssociateAddress",
			ec2ARNs + "elastic-ip/eipalloc-1", tagged("resourcetag", "immutable-infra", "production")},
		"read another stack's site from test's servers": {"server-test", "s3:GetObject",
			"arn:aws:s3:::production-content-2026/site/index.html", key()},
	} {
		t.Run(name, func(t *testing.T) {
			require.NotEqual(t, policy.Allowed, policy.Evaluate([]policy.Document{reviewed(t, a.who)}, policy.Request{
				Action: a.action, Resource: a.resource, Keys: a.keys,
			}))
		})
	}
}

func TestDenialsOfTheDeployRoleHoldWhateverElseItIsAllowed(t *testing.T) {
	everything := rolePolicy(t, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`)
	for name, a := range map[string]attempt{
		"create a role without the boundary":  {"", "iam:CreateRole", iamARNs + "role/admin", key()},
		"create a role with another boundary": {"", "iam:CreateRole", serverRole, bounded(iamARNs + "policy/mine")},
		"put a policy on a role without boundary": {"", "iam:PutRolePolicy",
			iamARNs + "role/immutable-infra-deploy-production", key()},
		"take a boundary away": {"", "iam:DeleteRolePermissionsBoundary", serverRole, bounded(boundary)},
		"give another boundary": {"", "iam:PutRolePermissionsBoundary", serverRole,
			bounded(iamARNs + "policy/mine")},
		"attach a policy":                 {"", "iam:AttachRolePolicy", serverRole, bounded(boundary)},
		"change whom a role trusts":       {"", "iam:UpdateAssumeRolePolicy", serverRole, bounded(boundary)},
		"write the boundary":              {"", "iam:CreatePolicyVersion", boundary, key()},
		"delete the boundary":             {"", "iam:DeletePolicy", boundary, key()},
		"give the backup bucket a policy": {"", "s3:PutBucketPolicy", backup, key()},
		"let backups expire":              {"", "s3:PutLifecycleConfiguration", backup, key()},
		"suspend versions":                {"", "s3:PutBucketVersioning", backup, key()},
		"delete versions":                 {"", "s3:DeleteObjectVersion", backup + "/history/1", key()},
	} {
		t.Run(name, func(t *testing.T) {
			request := policy.Request{Action: a.action, Resource: a.resource, Keys: a.keys}
			require.Equal(t, policy.Denied,
				policy.Evaluate([]policy.Document{reviewed(t, "deploy-production"), everything}, request))
		})
	}
}

func TestWhatADeploymentAndAServerNeedIsAllowed(t *testing.T) {
	of := func(stack string) []attempt {
		deploy, server := "deploy-"+stack, "server-"+stack
		role, bound := iamARNs+"role/immutable-infra/"+stack+"/web-1a2b3c4",
			bounded(iamARNs+"policy/immutable-infra-server-"+stack)
		boundAndTagged := both(bound, tagged("requesttag", "immutable-infra", stack))
		own := tagged("resourcetag", "immutable-infra", stack)
		state := stateBucket + "/.pulumi/"
		return []attempt{
			{deploy, "iam:CreateRole", role, boundAndTagged},
			{deploy, "iam:TagRole", role, boundAndTagged},
			{deploy, "iam:PutRolePermissionsBoundary", role, bound},
			{deploy, "iam:PutRolePolicy", role, bound},
			{deploy, "iam:DeleteRolePolicy", role, bound},
			{deploy, "iam:DeleteRole", role, bound},
			{deploy, "iam:PassRole", role, key("iam:passedtoservice", "ec2.amazonaws.com")},
			{deploy, "ec2:TerminateInstances", ec2ARNs + "instance/i-1", own},
			{deploy, "ec2:DisassociateAddress", ec2ARNs + "elastic-ip/eipalloc-1", own},
			{deploy, "ec2:DisassociateAddress", ec2ARNs + "network-interface/eni-1", key()}, // has no tags, or is gone
			{deploy, "ec2:RunInstances", ec2ARNs + "instance/*", tagged("requesttag", "immutable-infra", stack)},
			{deploy, "s3:CreateBucket", "arn:aws:s3:::" + stack + "-backup-2026", key()},
			{deploy, "s3:PutBucketPolicy", "arn:aws:s3:::" + stack + "-content-2026", key()},
			{deploy, "s3:PutLifecycleConfiguration", "arn:aws:s3:::" + stack + "-content-2026", key()},
			{deploy, "s3:PutObject", "arn:aws:s3:::" + stack + "-content-2026/site/index.html", key()},
			{deploy, "s3:ListBucket", stateBucket, key()},
			{deploy, "s3:GetObject", state + "meta.yaml", key()},
			{deploy, "s3:GetObject", state + "stacks/immutable-infra/" + stack + ".json", key()},
			{deploy, "s3:PutObject", state + "stacks/immutable-infra/" + stack + ".json", key()},
			{deploy, "s3:PutObject", state + "stacks/immutable-infra/" + stack + ".json.bak", key()},
			{deploy, "s3:PutObject", state + "history/immutable-infra/" + stack + "/" + stack + "-1.history.json", key()},
			{deploy, "s3:PutObject", state + "backups/immutable-infra/" + stack + "/" + stack + ".1.json", key()},
			{deploy, "s3:PutObject", state + "locks/organization/immutable-infra/" + stack + "/1.json", key()},
			{deploy, "s3:DeleteObject", state + "locks/organization/immutable-infra/" + stack + "/1.json", key()},
			{deploy, "kms:Decrypt", "arn:aws:kms:eu-central-1:123456789012:key/" + stack, key()},
			{server, "s3:ListBucket", "arn:aws:s3:::" + stack + "-content-2026", key()},
			{server, "s3:GetObject", "arn:aws:s3:::" + stack + "-content-2026/site/index.html", key()},
			{server, "s3:ListBucket", "arn:aws:s3:::" + stack + "-backup-2026", key()},
			{server, "s3:GetObject", "arn:aws:s3:::" + stack + "-backup-2026/history/1", key()},
			{server, "s3:PutObject", "arn:aws:s3:::" + stack + "-backup-2026/history/1", key()},
			{server, "s3:DeleteObject", "arn:aws:s3:::" + stack + "-backup-2026/history/1", key()},
		}
	}
	zone := "arn:aws:route53:::hostedzone/Z0123456789ABCDEFGHIJ"
	names := []attempt{
		{"deploy-test", "route53:ChangeResourceRecordSets", zone, record("test.example.org")},
		{"deploy-test", "route53:ChangeResourceRecordSets", zone, record("monitoring.test.example.org")},
		{"deploy-production", "route53:ChangeResourceRecordSets", zone, record("www.example.org")},
		{"deploy-production", "route53:ListResourceRecordSets", zone, key()},
	}
	for _, a := range slices.Concat(of("test"), of("production"), names) {
		require.Equal(t, policy.Allowed, policy.Evaluate([]policy.Document{reviewed(t, a.who)},
			policy.Request{Action: a.action, Resource: a.resource, Keys: a.keys}), "%s: %s on %s", a.who, a.action, a.resource)
	}
}

func TestARolesRightsOnABucketAreThoseWithinItsBoundary(t *testing.T) {
	identity := func(own, boundary string) policy.Identity {
		limit := rolePolicy(t, statement(boundary))
		return policy.Identity{RoleARN: "arn:aws:iam::123456789012:role/r", AccessKeyID: "AKIA1",
			Policies: []policy.Document{rolePolicy(t, statement(own))}, Boundary: &limit}
	}
	for name, c := range map[string]struct{ own, boundary, want string }{
		"everything within less": {
			`{"Effect":"Allow","Action":"s3:*","Resource":"*"}`,
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/history/*"}`,
			`{"Effect":"Allow","Principal":{"AWS":["AKIA1"]},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::b/history/*"]}`,
		},
		"less within everything": {
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/history/*","Condition":{"Bool":{"aws:SecureTransport":"true"}}}`, `{"Effect":"Allow","Action":"*","Resource":"*"}`,
			`{"Effect":"Allow","Principal":{"AWS":["AKIA1"]},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::b/history/*"],"Condition":{"Bool":{"aws:SecureTransport":["true"]}}}`,
		},
		"a denial of the boundary": {
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}`,
			`[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/secret"}]`,
			`[{"Effect":"Allow","Principal":{"AWS":["AKIA1"]},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::b/*"]},
			  {"Effect":"Deny","Principal":{"AWS":["AKIA1"]},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::b/secret"]}]`,
		},
		"nothing in common": {
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
		"patterns that overlap": {`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*.json"}`,
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/history/*"}`},
		"a question mark": {`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/a*"}`,
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/a?"}`},
		"two conditions on one key": {
			`{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::b","Condition":{"StringLike":{"s3:prefix":"a*"}}}`,
			`{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::b","Condition":{"StringLike":{"s3:prefix":"ab*"}}}`,
		},
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			_, err := merged(t, "", []policy.Identity{identity(c.own, c.boundary)})
			require.ErrorContains(t, err, "localcloud cannot enforce")
		})
	}
}
