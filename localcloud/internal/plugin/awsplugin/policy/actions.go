package policy

import (
	"slices"
	"strings"
)

// objectActions and bucketActions are the S3 actions that the S3 server checks
// in bucket policies, by the kind of resource that they apply to (Service
// Authorization Reference, "Actions, resources, and condition keys for Amazon S3").
func objectActions() []string {
	return s3Actions(`AbortMultipartUpload BypassGovernanceRetention DeleteObject DeleteObjectTagging DeleteObjectVersion
		DeleteObjectVersionTagging GetObject GetObjectAcl GetObjectAttributes GetObjectLegalHold GetObjectRetention
		GetObjectTagging GetObjectVersion GetObjectVersionAttributes GetObjectVersionTagging ListMultipartUploadParts
		PutObject PutObjectAcl PutObjectLegalHold PutObjectRetention PutObjectTagging PutObjectVersionTagging
		RestoreObject`)
}

func bucketActions() []string {
	return s3Actions(`DeleteBucket DeleteBucketPolicy DeleteBucketWebsite GetBucketAcl GetBucketCORS GetBucketLocation
		GetBucketLogging GetBucketNotification GetBucketObjectLockConfiguration GetBucketOwnershipControls
		GetBucketPolicy GetBucketPolicyStatus GetBucketPublicAccessBlock GetBucketTagging GetBucketVersioning
		GetBucketWebsite GetEncryptionConfiguration GetLifecycleConfiguration ListBucket ListBucketMultipartUploads
		ListBucketVersions PutBucketAcl PutBucketCORS PutBucketLogging PutBucketNotification
		PutBucketObjectLockConfiguration PutBucketOwnershipControls PutBucketPolicy PutBucketPublicAccessBlock
		PutBucketTagging PutBucketVersioning PutBucketWebsite PutEncryptionConfiguration PutLifecycleConfiguration`)
}

// otherActions are the S3 actions that the S3 server has no use for: it does not
// know what they are about, or no bucket policy can permit them. The aws plugin
// asks whether a role may do some of them.
func otherActions() []string {
	return s3Actions(`CreateBucket GetAccelerateConfiguration GetAnalyticsConfiguration GetBucketRequestPayment
		GetIntelligentTieringConfiguration GetInventoryConfiguration GetMetricsConfiguration
		GetReplicationConfiguration ListAllMyBuckets ListTagsForResource PutAccelerateConfiguration
		PutAnalyticsConfiguration PutBucketRequestPayment PutIntelligentTieringConfiguration PutInventoryConfiguration
		PutMetricsConfiguration PutReplicationConfiguration TagResource UntagResource`)
}

func s3Actions(names string) []string {
	var actions []string
	for name := range strings.FieldsSeq(names) {
		actions = append(actions, "s3:"+name)
	}
	return actions
}

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
