package components

import (
	"fmt"
	"strings"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/s3"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Bucket is an S3 bucket that a component uses.
type Bucket struct {
	Name pulumi.StringInput
	ARN  pulumi.StringInput
}

// privateBucket is encrypted, versioned, TLS-only, owned by the account alone, and never public.
type privateBucket struct {
	bucket *s3.BucketV2
	// ready lists the resources that protect the objects.
	ready []pulumi.Resource
}

func (b *privateBucket) public() Bucket { return Bucket{Name: b.bucket.Bucket, ARN: b.bucket.Arn} }

// newPrivateBucket creates a bucket. With forceDestroy, it can be deleted together with its objects; without it, only
// when it is empty.
func newPrivateBucket(
	ctx *pulumi.Context, name string, forceDestroy bool, parent pulumi.Resource, opts ...pulumi.ResourceOption,
) (*privateBucket, error) {
	opts = append(opts, pulumi.Parent(parent))
	bucket, err := s3.NewBucketV2(ctx, name, &s3.BucketV2Args{
		BucketPrefix: pulumi.String(bucketPrefix(ctx.Stack(), name)),
		ForceDestroy: pulumi.Bool(forceDestroy),
	}, opts...)
	if err != nil {
		return nil, err
	}
	child := pulumi.Parent(bucket)

	ownership, err := s3.NewBucketOwnershipControls(ctx, name, &s3.BucketOwnershipControlsArgs{
		Bucket: bucket.ID(),
		Rule:   &s3.BucketOwnershipControlsRuleArgs{ObjectOwnership: pulumi.String("BucketOwnerEnforced")},
	}, child)
	if err != nil {
		return nil, err
	}
	block, err := s3.NewBucketPublicAccessBlock(ctx, name, &s3.BucketPublicAccessBlockArgs{
		Bucket:                bucket.ID(),
		BlockPublicAcls:       pulumi.Bool(true),
		BlockPublicPolicy:     pulumi.Bool(true),
		IgnorePublicAcls:      pulumi.Bool(true),
		RestrictPublicBuckets: pulumi.Bool(true),
	}, child)
	if err != nil {
		return nil, err
	}
	encryption, err := s3.NewBucketServerSideEncryptionConfigurationV2(ctx, name,
		&s3.BucketServerSideEncryptionConfigurationV2Args{
			Bucket: bucket.ID(),
			Rules: s3.BucketServerSideEncryptionConfigurationV2RuleArray{
				&s3.BucketServerSideEncryptionConfigurationV2RuleArgs{
					//nolint:lll // the provider's names
					ApplyServerSideEncryptionByDefault: &s3.BucketServerSideEncryptionConfigurationV2RuleApplyServerSideEncryptionByDefaultArgs{
						SseAlgorithm: pulumi.String("AES256"),
					},
				},
			},
		}, child)
	if err != nil {
		return nil, err
	}
	versioning, err := s3.NewBucketVersioningV2(ctx, name, &s3.BucketVersioningV2Args{
		Bucket: bucket.ID(),
		VersioningConfiguration: &s3.BucketVersioningV2VersioningConfigurationArgs{
			Status: pulumi.String("Enabled"),
		},
	}, child)
	if err != nil {
		return nil, err
	}
	// The public access block decides whether a policy is accepted, so it must exist first.
	policy, err := s3.NewBucketPolicy(ctx, name, &s3.BucketPolicyArgs{
		Bucket: bucket.ID(),
		Policy: pulumi.JSONMarshal(tlsOnly(bucket.Arn)),
	}, child, pulumi.DependsOn([]pulumi.Resource{block}))
	if err != nil {
		return nil, err
	}
	return &privateBucket{
		bucket: bucket,
		ready:  []pulumi.Resource{ownership, block, encryption, versioning, policy},
	}, nil
}

// maxBucketPrefix is S3's limit for names, 63 characters, minus the length of the provider's suffix, which makes a name
// globally unique.
const maxBucketPrefix = 37

// bucketPrefix returns a name prefix that identifies a bucket by stack and purpose. It shortens the stack's name and
// replaces characters that S3 does not allow.
func bucketPrefix(stack, name string) string {
	allowed := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(stack))
	suffix := "-" + name + "-"
	allowed = allowed[:min(len(allowed), maxBucketPrefix-len(suffix))]
	return strings.Trim(allowed, "-") + suffix
}

// tlsOnly returns a bucket policy that denies requests without TLS.
func tlsOnly(arn pulumi.StringOutput) pulumi.Map {
	return pulumi.Map{
		"Version": pulumi.String("2012-10-17"),
		"Statement": pulumi.Array{pulumi.Map{
			"Sid":       pulumi.String("TLSOnly"),
			"Effect":    pulumi.String("Deny"),
			"Principal": pulumi.String("*"),
			"Action":    pulumi.String("s3:*"),
			"Resource":  pulumi.Array{arn, pulumi.Sprintf("%s/*", arn)},
			"Condition": pulumi.Map{"Bool": pulumi.Map{"aws:SecureTransport": pulumi.String("false")}},
		}},
	}
}

// noncurrentVersions is the id of the lifecycle rule for all objects of a bucket.
const noncurrentVersions = "bound-noncurrent-versions"

// lifecycleRule is a lifecycle rule of a versioned bucket.
type lifecycleRule struct {
	// prefix selects the keys; "" selects all.
	id, prefix string
	// versionsKept is how many noncurrent versions of each object are kept regardless of age. The others are deleted when
	// they have been noncurrent for days.
	versionsKept int
	days         int
}

// newLifecycle bounds the cost of noncurrent versions and incomplete uploads. If several rules match an object, S3
// applies the one that deletes it first.
func newLifecycle(
	ctx *pulumi.Context, name string, bucket *privateBucket, rules ...lifecycleRule,
) (pulumi.Resource, error) {
	var all s3.BucketLifecycleConfigurationV2RuleArray
	for _, rule := range rules {
		expiration := &s3.BucketLifecycleConfigurationV2RuleNoncurrentVersionExpirationArgs{
			NoncurrentDays: pulumi.Int(rule.days),
		}
		if rule.versionsKept > 0 {
			expiration.NewerNoncurrentVersions = pulumi.Int(rule.versionsKept)
		}
		all = append(all, &s3.BucketLifecycleConfigurationV2RuleArgs{
			Id:                          pulumi.String(rule.id),
			Status:                      pulumi.String("Enabled"),
			Filter:                      &s3.BucketLifecycleConfigurationV2RuleFilterArgs{Prefix: pulumi.String(rule.prefix)},
			NoncurrentVersionExpiration: expiration,
			Expiration: &s3.BucketLifecycleConfigurationV2RuleExpirationArgs{
				ExpiredObjectDeleteMarker: pulumi.Bool(true),
			},
			AbortIncompleteMultipartUpload: &s3.BucketLifecycleConfigurationV2RuleAbortIncompleteMultipartUploadArgs{
				DaysAfterInitiation: pulumi.Int(1),
			},
		})
	}
	lifecycle, err := s3.NewBucketLifecycleConfigurationV2(ctx, name, &s3.BucketLifecycleConfigurationV2Args{
		Bucket: bucket.bucket.ID(),
		Rules:  all,
		// S3 rejects rules on noncurrent versions of a bucket without versioning.
	}, pulumi.Parent(bucket.bucket), pulumi.DependsOn(bucket.ready))
	if err != nil {
		return nil, fmt.Errorf("cannot create the lifecycle: %w", err)
	}
	return lifecycle, nil
}
