package policy

import (
	"slices"
	"strings"
)

// objectActions and bucketActions are the S3 actions that the S3 server checks
// in bucket policies, by the kind of resource that they apply to (Service
// Authorization Reference, "Actions, resources, and condition keys for Amazon S3").
func objectActions() []string {
	return []string{
		"s3:AbortMultipartUpload", "s3:BypassGovernanceRetention", "s3:DeleteObject", "s3:DeleteObjectTagging",
		"s3:DeleteObjectVersion", "s3:DeleteObjectVersionTagging", "s3:GetObject", "s3:GetObjectAcl",
		"s3:GetObjectAttributes", "s3:GetObjectLegalHold", "s3:GetObjectRetention", "s3:GetObjectTagging",
		"s3:GetObjectVersion", "s3:GetObjectVersionAttributes", "s3:GetObjectVersionTagging",
		"s3:ListMultipartUploadParts", "s3:PutObject", "s3:PutObjectAcl", "s3:PutObjectLegalHold",
		"s3:PutObjectRetention", "s3:PutObjectTagging", "s3:PutObjectVersionTagging", "s3:RestoreObject",
	}
}

func bucketActions() []string {
	return []string{
		"s3:DeleteBucket", "s3:DeleteBucketPolicy", "s3:DeleteBucketWebsite", "s3:GetBucketAcl", "s3:GetBucketCORS",
		"s3:GetBucketLocation", "s3:GetBucketLogging", "s3:GetBucketNotification", "s3:GetBucketObjectLockConfiguration",
		"s3:GetBucketOwnershipControls", "s3:GetBucketPolicy", "s3:GetBucketPolicyStatus",
		"s3:GetBucketPublicAccessBlock", "s3:GetBucketTagging", "s3:GetBucketVersioning", "s3:GetBucketWebsite",
		"s3:GetEncryptionConfiguration", "s3:GetLifecycleConfiguration", "s3:ListBucket",
		"s3:ListBucketMultipartUploads", "s3:ListBucketVersions", "s3:PutBucketAcl", "s3:PutBucketCORS",
		"s3:PutBucketLogging", "s3:PutBucketNotification", "s3:PutBucketObjectLockConfiguration",
		"s3:PutBucketOwnershipControls", "s3:PutBucketPolicy", "s3:PutBucketPublicAccessBlock", "s3:PutBucketTagging",
		"s3:PutBucketVersioning", "s3:PutBucketWebsite", "s3:PutEncryptionConfiguration", "s3:PutLifecycleConfiguration",
	}
}

// otherActions are the S3 actions that the S3 server has no use for: it does not
// know what they are about, or no bucket policy can permit them. The aws plugin
// asks whether a role may do some of them.
func otherActions() []string {
	return []string{
		"s3:CreateBucket", "s3:GetAccelerateConfiguration", "s3:GetAnalyticsConfiguration", "s3:GetBucketRequestPayment",
		"s3:GetIntelligentTieringConfiguration", "s3:GetInventoryConfiguration", "s3:GetMetricsConfiguration",
		"s3:GetReplicationConfiguration", "s3:ListAllMyBuckets", "s3:ListTagsForResource", "s3:PutAccelerateConfiguration",
		"s3:PutAnalyticsConfiguration", "s3:PutBucketRequestPayment", "s3:PutIntelligentTieringConfiguration",
		"s3:PutInventoryConfiguration", "s3:PutMetricsConfiguration", "s3:PutReplicationConfiguration", "s3:TagResource",
		"s3:UntagResource",
	}
}

// listActions are the actions whose requests have a prefix, a delimiter and a
// most number of keys.
func listActions() []string { return []string{"s3:ListBucket", "s3:ListBucketVersions"} }

// covered lists the actions that a statement is about.
func (s Statement) covered(actions []string) []string {
	return slices.DeleteFunc(slices.Clone(actions), func(action string) bool { return !s.coversAction(action) })
}

// wildcard matches IAM's patterns: * is any text, ? any one character.
func wildcard(pattern, text string) bool {
	p, t := 0, 0
	star, resume := -1, 0 // the last * of the pattern, and where in the text its part ends
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, resume = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p++
			t++
		case star >= 0:
			resume++
			p, t = star+1, resume
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
