package policy_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/plugin/awsplugin/policy"
)

func statement(s string) string { return `{"Version":"2012-10-17","Statement":` + s + `}` }

func rolePolicy(t *testing.T, text string) policy.Document {
	t.Helper()
	document, err := policy.RolePolicy(text)
	require.NoError(t, err)
	return document
}

// merged returns bucket b's policy for the S3 server, without the Sids that Merge generates.
func merged(t *testing.T, own string, identities []policy.Identity) (string, error) {
	t.Helper()
	document, err := policy.Merge("b", own, identities)
	return regexp.MustCompile(`"Sid":"LocalcloudRole\d+",`).ReplaceAllString(document, ""), err
}

func TestRolePolicyTranslatesToBucketPolicy(t *testing.T) {
	for name, c := range map[string]struct{ statement, want string }{
		"objects": {
			`{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::b/*"}`,
			`[{"Effect":"Allow","Principal":{"AWS":["AKIA1"]},"Action":["s3:GetObject","s3:PutObject"],"Resource":["arn:aws:s3:::b/*"]}]`,
		},
		"the bucket and its objects in one statement": {
			`{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::b","arn:aws:s3:::b/in/*"]}`,
			`[{"Effect":"Allow","Principal":{"AWS":["AKIA1"]},"Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::b"]},
			  {"Effect":"Allow","Principal":{"AWS":["AKIA1"]},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::b/in/*"]}]`,
		},
		"an object action on the bucket grants nothing": {
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b"}`, ``,
		},
		"a bucket action on objects grants nothing": {
			`{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::b/*"}`, ``,
		},
		"another bucket": {
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::bb/*"}`, ``,
		},
		"a bucket pattern": {
			`{"Effect":"Allow","Action":"s3:ListBucket*","Resource":"arn:aws:s3:::?"}`,
			`[{"Effect":"Allow","Principal":{"AWS":["AKIA1"]},"Action":["s3:ListBucket","s3:ListBucketMultipartUploads","s3:ListBucketVersions"],"Resource":["arn:aws:s3:::b"]}]`,
		},
		"everything": {
			`{"Effect":"Deny","Action":["s3:DeleteObjectVersion","s3:getbucketlocation"],"Resource":"*"}`,
			`[{"Effect":"Deny","Principal":{"AWS":["AKIA1"]},"Action":["s3:GetBucketLocation"],"Resource":["arn:aws:s3:::b"]},
			  {"Effect":"Deny","Principal":{"AWS":["AKIA1"]},"Action":["s3:DeleteObjectVersion"],"Resource":["arn:aws:s3:::b/*"]}]`,
		},
		"a region condition that holds is dropped": {
			`{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*","Condition":{"StringEquals":{"aws:RequestedRegion":"us-east-1"},"Bool":{"aws:SecureTransport":true}}}`,
			`[{"Effect":"Allow","Principal":{"AWS":["AKIA1"]},"Action":["s3:PutObject"],"Resource":["arn:aws:s3:::b/*"],"Condition":{"Bool":{"aws:SecureTransport":["true"]}}}]`,
		},
		"a region condition that does not hold grants nothing": {
			`{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*","Condition":{"StringEquals":{"aws:RequestedRegion":"eu-central-1"}}}`, ``,
		},
		"NotAction": {
			`{"Effect":"Deny","NotAction":["s3:Get*","s3:List*","s3:Put*","s3:DeleteBucket*","s3:DeleteObjectTagging","s3:DeleteObjectVersion*"],"Resource":"*"}`,
			`[{"Effect":"Deny","Principal":{"AWS":["AKIA1"]},"Action":["s3:AbortMultipartUpload","s3:BypassGovernanceRetention","s3:DeleteObject","s3:RestoreObject"],"Resource":["arn:aws:s3:::b/*"]}]`,
		},
		"another service": {
			`{"Effect":"Allow","Action":["ec2:*","s3:ListAllMyBuckets","s3:CreateBucket"],"Resource":"*"}`, ``,
		},
		"a prefix condition applies to lists only": {
			`{"Effect":"Allow","Action":["s3:ListBucket","s3:GetBucketLocation","s3:GetObject"],"Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"],"Condition":{"StringLike":{"s3:prefix":"in/*"}}}`,
			`[{"Effect":"Allow","Principal":{"AWS":["AKIA1"]},"Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::b"],"Condition":{"StringLike":{"s3:prefix":["in/*"]}}}]`,
		},
		"a prefix condition": {
			`{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::b","Condition":{"StringLike":{"s3:prefix":"in/*"}}}`,
			`[{"Effect":"Allow","Principal":{"AWS":["AKIA1"]},"Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::b"],"Condition":{"StringLike":{"s3:prefix":["in/*"]}}}]`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			identity := policy.Identity{AccessKeyID: "AKIA1", Policies: []policy.Document{rolePolicy(t, statement(c.statement))}}
			effective, err := merged(t, "", []policy.Identity{identity})
			require.NoError(t, err)
			if c.want == "" {
				require.Empty(t, effective)
				return
			}
			require.JSONEq(t, statement(c.want), effective)
		})
	}
}

func TestBucketPolicyIsMergedWithRolePolicies(t *testing.T) {
	const own = `{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"],
		"Condition":{"Bool":{"aws:SecureTransport":false}}}`
	_, err := policy.BucketPolicy("b", statement(own))
	require.NoError(t, err)
	reads := []policy.Document{rolePolicy(t, statement(`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}`))}
	effective, err := merged(t, statement(own), []policy.Identity{
		{RoleARN: "arn:aws:iam::123456789012:role/a", AccessKeyID: "AKIA1", Policies: reads},
		{RoleARN: "arn:aws:iam::123456789012:role/unused", Policies: reads},
	})
	require.NoError(t, err)
	require.JSONEq(t, statement(`[`+own+`,
		{"Effect":"Allow","Principal":{"AWS":["AKIA1"]},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::b/*"]}]`), effective)
}

func TestUnenforceablePolicyElementsAreRejectedByName(t *testing.T) {
	for name, c := range map[string]struct{ statement, want string }{
		"an action without its service": {`[{"Effect":"Allow","Action":"ChangeResourceRecordSets","Resource":"*"}]`, `statement 1 has Action "ChangeResourceRecordSets"`},
		"an action of any service":      {`{"Effect":"Allow","Action":"*:Get*","Resource":"*"}`, `has Action "*:Get*"`},
		"a misspelled action":           {`[{"Sid":"Read","Effect":"Allow","Action":"s3:GetObjct","Resource":"*"}]`, `statement "Read" has Action "s3:GetObjct"`},
		"NotAction with Action": {
			`{"Effect":"Allow","Action":"s3:PutObject","NotAction":"s3:GetObject","Resource":"*"}`, "both Action and NotAction",
		},
		"NotResource with Resource": {`{"Effect":"Allow","Action":"ec2:*","Resource":"*","NotResource":"*"}`,
			"both Resource and NotResource"},
		"NotResource that covers S3 actions": {`{"Effect":"Deny","NotAction":"ec2:*","NotResource":"*"}`,
			"NotResource for S3 actions"},
		"NotResource":          {`{"Effect":"Allow","Action":"s3:GetObject","NotResource":"*"}`, "NotResource"},
		"an unknown condition": {`{"Effect":"Allow","Action":"s3:GetObject","Resource":"*","Condition":{"StringEquals":{"aws:SourceVpce":"vpce-1"}}}`, `Condition StringEquals on "aws:SourceVpce"`},
		"another kind of resource": {
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:us-east-1:1:accesspoint/a"}`, "has Resource",
		},
		"an unknown operator": {`{"Effect":"Allow","Action":"ec2:*","Resource":"*","Condition":{"StringLikeIfExists":{"aws:RequestedRegion":"us-east-1"}}}`, "Condition StringLikeIfExists"},
		"a missing tag key":   {`{"Effect":"Allow","Action":"ec2:*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/":"x"}}}`, `on "aws:ResourceTag/"`},
		"a variable":          {`{"Effect":"Allow","Action":"ec2:*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/who":"${aws:username}"}}}`, "policy variable"},
		"a variable in a resource": {
			`{"Effect":"Allow","Action":"iam:*","Resource":"arn:aws:iam::123456789012:user/${aws:username}"}`, "policy variable",
		},
		"a name instead of an ARN": {`{"Effect":"Allow","Action":"iam:PassRole","Resource":"server"}`, `Resource "server"`},
		"a resource of any service": {`{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:*:*:*:*"}`,
			`Resource "arn:aws:*:*:*:*"`},
		"no resource":          {`{"Effect":"Allow","Action":"s3:GetObject"}`, "has no Resource"},
		"no action":            {`{"Effect":"Allow","Resource":"*"}`, "has no Action"},
		"a misspelled effect":  {`{"Effect":"allow","Action":"s3:GetObject","Resource":"*"}`, `has Effect "allow"`},
		"a misspelled element": {`{"Effect":"Allow","Actions":"s3:GetObject","Resource":"*"}`, `unknown field "Actions"`},
		"no statement":         {`[]`, "has no Statement"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := policy.RolePolicy(statement(c.statement))
			require.ErrorContains(t, err, c.want)
		})
	}
	for name, c := range map[string]struct{ statement, want string }{
		"no principal": {`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}`,
			"has no Principal"},
		"a service principal": {`{"Effect":"Allow","Principal":{"Service":"logging.s3.amazonaws.com"},"Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*"}`, "principal of kind Service"},
		"a role": {`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:role/a"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}`,
			"localcloud supports only"},
		"the whole account": {`{"Effect":"Deny","Principal":{"AWS":"123456789012"},"Action":"s3:*","Resource":"arn:aws:s3:::b"}`,
			"localcloud supports only"},
		"another bucket": {`{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::bb/*"}`,
			"not in bucket"},
		"a named principal": {`{"Effect":"Allow","Principal":"me","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}`,
			`principal "me"`},
		"NotPrincipal": {`{"Effect":"Deny","Principal":"*","NotPrincipal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}`, "NotPrincipal"},
	} {
		t.Run("bucket policy: "+name, func(t *testing.T) {
			_, err := policy.BucketPolicy("b", statement(c.statement))
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestOnlyAllowForEveryoneIsPublic(t *testing.T) {
	for text, public := range map[string]bool{
		`{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}`:         true,
		`{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}`: true,
		`{"Effect":"Deny","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}`:          false,
	} {
		document, err := policy.BucketPolicy("b", statement(text))
		require.NoError(t, err)
		require.Equal(t, public, document.IsPublic(), text)
	}
}

func TestOnlyRolesTrustingEC2AreUsableByInstances(t *testing.T) {
	trust := statement(`{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}`)
	for text, trusts := range map[string]bool{
		trust: true,
		strings.Replace(trust, "ec2.", "lambda.", 1):               false,
		strings.Replace(trust, "Allow", "Deny", 1):                 false,
		strings.Replace(trust, "sts:AssumeRole", "sts:TagRole", 1): false,
	} {
		document, err := policy.TrustPolicy(text)
		require.NoError(t, err)
		require.Equal(t, trusts, document.TrustsEC2(), text)
	}
}

func TestPolicyEvaluation(t *testing.T) {
	const instance = "arn:aws:ec2:us-east-1:123456789012:instance/i-0123456789abcdef0"
	run := policy.Request{Action: "ec2:RunInstances", Resource: instance, Keys: map[string]string{
		"aws:requestedregion": "us-east-1", "aws:requesttag/stack": "local", "aws:securetransport": "true",
	}}
	for name, c := range map[string]struct {
		statements string
		request    policy.Request
		want       policy.Decision
	}{
		"no matching statement": {`[{"Effect":"Allow","Action":"ec2:DescribeVpcs","Resource":"*"}]`, run,
			policy.NotAllowed},
		"action pattern matches": {`[{"Effect":"Allow","Action":"ec2:r*Instances","Resource":"*"}]`, run,
			policy.Allowed},
		"everything": {`[{"Effect":"Allow","Action":"*","Resource":"*"}]`, run, policy.Allowed},
		"action excluded by NotAction": {`[{"Effect":"Allow","NotAction":["iam:*","ec2:Run*"],"Resource":"*"}]`, run,
			policy.NotAllowed},
		"action not excluded by NotAction": {
			`[{"Effect":"Allow","NotAction":"ec2:Terminate*","Resource":"arn:aws:ec2:*:*:instance/*"}]`, run, policy.Allowed,
		},
		"resource pattern matches": {`[{"Effect":"Allow","Action":"ec2:*","Resource":"arn:aws:ec2:us-east-1:123456789012:instance/i-?123*"}]`, run, policy.Allowed},
		"resource pattern does not match": {`[{"Effect":"Allow","Action":"ec2:*","Resource":"arn:aws:ec2:*:*:vpc/*"}]`,
			run, policy.NotAllowed},
		"resource not excluded by NotResource": {
			`[{"Effect":"Allow","Action":"ec2:*","NotResource":"arn:aws:ec2:*:*:vpc/*"}]`, run, policy.Allowed,
		},
		"action without a resource does not match an ARN": {
			`[{"Effect":"Allow","Action":"ec2:*","Resource":"arn:aws:ec2:*:*:*"}]`,
			policy.Request{Action: "ec2:DescribeVpcs", Resource: "*"}, policy.NotAllowed,
		},
		"denial overrides allow": {
			`[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"ec2:RunInstances","Resource":"*"},{"Effect":"Allow","Action":"*","Resource":"*"}]`, run, policy.Denied,
		},
		"denial whose condition does not hold": {
			`[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}]`, run, policy.Allowed,
		},
		"condition key matches": {
			`[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"AWS:RequestedRegion":["eu-central-1","us-east-1"]}}}]`, run, policy.Allowed,
		},
		"tag has another value": {
			`[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:RequestTag/stack":"production"}}}]`, run, policy.NotAllowed,
		},
		"one of two conditions does not hold": {
			`[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:RequestTag/stack":"local"},"StringLike":{"aws:RequestedRegion":"eu-*"}}}]`, run, policy.NotAllowed,
		},
		"condition key missing from the request": {
			`[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringLike":{"aws:ResourceTag/stack":"*"}}}]`, run,
			policy.NotAllowed,
		},
		"missing key satisfies StringNotEquals": {
			`[{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringNotEquals":{"aws:ResourceTag/stack":"local"}}}]`,
			run, policy.Denied,
		},
		"missing key satisfies IfExists": {
			`[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEqualsIfExists":{"aws:ResourceTag/stack":"local"}}}]`, run, policy.Allowed,
		},
		"another value does not satisfy IfExists": {
			`[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEqualsIfExists":{"aws:RequestTag/stack":"test"}}}]`, run, policy.NotAllowed,
		},
		"listed value does not satisfy StringNotEquals": {
			`[{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringNotEquals":{"aws:RequestTag/stack":["local","test"]}}}]`, run, policy.NotAllowed,
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, policy.Evaluate([]policy.Document{rolePolicy(t, statement(c.statements))}, c.request))
		})
	}
}

func TestMergePreservesForeignStatements(t *testing.T) {
	identity := policy.Identity{AccessKeyID: "AKIA1", Policies: []policy.Document{
		rolePolicy(t, statement(`{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"]}`)),
	}}
	const foreign = `{"Sid":"TLS","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::b/*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}`
	const roles = `{"Sid":"LocalcloudRole1","Effect":"Allow","Principal":{"AWS":["AKIA1"]},"Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::b"]},
		{"Sid":"LocalcloudRole2","Effect":"Allow","Principal":{"AWS":["AKIA1"]},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::b/*"]}`
	for before, after := range map[string]string{
		"":                             statement(`[` + roles + `]`),
		statement(foreign):             statement(`[` + foreign + `,` + roles + `]`),
		statement(`[` + foreign + `]`): statement(`[` + foreign + `,` + roles + `]`),
		statement(`[` + roles + `,` + foreign + `]`): statement(`[` + foreign + `,` + roles + `]`),
	} {
		once, err := policy.Merge("b", before, []policy.Identity{identity})
		require.NoError(t, err)
		require.JSONEq(t, after, once)
		twice, err := policy.Merge("b", once, []policy.Identity{identity})
		require.NoError(t, err)
		require.Equal(t, once, twice)
		removed, err := policy.Merge("b", once, nil)
		require.NoError(t, err)
		if before == "" {
			require.Empty(t, removed)
		} else {
			require.JSONEq(t, statement(`[`+foreign+`]`), removed)
		}
	}
}

func TestTrustPolicyOpenToEveryGitHubRepositoryIsRejected(t *testing.T) {
	trust := func(condition string) error {
		_, err := policy.TrustPolicy(statement(`{"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"},
			"Action":"sts:AssumeRoleWithWebIdentity","Condition":` + condition + `}`))
		return err
	}
	require.NoError(t, trust(`{"StringEquals":{"token.actions.githubusercontent.com:aud":"sts.amazonaws.com"},"StringLike":{"token.actions.githubusercontent.com:sub":"repo:o/r:*"}}`))
	require.ErrorContains(t, trust(`{"StringEquals":{"token.actions.githubusercontent.com:aud":"sts.amazonaws.com"}}`),
		"every repository on GitHub")
	require.ErrorContains(t, trust(`{"StringLike":{"token.actions.githubusercontent.com:sub":["repo:o/r:*","*"]}}`),
		"every repository on GitHub")
	_, err := policy.TrustPolicy(statement(`{"Effect":"Allow","Principal":{"Federated":"token.actions.githubusercontent.com"},"Action":"sts:AssumeRoleWithWebIdentity"}`))
	require.ErrorContains(t, err, "supports only OIDC providers")
	_, err = policy.TrustPolicy(statement(`{"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::123456789012:oidc-provider/example.com"},"Action":"sts:AssumeRole"}`))
	require.ErrorContains(t, err, "does not allow sts:AssumeRoleWithWebIdentity")
}

func TestRolesWithEqualPermissionsShareAStatement(t *testing.T) {
	role := func(key string, resources ...string) policy.Identity {
		return policy.Identity{AccessKeyID: key,
			Policies: []policy.Document{{Version: "2012-10-17", Statement: []policy.Statement{{
				Effect: "Allow", Action: []string{"s3:GetObject"}, Resource: resources,
			}}}}}
	}
	merged, err := policy.Merge("state", "", []policy.Identity{
		role("A", "arn:aws:s3:::state/x"), role("B", "arn:aws:s3:::state/x"), role("C", "arn:aws:s3:::state/y"),
	})
	require.NoError(t, err)
	require.JSONEq(t, `{"Version": "2012-10-17", "Statement": [
		{"Sid": "LocalcloudRole1", "Effect": "Allow", "Principal": {"AWS": ["A", "B"]},
			"Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::state/x"]},
		{"Sid": "LocalcloudRole2", "Effect": "Allow", "Principal": {"AWS": ["C"]},
			"Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::state/y"]}
	]}`, merged)
}

func TestSharedStatementGrantsNothingElse(t *testing.T) {
	role := func(key, actions string) policy.Identity {
		return policy.Identity{AccessKeyID: key, Policies: []policy.Document{rolePolicy(t, statement(
			`{"Effect":"Allow","Action":`+actions+`,"Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"]}`))}}
	}
	effective, err := merged(t, "",
		[]policy.Identity{role("A", `["s3:ListBucket","s3:GetObject"]`), role("B", `"s3:ListBucket"`)})
	require.NoError(t, err)
	require.JSONEq(t, statement(`[
		{"Effect":"Allow","Principal":{"AWS":["A","B"]},"Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::b"]},
		{"Effect":"Allow","Principal":{"AWS":["A"]},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::b/*"]}]`), effective)
}
