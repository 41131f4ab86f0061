package awsplugin

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const publicRead = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::site-content/*"}]}`

func TestBucketOutputsMatchAWS(t *testing.T) {
	s := newSite(t)
	require.Equal(t, "arn:aws:s3:::site-content", s.content.get("arn"))
	require.Equal(t, "site-content.s3.us-east-1.amazonaws.com", s.content.get("bucketRegionalDomainName"))
	b := s.objects.buckets["site-content"]
	require.Equal(t, "Enabled", b.versioning)
	require.Equal(t, "BucketOwnerEnforced", b.ownership)
}

func TestInvalidBucketSettingsAreRejected(t *testing.T) {
	s := newSite(t)
	const lifecycle = "aws:s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2"
	rules := func(rules ...object) object { return object{"bucket": s.content.id, "rules": rules} }
	for name, c := range map[string]struct {
		code, token string
		inputs      object
	}{
		"an existing bucket": {"BucketAlreadyOwnedByYou", "aws:s3/bucketV2:BucketV2",
			object{"bucket": s.content.id}},
		"an invalid bucket name":            {"InvalidBucketName", "aws:s3/bucketV2:BucketV2", object{"bucket": "Content"}},
		"a bucket named like an IP address": {"InvalidBucketName", "aws:s3/bucketV2:BucketV2", object{"bucket": "10.0.0.1"}},
		"versioning of a missing bucket": {"NoSuchBucket", "aws:s3/bucketVersioningV2:BucketVersioningV2",
			object{"bucket": "none", "versioningConfiguration": object{"status": "Enabled"}}},
		"another account's bucket": {"AccessDenied", "aws:s3/bucketVersioningV2:BucketVersioningV2",
			object{"bucket": s.content.id, "expectedBucketOwner": "210987654321",
				"versioningConfiguration": object{"status": "Enabled"}}},
		"a public policy": {"BlockPublicPolicy", "aws:s3/bucketPolicy:BucketPolicy",
			object{"bucket": s.content.id, "policy": publicRead}},
		"a policy for a role": {"localcloud supports only", "aws:s3/bucketPolicy:BucketPolicy", object{"bucket": s.content.id,
			"policy": object{"Version": "2012-10-17",
				"Statement": object{"Effect": "Allow", "Principal": object{"AWS": "arn:aws:iam::123456789012:role/nobody"},
					"Action": "s3:GetObject", "Resource": "arn:aws:s3:::site-content/*"}}}},
		"a policy for another bucket": {"MalformedPolicy", "aws:s3/bucketPolicy:BucketPolicy",
			object{"bucket": s.content.id, "policy": object{
				"Statement": object{"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::site-backup"},
			}}},
		"a rule without an action": {"at least one action", lifecycle, rules(object{"id": "a", "status": "Enabled"})},
		"a duplicate rule ID": {"Rule ID must be unique", lifecycle, rules(object{"id": "a", "status": "Enabled",
			"expiration": object{"expiredObjectDeleteMarker": true}}, object{"id": "a", "status": "Enabled",
			"expiration": object{"expiredObjectDeleteMarker": true}})},
		"aborting uploads after zero days": {"must be a positive integer", lifecycle, rules(object{"id": "a",
			"status": "Enabled", "abortIncompleteMultipartUpload": object{"daysAfterInitiation": 0}})},
		"expiring noncurrent versions after zero days": {"must be a positive integer", lifecycle,
			rules(object{"id": "a", "status": "Enabled", "noncurrentVersionExpiration": object{"noncurrentDays": 0}})},
		"too many noncurrent versions": {"newerNoncurrentVersions", lifecycle, rules(object{"id": "a", "status": "Enabled",
			"noncurrentVersionExpiration": object{"noncurrentDays": 1, "newerNoncurrentVersions": 101}})},
		"no noncurrent versions": {"newerNoncurrentVersions", lifecycle, rules(object{"id": "a", "status": "Enabled",
			"noncurrentVersionExpiration": object{"noncurrentDays": 1, "newerNoncurrentVersions": 0}})},
		"encryption without a rule": {"MalformedXML",
			"aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2",
			object{"bucket": s.content.id, "rules": []object{}}},
	} {
		t.Run(name, func(t *testing.T) { s.createFails(c.code, c.token, c.inputs) })
	}
}

func TestPublicBucketPolicyIsRejectedWithOrWithoutAccessBlock(t *testing.T) {
	h := newHarness(t)
	h.create("aws:s3/bucketV2:BucketV2", "content", object{"bucket": "site-content"})
	h.createFails("BlockPublicPolicy", "aws:s3/bucketPolicy:BucketPolicy",
		object{"bucket": "site-content", "policy": publicRead})
	block := h.create("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", "content", object{
		"bucket": "site-content", "blockPublicAcls": true, "blockPublicPolicy": true, "ignorePublicAcls": true,
		"restrictPublicBuckets": true,
	})
	h.createFails("BlockPublicPolicy", "aws:s3/bucketPolicy:BucketPolicy",
		object{"bucket": "site-content", "policy": publicRead})
	require.NoError(t, h.delete(block))
	h.createFails("BlockPublicPolicy", "aws:s3/bucketPolicy:BucketPolicy",
		object{"bucket": "site-content", "policy": publicRead})
}

func TestNonEmptyBucketIsDeletedOnlyWithForceDestroy(t *testing.T) {
	h := newHarness(t)
	b := h.create("aws:s3/bucketV2:BucketV2", "backup", object{"bucket": "site-backup"})
	h.objects.buckets[b.id].objects = []string{"acme.json"}
	require.ErrorContains(t, h.delete(b), "BucketNotEmpty")
	require.True(t, h.refresh(b))
	h.update(b, object{"bucket": "site-backup", "forceDestroy": true})
	require.NoError(t, h.delete(b))
}

func TestDeletingVersioningSuspendsIt(t *testing.T) {
	s := newSite(t)
	require.NoError(t, s.delete(s.versioning))
	require.Equal(t, "Suspended", s.objects.buckets["site-content"].versioning)
}

func TestRefreshDetectsMissingBucket(t *testing.T) {
	s := newSite(t)
	delete(s.objects.buckets, "site-content")
	require.False(t, s.refresh(s.content))
	require.False(t, s.refresh(s.versioning))
	require.NoError(t, s.delete(s.content))
}

func TestBucketPrefixIsCompletedOnceAndCausesNoDiff(t *testing.T) {
	h := newHarness(t)
	inputs := object{"bucketPrefix": "immutable-infra-local-content-"}
	first := h.create("aws:s3/bucketV2:BucketV2", "content", inputs)
	second := h.create("aws:s3/bucketV2:BucketV2", "content", inputs)
	require.Regexp(t, `^immutable-infra-local-content-[0-9a-f]{26}$`, first.id)
	require.NotEqual(t, first.id, second.id)
	require.True(t, h.refresh(first))
	_, diff := h.diff(first, inputs)
	require.False(t, diff.HasChanges, "%v", diff.DetailedDiff)
}

func TestLifecycleRulesCauseNoDiffAfterRefresh(t *testing.T) {
	s := newSite(t)
	inputs := object{"bucket": s.content.id, "rules": []object{{
		"id": "bound-noncurrent-versions", "status": "Enabled", "filter": object{"prefix": ""},
		"noncurrentVersionExpiration":    object{"noncurrentDays": 7},
		"expiration":                     object{"expiredObjectDeleteMarker": true},
		"abortIncompleteMultipartUpload": object{"daysAfterInitiation": 1},
	}}}
	s.update(s.lifecycle, inputs)
	before := s.lifecycle.inputs
	require.True(t, s.refresh(s.lifecycle))
	require.True(t, before.Equals(s.lifecycle.inputs))
	_, diff := s.diff(s.lifecycle, inputs)
	require.False(t, diff.HasChanges, "%v", diff.DetailedDiff)
}
