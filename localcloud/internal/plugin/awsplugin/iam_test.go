package awsplugin

import (
	"encoding/json"
	"strings"
	"testing"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/plugin/awsplugin/policy"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

func TestInvalidIAMResourcesAreRejected(t *testing.T) {
	s := newSite(t)
	for name, c := range map[string]struct {
		code, token string
		inputs      object
	}{
		"a duplicate role name": {"EntityAlreadyExists", "aws:iam/role:Role",
			object{"name": s.role.id, "assumeRolePolicy": trustEC2}},
		"an invalid role name": {"ValidationError", "aws:iam/role:Role",
			object{"name": "a b", "assumeRolePolicy": trustEC2}},
		"a session duration that is too short": {"ValidationError", "aws:iam/role:Role",
			object{"assumeRolePolicy": trustEC2, "maxSessionDuration": 60}},
		"a trust policy that is not JSON": {"MalformedPolicyDocument", "aws:iam/role:Role",
			object{"assumeRolePolicy": "trust me"}},
		"a trust policy without a principal": {"MalformedPolicyDocument", "aws:iam/role:Role",
			object{"assumeRolePolicy": readContent}},
		"a policy for a missing role": {"NoSuchEntity", "aws:iam/rolePolicy:RolePolicy",
			object{"role": "nobody", "policy": readContent}},
		"a policy with a principal": {"specifies a principal", "aws:iam/rolePolicy:RolePolicy",
			object{"role": s.role.id, "policy": denyInsecure}},
		"a policy that is too long": {"LimitExceeded", "aws:iam/rolePolicy:RolePolicy", object{
			"role": s.role.id, "policy": strings.ReplaceAll(readContent, "/*", "/"+strings.Repeat("a", maxRolePolicies)+"*"),
		}},
		"a profile for a missing role": {"NoSuchEntity", "aws:iam/instanceProfile:InstanceProfile", object{"role": "nobody"}},
		"a duplicate profile name": {"EntityAlreadyExists", "aws:iam/instanceProfile:InstanceProfile",
			object{"name": s.profile.id}},
		"an invalid path": {"ValidationError", "aws:iam/instanceProfile:InstanceProfile", object{"path": "site"}},
	} {
		t.Run(name, func(t *testing.T) { s.createFails(c.code, c.token, c.inputs) })
	}
}

func TestDeletingRoleRemovesItFromItsProfiles(t *testing.T) {
	s := newSite(t)
	require.NoError(t, s.delete(s.rolePolicy))
	s.grant("deploy", `[{"Effect":"Allow","Action":["iam:List*","iam:Get*","iam:DeleteRole"],"Resource":"*"}]`)
	restore := s.as("deploy")
	require.ErrorContains(t, s.delete(s.role), "iam:RemoveRoleFromInstanceProfile on resource: "+s.profile.get("arn"))
	restore()
	require.NoError(t, s.delete(s.role))
	require.True(t, s.refresh(s.profile))
	require.Empty(t, s.profile.get("role"))
	require.Nil(t, s.cloud.networkInterface(t, s.server.id).Metadata.Role)
}

func TestRefreshRemovesDeletedRoleFromProfile(t *testing.T) {
	s := newSite(t)
	require.NoError(t, s.plugin.store.Update(t.Context(), func(tx *store.Transaction) error {
		delete(tx.Roles, s.role.id)
		return nil
	}))
	s.grant("preview", `[{"Effect":"Allow","Action":["iam:List*","iam:Get*"],"Resource":"*"}]`)
	restore := s.as("preview")
	_, err := s.harness.server.Read(p.ReadRequest{
		ID: s.profile.id, Urn: s.profile.urn, Properties: s.profile.outputs, Inputs: s.profile.inputs,
	})
	require.ErrorContains(t, err, "iam:RemoveRoleFromInstanceProfile on resource: "+s.profile.get("arn"))
	restore()
	require.True(t, s.refresh(s.profile))
	require.Empty(t, s.profile.get("role"))
	require.Empty(t, s.state().InstanceProfiles[s.profile.id].Text("role"))
}

func TestRoleHasNoAccessUntilAServerUsesIt(t *testing.T) {
	s := newNetwork(t)
	s.content = s.create("aws:s3/bucketV2:BucketV2", "content", object{"bucket": "site-content"})
	s.role = s.create("aws:iam/role:Role", "server", object{"assumeRolePolicy": trustEC2})
	s.create("aws:iam/rolePolicy:RolePolicy", "server", object{"role": s.role.id, "policy": readContent})
	s.profile = s.create("aws:iam/instanceProfile:InstanceProfile", "server", object{"role": s.role.id})
	require.Empty(t, s.objects.accounts)
	require.Empty(t, s.objects.buckets["site-content"].policy)

	group := s.create("aws:ec2/securityGroup:SecurityGroup", "server", object{"vpcId": s.vpc.id})
	s.create("aws:ec2/instance:Instance", "server", object{
		"ami": testAMI, "instanceType": "t3.small", "subnetId": s.subnet.id, "iamInstanceProfile": s.profile.id,
		"vpcSecurityGroupIds": []string{group.id},
	})
	require.Len(t, s.objects.accounts, 1)
	require.NotEmpty(t, s.objects.buckets["site-content"].policy)
}

func TestRolePolicyChangesReachBucketsAtOnce(t *testing.T) {
	s := newSite(t)
	actions := func() string {
		var document policy.Document
		require.NoError(t, json.Unmarshal([]byte(s.objects.buckets["site-content"].policy), &document))
		var all []string
		for _, statement := range document.Statement {
			if statement.Effect == "Allow" {
				all = append(all, statement.Action...)
			}
		}
		return strings.Join(all, " ")
	}
	require.Equal(t, "s3:GetObject s3:ListBucket", actions())
	s.update(s.rolePolicy,
		object{"role": s.role.id, "policy": strings.Replace(readContent, "s3:GetObject", "s3:PutObject", 1)})
	require.Equal(t, "s3:PutObject s3:ListBucket", actions())
	require.NoError(t, s.delete(s.rolePolicy))
	require.Empty(t, actions())
}

func TestServerCanAccessBucketCreatedLater(t *testing.T) {
	s := newSite(t)
	s.create("aws:iam/rolePolicy:RolePolicy", "all", object{
		"role": s.role.id, "policy": strings.ReplaceAll(readContent, "site-content", "site-*"),
	})
	s.create("aws:s3/bucketV2:BucketV2", "late", object{"bucket": "site-late"})
	require.Contains(t, s.objects.buckets["site-late"].policy, "arn:aws:s3:::site-late/*")
}

func TestDeletedRoleIsRemovedFromBucketPolicies(t *testing.T) {
	s := newSite(t)
	role := s.create("aws:iam/role:Role", "other", object{"assumeRolePolicy": trustEC2})
	rolePolicy := s.create("aws:iam/rolePolicy:RolePolicy", "other", object{"role": role.id, "policy": readContent})
	profile := s.create("aws:iam/instanceProfile:InstanceProfile", "other", object{"role": role.id})
	server := s.create("aws:ec2/instance:Instance", "other", s.serverInputs(object{"iamInstanceProfile": profile.id}))
	account := s.cloud.networkInterface(t, server.id).Metadata.Role.AccessKeyID
	require.Contains(t, s.objects.buckets["site-content"].policy, account)

	require.NoError(t, s.delete(server))
	require.NoError(t, s.delete(profile))
	require.NoError(t, s.delete(rolePolicy))
	require.NoError(t, s.delete(role))
	require.NotContains(t, s.objects.buckets["site-content"].policy, account)
	require.NotContains(t, s.objects.accounts, account)
}
