package awsplugin

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// reviewedPolicy reads the reviewed test data for a policy that the program in ops/access creates, for the local
// cloud's region.
func reviewedPolicy(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../../../ops/access/permissions/testdata/" + name + ".json")
	require.NoError(t, err)
	return strings.ReplaceAll(string(text), "eu-central-1", "us-east-1")
}

func TestDeployRoleCannotEscalatePrivileges(t *testing.T) {
	const (
		roleType, policyType = "aws:iam/role:Role", "aws:iam/rolePolicy:RolePolicy"
		everything           = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`
	)
	h := newHarness(t)
	boundary := h.create("aws:iam/policy:Policy", "boundary",
		object{"name": "immutable-infra-server-test", "policy": reviewedPolicy(t, "server-test")})
	other := h.create("aws:iam/policy:Policy", "other", object{"name": "other", "policy": everything})
	require.Equal(t, "arn:aws:iam::123456789012:policy/immutable-infra-server-test", boundary.id)
	h.create(roleType, "deploy", object{"name": "deploy", "assumeRolePolicy": trustEC2})
	h.create(policyType, "deploy", object{"name": "deploy", "role": "deploy", "policy": reviewedPolicy(t, "deploy-test")})
	server := func(changes object) object {
		inputs := object{"name": "web", "path": "/immutable-infra/test/", "assumeRolePolicy": trustEC2,
			"permissionsBoundary": boundary.id}
		for name, value := range changes {
			inputs[name] = value
		}
		return inputs
	}
	unbounded := object{"name": "old", "path": "/immutable-infra/test/", "assumeRolePolicy": trustEC2}
	old := h.create(roleType, "old", unbounded)

	restore := h.as("deploy")
	for name, inputs := range map[string]object{
		"no boundary":          {"name": "web", "path": "/immutable-infra/test/", "assumeRolePolicy": trustEC2},
		"another boundary":     server(object{"permissionsBoundary": other.id}),
		"another path":         server(object{"path": "/"}),
		"another stack's path": server(object{"path": "/immutable-infra/production/"}),
	} {
		_, err := h.tryCreate(roleType, "web", inputs)
		require.ErrorContains(t, err, "AccessDenied", name)
		require.ErrorContains(t, err, "iam:CreateRole", name)
	}
	role := h.create(roleType, "web", server(nil))
	_, err := h.tryCreate(policyType, "escalate", object{"name": "all", "role": "deploy", "policy": everything})
	require.ErrorContains(t, err, "iam:PutRolePolicy")
	_, err = h.tryCreate(policyType, "old", object{"name": "all", "role": old.id, "policy": everything})
	require.ErrorContains(t, err, "iam:PutRolePolicy on resource: "+old.get("arn")+" with an explicit deny")
	withoutBoundary := server(nil)
	delete(withoutBoundary, "permissionsBoundary")
	require.ErrorContains(t, h.tryUpdate(role, withoutBoundary, false), "iam:DeleteRolePermissionsBoundary")
	require.ErrorContains(t, h.tryUpdate(role, server(object{"permissionsBoundary": other.id}), false),
		"iam:PutRolePermissionsBoundary")
	require.ErrorContains(t, h.tryUpdate(role, server(object{"assumeRolePolicy": strings.Replace(trustEC2, "ec2.",
		"lambda.", 1)}), false), "iam:UpdateAssumeRolePolicy")
	require.ErrorContains(t, h.tryUpdate(boundary, object{"name": "immutable-infra-server-test", "policy": everything},
		false), "iam:CreatePolicyVersion")
	require.ErrorContains(t, h.delete(boundary), "iam:DeletePolicy")

	// A role that predates boundaries gets one without being replaced, and can then have policies.
	unbounded["permissionsBoundary"] = boundary.id
	h.update(old, unbounded)
	h.create(policyType, "old", object{"name": "all", "role": old.id, "policy": everything})
	require.True(t, h.refresh(old))
	require.Equal(t, boundary.id, old.get("permissionsBoundary"))
	restore()

	require.ErrorContains(t, h.delete(boundary), "DeleteConflict")
	h.createFails("NoSuchEntity", roleType,
		server(object{"name": "late", "permissionsBoundary": "arn:aws:iam::123456789012:policy/missing"}))
	h.createFails("EntityAlreadyExists", "aws:iam/policy:Policy", object{"name": "other", "policy": everything})
	h.createFails("LimitExceeded", "aws:iam/policy:Policy",
		object{"policy": strings.Replace(everything, `"*"`, `"ec2:`+strings.Repeat("a", maxManagedPolicy)+`"`, 1)})
	h.createFails("MalformedPolicyDocument", "aws:iam/policy:Policy", object{"policy": "{}"})
}

func TestBoundaryLimitsServerRole(t *testing.T) {
	s := newSite(t)
	own := s.create("aws:s3/bucketV2:BucketV2", "own", object{"bucket": "test-backup-1"})
	s.create("aws:s3/bucketV2:BucketV2", "foreign", object{"bucket": "payroll"})
	boundary := s.create("aws:iam/policy:Policy", "boundary",
		object{"name": "boundary", "policy": reviewedPolicy(t, "server-test")})
	const everything = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`
	s.create("aws:iam/role:Role", "web",
		object{"name": "web", "assumeRolePolicy": trustEC2, "permissionsBoundary": boundary.id})
	s.create("aws:iam/rolePolicy:RolePolicy", "web", object{"name": "web", "role": "web", "policy": everything})
	defer s.as("web")()
	account := s.given.AccessKeyID

	require.NotContains(t, s.objects.buckets["payroll"].policy, account)
	policy := s.objects.buckets[own.id].policy
	require.Contains(t, policy, account)
	require.Contains(t, policy, `"s3:PutObject"`)
	require.NotContains(t, policy, `"s3:DeleteObjectVersion"`)
	_, err := s.tryCreate("aws:s3/bucketV2:BucketV2", "mine", object{"bucket": "mine"})
	require.ErrorContains(t, err, "because no permissions boundary allows the s3:CreateBucket action")

	// An administrator's change of the boundary takes effect at once.
	s.given = s.root
	s.update(boundary, object{
		"name":   "boundary",
		"policy": strings.Replace(reviewedPolicy(t, "server-test"), `"s3:PutObject"`, `"s3:GetObject"`, 1),
	})
	require.NotContains(t, s.objects.buckets[own.id].policy, `"s3:PutObject"`)
}
