package awsplugin

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

func TestEveryResourceTypeRequiresPermissions(t *testing.T) {
	h := newHarness(t)
	// An ARN, such as that of an OIDC provider, is a valid ID for every type.
	const id = "arn:aws:iam::123456789012:oidc-provider/example.com"
	require.NoError(t, h.plugin.run(t.Context(), func(op *operation) error {
		types, err := schema.Load()
		require.NoError(t, err)
		require.Len(t, h.plugin.kinds, len(types))
		for token := range types {
			k, ok := h.plugin.kinds[token]
			require.True(t, ok, "kinds has no entry for %s", token)
			for _, name := range []string{"create", "read", "update", "delete"} {
				for _, c := range k.calls(name, accessQuery{operation: op, id: id}) {
					require.Regexp(t, regexp.MustCompile(`^(ec2|iam|s3|route53):[A-Z][A-Za-z]+$`), c.action, "%s of %s", name, token)
					require.True(t, c.target.arn == "*" || strings.HasPrefix(c.target.arn, "arn:aws:"), "%s of %s: %s", name, token,
						c.target.arn)
				}
			}
			require.NotEmpty(t, k.Calls, token)
			require.NotEmpty(t, k.calls("create", accessQuery{operation: op}), token)
			require.NotEmpty(t, k.calls("read", accessQuery{operation: op, id: id}), token)
			require.NotEmpty(t, k.calls("delete", accessQuery{operation: op, id: id}), token)
		}
		return nil
	}))
}

// grant creates a role with one inline policy that consists of the statements.
func (h *harness) grant(name, statements string) *resource {
	h.t.Helper()
	role := h.create("aws:iam/role:Role", name, object{"name": name, "assumeRolePolicy": trustEC2})
	h.create("aws:iam/rolePolicy:RolePolicy", name, object{
		"name": name, "role": role.id, "policy": `{"Version":"2012-10-17","Statement":` + statements + `}`,
	})
	return role
}

func TestReadOnlyRoleCanRefreshButChangeNothing(t *testing.T) {
	s := newSite(t)
	association := s.moveVIP(s.server)
	s.grant("preview", `{"Effect":"Allow","Action":["ec2:Describe*","iam:Get*","iam:List*","route53:Get*","route53:List*",
		"s3:GetBucket*","s3:GetAccelerateConfiguration","s3:GetLifecycleConfiguration","s3:GetReplicationConfiguration",
		"s3:GetEncryptionConfiguration","s3:ListBucket"],"Resource":"*"}`)
	defer s.as("preview")()
	before := s.state()
	all := []*resource{
		association, s.vip, s.server, s.group, s.profile, s.rolePolicy, s.role, s.lifecycle, s.tls, s.ownership,
		s.block, s.encryption,
		s.versioning, s.content, s.endpoint, s.association, s.table, s.subnet, s.gateway, s.vpc,
	}
	for _, r := range all {
		require.True(t, s.refresh(r), r.urn)
		code := "AccessDenied"
		if strings.HasPrefix(string(r.urn.Type()), "aws:ec2/") {
			code = "UnauthorizedOperation"
		}
		require.ErrorContains(t, s.delete(r), code, r.urn)
		_, err := s.harness.server.Create(p.CreateRequest{Urn: r.urn, Properties: r.inputs})
		require.ErrorContains(t, err, code, r.urn)
	}
	require.ErrorContains(t, s.tryUpdate(s.server, s.serverInputs(object{"tags": object{"Name": "another"}}), false),
		"is not authorized to perform: ec2:CreateTags on resource: "+s.server.get("arn"))
	require.NoError(t, s.tryUpdate(s.server, s.serverInputs(object{"tags": object{"Name": "another"}}), true),
		"a preview needs no permissions")
	require.Equal(t, before, s.state())
}

func TestRoleLimitedToOneRegionCanCreateAndDestroyEverything(t *testing.T) {
	s := &site{harness: newHarness(t)}
	s.grant("deploy", `[
		{"Effect":"Allow","Action":["ec2:*","s3:*"],"Resource":"*",
			"Condition":{"StringEquals":{"aws:RequestedRegion":"us-east-1"}}},
		{"Effect":"Allow","Action":"iam:*","Resource":["arn:aws:iam::123456789012:role/server-*","arn:aws:iam::123456789012:instance-profile/server-*"]}]`)
	defer s.as("deploy")()
	s.createSite()
	s.destroySite()
}

func TestAccessDeniedMatchesAWSAndPrecedesAnyChange(t *testing.T) {
	s := newSite(t)
	s.grant("deploy", `{"Effect":"Allow","Action":["ec2:*"],"Resource":"*"}`)
	restore := s.as("deploy")
	_, err := s.tryCreate("aws:ec2/instance:Instance", "second", s.serverInputs())
	require.ErrorContains(t, err,
		"AccessDenied: User: arn:aws:sts::123456789012:assumed-role/deploy/localcloud is not authorized to perform: "+
			"iam:PassRole on resource: "+s.role.get("arn")+" because no identity-based policy allows the iam:PassRole action")
	require.Len(t, s.cloud.instances, 1)
	_, err = s.tryCreate("aws:s3/bucketV2:BucketV2", "second", object{"bucket": "second"})
	require.ErrorContains(t, err, "s3:CreateBucket on resource: arn:aws:s3:::second")
	require.ErrorContains(t, err, "s3:GetBucketPolicy on arn:aws:s3:::second", "all missing permissions are listed")
	require.NotContains(t, s.objects.buckets, "second")
	restore()

	s.create("aws:iam/rolePolicy:RolePolicy", "pass", object{"name": "pass", "role": "deploy", "policy": object{
		"Version": "2012-10-17",
		"Statement": []object{{
			"Effect": "Allow", "Action": "iam:PassRole", "Resource": s.role.get("arn"),
			"Condition": object{"StringEquals": object{"iam:PassedToService": "ec2.amazonaws.com"}},
		}},
	}})
	defer s.as("deploy")()
	second := s.create("aws:ec2/instance:Instance", "second", s.serverInputs())
	s.update(second, s.serverInputs(object{"tags": object{"Name": "renamed"}}))
	require.NoError(t, s.delete(second))
}

func TestTagConditionsLimitRoleToItsResources(t *testing.T) {
	s := newSite(t)
	s.grant("deploy", `[
		{"Effect":"Allow","Action":"ec2:Describe*","Resource":"*"},
		{"Effect":"Allow","Action":"ec2:CreateVpc","Resource":"*",
			"Condition":{"StringEquals":{"aws:RequestTag/Stack":"local","aws:RequestedRegion":"us-east-1"}}},
		{"Effect":"Allow","Action":"ec2:CreateTags","Resource":"arn:aws:ec2:*:123456789012:vpc/*",
			"Condition":{"StringEquals":{"ec2:CreateAction":"CreateVpc"}}},
		{"Effect":"Allow","Action":["ec2:ModifyVpcAttribute","ec2:DeleteVpc","ec2:CreateTags"],"Resource":"*",
			"Condition":{"StringEquals":{"aws:ResourceTag/Stack":"local"}}}]`)
	defer s.as("deploy")()
	_, err := s.tryCreate("aws:ec2/vpc:Vpc", "untagged", object{"cidrBlock": "10.1.0.0/16"})
	require.ErrorContains(t, err, "ec2:CreateVpc on resource: arn:aws:ec2:us-east-1:123456789012:vpc/*")
	_, err = s.tryCreate("aws:ec2/vpc:Vpc", "other",
		object{"cidrBlock": "10.1.0.0/16", "tags": object{"Stack": "production"}})
	require.ErrorContains(t, err, "ec2:CreateVpc")
	inputs := object{"cidrBlock": "10.1.0.0/16", "enableDnsHostnames": true, "tags": object{"Stack": "local"}}
	own := s.create("aws:ec2/vpc:Vpc", "own", inputs)
	require.ErrorContains(t, s.delete(s.vpc), "ec2:DeleteVpc on resource: "+s.vpc.get("arn"))
	inputs["tags"] = object{"Stack": "local", "Name": "site"}
	s.update(own, inputs)
	inputs["tags"] = object{"Stack": "local"}
	require.ErrorContains(t, s.tryUpdate(own, inputs, false), "ec2:DeleteTags on resource: "+own.get("arn"))
	require.NoError(t, s.delete(own))
}

func TestTagsAreRemovedBeforeNewTagsAreAuthorized(t *testing.T) {
	s := newSite(t)
	s.grant("deploy", `[
		{"Effect":"Allow","Action":["ec2:Describe*","ec2:CreateVpc","iam:Get*","iam:List*","iam:CreateRole"],"Resource":"*"},
		{"Effect":"Allow","Action":["ec2:CreateTags","ec2:DeleteTags","iam:TagRole","iam:UntagRole"],"Resource":"*",
			"Condition":{"StringEquals":{"aws:ResourceTag/Stack":"local"}}},
		{"Effect":"Allow","Action":"iam:TagRole","Resource":"*",
			"Condition":{"StringEquals":{"aws:RequestTag/Stack":"local"}}},
		{"Effect":"Allow","Action":"ec2:CreateTags","Resource":"*",
			"Condition":{"StringEquals":{"ec2:CreateAction":"CreateVpc"}}}]`)
	defer s.as("deploy")()
	for token, c := range map[string]struct {
		inputs  object
		refusal string
	}{
		"aws:ec2/vpc:Vpc":   {object{"cidrBlock": "10.1.0.0/16"}, "not authorized to perform: ec2:CreateTags"},
		"aws:iam/role:Role": {object{"assumeRolePolicy": trustEC2}, "not authorized to perform: iam:TagRole"},
	} {
		tagged := func(tags object) object {
			with := maps.Clone(c.inputs)
			with["tags"] = tags
			return with
		}
		r := s.create(token, "tagged", tagged(object{"Stack": "local", "Old": "1"}))
		s.update(r, tagged(object{"Stack": "local", "New": "1"}))
		err := s.tryUpdate(r, tagged(object{"New": "2"}), false)
		require.ErrorContains(t, err, c.refusal, "the provider removes the tag Stack before it sets the new tags")
	}
}

func TestBucketPolicyAppliesToProviderCalls(t *testing.T) {
	s := newSite(t)
	s.grant("deploy", `{"Effect":"Allow","Action":"s3:*","Resource":"*"}`)
	s.grant("other", `{"Effect":"Allow","Action":"s3:Get*","Resource":"*"}`)
	restore := s.as("other")
	require.True(t, s.refresh(s.tls))
	require.ErrorContains(t, s.delete(s.tls), "because no identity-based policy allows the s3:DeleteBucketPolicy action")
	restore()
	s.update(s.tls, object{"bucket": s.content.id, "policy": object{"Version": "2012-10-17", "Statement": []object{
		{"Effect": "Deny", "Principal": object{"AWS": "*"}, "Action": "s3:DeleteBucketPolicy",
			"Resource": s.content.get("arn")},
	}}})
	defer s.as("deploy")()
	require.True(t, s.refresh(s.tls))
	require.ErrorContains(t, s.delete(s.tls),
		"s3:DeleteBucketPolicy on resource: arn:aws:s3:::site-content with an explicit deny")
}

func TestInvalidCredentialsAreRejected(t *testing.T) {
	s := newSite(t)
	for want, given := range map[string]store.Account{
		"MissingAuthenticationToken": {},
		"InvalidClientTokenId":       {AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: s.root.SecretAccessKey},
		"SignatureDoesNotMatch":      {AccessKeyID: s.root.AccessKeyID, SecretAccessKey: "another"},
	} {
		s.given = given
		_, err := s.tryCreate("aws:ec2/eip:Eip", "another", object{"domain": "vpc"})
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "make -s env")
		require.ErrorContains(t, s.delete(s.vip), want)
		require.ErrorContains(t, s.harness.server.Configure(p.ConfigureRequest{Args: toMap(object{"region": "us-east-1"})}),
			want)
	}
	s.given = s.root
	require.True(t, s.refresh(s.vip))
}

func TestCallerIsIdentifiedByAccessKey(t *testing.T) {
	h := newHarness(t)
	h.grant("preview", `{"Effect":"Deny","Action":"*","Resource":"*"}`)
	arn := func() string {
		who, err := h.plugin.identify(h.state())
		require.NoError(t, err)
		return who.ARN
	}
	require.Equal(t, "arn:aws:iam::123456789012:user/localcloud", arn())
	restore := h.as("preview")
	require.Equal(t, "arn:aws:sts::123456789012:assumed-role/preview/localcloud", arn())
	restore()
}

func TestUnknownRoleErrorListsExistingRoles(t *testing.T) {
	h := newHarness(t)
	_, err := h.plugin.roleAccount(t.Context(), "preview")
	require.ErrorContains(t, err, `no role "preview"; no roles exist yet`)
	h.grant("deploy", `{"Effect":"Allow","Action":"s3:ListBucket","Resource":"*"}`)
	h.grant("drill", `{"Effect":"Allow","Action":"s3:ListBucket","Resource":"*"}`)
	_, err = h.plugin.roleAccount(t.Context(), "preview")
	require.ErrorContains(t, err, `no role "preview"; existing roles: deploy, drill`)
	first, err := h.plugin.roleAccount(t.Context(), "deploy")
	require.NoError(t, err)
	again, err := h.plugin.roleAccount(t.Context(), "deploy")
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.Equal(t, map[string]string{first.AccessKeyID: first.SecretAccessKey}, h.objects.accounts)
}

func TestRoleCanAccessUnmanagedBuckets(t *testing.T) {
	h := newHarness(t)
	const foreign = `{"Version":"2012-10-17","Statement":{"Sid":"TLS","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::state/*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}}`
	h.objects.buckets["state"] = &fakeBucket{policy: foreign}
	h.grant("preview", `{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::state/*"}`)
	require.Equal(t, foreign, h.objects.buckets["state"].policy, "the role has no account yet")
	account, err := h.plugin.roleAccount(t.Context(), "preview")
	require.NoError(t, err)
	require.Contains(t, h.objects.buckets["state"].policy, account.AccessKeyID)
	require.Contains(t, h.objects.buckets["state"].policy, "TLS")

	h.objects.buckets["late"] = &fakeBucket{}
	h.grant("all", `{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::late/*"}`)
	all, err := h.plugin.roleAccount(t.Context(), "all")
	require.NoError(t, err)
	require.Contains(t, h.objects.buckets["late"].policy, all.AccessKeyID)
}

func TestEveryPermissionClauseIsValid(t *testing.T) {
	h := newHarness(t)
	special := func(k *kind, word string) (known bool) {
		require.NoError(t, h.plugin.run(t.Context(), func(op *operation) error {
			_, known = accessQuery{operation: op, kind: k}.special(word)
			return nil
		}))
		return known
	}
	targets := []string{"self", "new", "objects", "zone", "image", "newInterface", "newVolume"}
	for token, k := range h.plugin.kinds {
		for phase, clauses := range k.Calls {
			require.Contains(t, []string{"create", "read", "update", "delete"}, phase, token)
			for _, clause := range clauses {
				conditions, body, conditional := strings.Cut(clause, ": ")
				if !conditional {
					conditions, body = "", clause
				}
				words := strings.Fields(conditions)
				require.Zero(t, len(words)%2, "%s: %s", token, clause)
				for condition := range slices.Chunk(words, 2) {
					require.Contains(t, []string{"given", "changed", "has"}, condition[0], "%s: %s", token, clause)
					property, _, _ := strings.Cut(condition[1], ".")
					require.True(t, k.Inputs[property] != nil || slices.Contains(k.Outputs, property), "%s: %s", token, clause)
				}
				for word := range strings.FieldsSeq(body) {
					name, isTarget := strings.CutPrefix(word, "@")
					switch {
					case isTarget && !slices.Contains(targets, name):
						require.Contains(t, k.Inputs, name, "%s: %s", token, clause)
						require.NotEmpty(t, k.Inputs[name].RefersTo, "%s: %s", token, clause)
					case !isTarget && !strings.Contains(word, ":"):
						require.True(t, special(k, word), "%s: %s", token, clause)
					}
				}
			}
		}
	}
}

func TestEveryReferenceNamesAnExistingType(t *testing.T) {
	kinds := newHarness(t).plugin.kinds
	for token, k := range kinds {
		for name, input := range k.Inputs {
			if input.RefersTo != "" {
				require.Contains(t, kinds, input.RefersTo, "%s of %s", name, token)
				require.NotEmpty(t, kinds[input.RefersTo].Missing, "no AWS error for a missing %s", input.RefersTo)
			}
		}
	}
}
