package policy_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/plugin/awsplugin/policy"
)

const account = "123456789012"

func statement(s string) string { return `{"Version":"2012-10-17","Statement":` + s + `}` }

func rolePolicy(t *testing.T, text string) policy.Document {
	t.Helper()
	document, err := policy.RolePolicy(text)
	require.NoError(t, err)
	return document
}

func TestWhatARolesPolicyMeansForOneBucket(t *testing.T) {
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
		"an action that does not fit its resource grants nothing": {
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b"}`, ``,
		},
		"an action on the bucket beside its objects only": {
			`{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::b/*"}`, ``,
		},
		"another bucket": {
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::bb/*"}`, ``,
		},
		"a pattern of buckets": {
			`{"Effect":"Allow","Action":"s3:ListBucket*","Resource":"arn:aws:s3:::?"}`,
			`[{"Effect":"Allow","Principal":{"AWS":["AKIA1"]},"Action":["s3:ListBucket","s3:ListBucketMultipartUploads","s3:ListBucketVersions"],"Resource":["arn:aws:s3:::b"]}]`,
		},
		"everything": {
			`{"Effect":"Deny","Action":["s3:DeleteObjectVersion","s3:getbucketlocation"],"Resource":"*"}`,
			`[{"Effect":"Deny","Principal":{"AWS":["AKIA1"]},"Action":["s3:GetBucketLocation"],"Resource":["arn:aws:s3:::b"]},
			  {"Effect":"Deny","Principal":{"AWS":["AKIA1"]},"Action":["s3:DeleteObjectVersion"],"Resource":["arn:aws:s3:::b/*"]}]`,
		},
		"a condition": {
			`{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::b","Condition":{"StringLike":{"s3:prefix":"in/*"}}}`,
			`[{"Effect":"Allow","Principal":{"AWS":["AKIA1"]},"Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::b"],"Condition":{"StringLike":{"s3:prefix":["in/*"]}}}]`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			identity := policy.Identity{AccessKeyID: "AKIA1", Policies: []policy.Document{rolePolicy(t, statement(c.statement))}}
			effective, err := policy.Effective("b", nil, []policy.Identity{identity})
			require.NoError(t, err)
			if c.want == "" {
				require.Empty(t, effective)
				return
			}
			require.JSONEq(t, statement(c.want), effective)
		})
	}
}

func TestABucketsOwnPolicyIsMergedAndItsRolesTranslated(t *testing.T) {
	own, err := policy.BucketPolicy("b", statement(`[
		{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"],"Condition":{"Bool":{"aws:SecureTransport":false}}},
		{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::123456789012:role/a","arn:aws:iam::123456789012:role/unused"]},"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"},
		{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"},
		{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:role/unused"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}]`))
	require.NoError(t, err)
	identities := []policy.Identity{
		{RoleARN: "arn:aws:iam::123456789012:role/a", AccessKeyID: "AKIA1"},
		{RoleARN: "arn:aws:iam::123456789012:role/unused"},
	}
	effective, err := policy.Effective("b", &own, identities)
	require.NoError(t, err)
	require.JSONEq(t, statement(`[
		{"Effect":"Deny","Principal":"*","Action":["s3:*"],"Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"],"Condition":{"Bool":{"aws:SecureTransport":["false"]}}},
		{"Effect":"Allow","Principal":{"AWS":["AKIA1"]},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::b/*"]}]`), effective)

	require.NoError(t, own.CheckPrincipals(account, identities))
	require.ErrorIs(t, own.CheckPrincipals(account, nil), policy.ErrInvalidPrincipal)
	whole, err := policy.BucketPolicy("b", statement(`{"Effect":"Deny","Principal":{"AWS":"123456789012"},"Action":"s3:*","Resource":"arn:aws:s3:::b"}`))
	require.NoError(t, err)
	require.ErrorContains(t, whole.CheckPrincipals(account, identities), "would shut out everybody")
}

func TestWhatCannotBeEnforcedIsRefusedByName(t *testing.T) {
	for name, c := range map[string]struct{ statement, want string }{
		"another service":       {`[{"Effect":"Allow","Action":"route53:ChangeResourceRecordSets","Resource":"*"}]`, `statement 1 has Action "route53:ChangeResourceRecordSets"`},
		"a misspelt action":     {`[{"Sid":"Read","Effect":"Allow","Action":"s3:GetObjct","Resource":"*"}]`, `statement "Read" has Action "s3:GetObjct"`},
		"a list of all buckets": {`{"Effect":"Allow","Action":"s3:ListAllMyBuckets","Resource":"*"}`, `"s3:ListAllMyBuckets"`},
		"NotAction":             {`{"Effect":"Allow","NotAction":"s3:GetObject","Resource":"*"}`, "NotAction"},
		"NotResource":           {`{"Effect":"Allow","Action":"s3:GetObject","NotResource":"*"}`, "NotResource"},
		"an unknown condition":  {`{"Effect":"Allow","Action":"s3:GetObject","Resource":"*","Condition":{"StringEquals":{"aws:SourceVpce":"vpce-1"}}}`, `Condition StringEquals on "aws:SourceVpce"`},
		"another resource":      {`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:us-east-1:1:accesspoint/a"}`, "has Resource"},
		"no resource":           {`{"Effect":"Allow","Action":"s3:GetObject"}`, "has no Resource"},
		"no action":             {`{"Effect":"Allow","Resource":"*"}`, "has no Action"},
		"a misspelt effect":     {`{"Effect":"allow","Action":"s3:GetObject","Resource":"*"}`, `has Effect "allow"`},
		"a misspelt element":    {`{"Effect":"Allow","Actions":"s3:GetObject","Resource":"*"}`, `unknown field "Actions"`},
		"no statement":          {`[]`, "has no Statement"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := policy.RolePolicy(statement(c.statement))
			require.ErrorContains(t, err, c.want)
		})
	}
	for name, c := range map[string]struct{ statement, want string }{
		"no principal":        {`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}`, "has no Principal"},
		"a service principal": {`{"Effect":"Allow","Principal":{"Service":"logging.s3.amazonaws.com"},"Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*"}`, "principal of kind Service"},
		"another bucket":      {`{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::bb/*"}`, "not in bucket"},
		"a named principal":   {`{"Effect":"Allow","Principal":"me","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}`, `principal "me"`},
		"NotPrincipal":        {`{"Effect":"Deny","Principal":"*","NotPrincipal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}`, "NotPrincipal"},
	} {
		t.Run("a bucket's: "+name, func(t *testing.T) {
			_, err := policy.BucketPolicy("b", statement(c.statement))
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestOnlyAnAllowForEverybodyIsPublic(t *testing.T) {
	for text, public := range map[string]bool{
		`{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}`:                             true,
		`{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}`:                     true,
		`{"Effect":"Deny","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}`:                              false,
		`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::1:role/r"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}`: false,
	} {
		document, err := policy.BucketPolicy("b", statement(text))
		require.NoError(t, err)
		require.Equal(t, public, document.IsPublic(), text)
	}
}

func TestOnlyARoleThatTrustsEC2ServesAnInstance(t *testing.T) {
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
