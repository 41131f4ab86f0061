// Package bucket makes the S3 bucket that holds Pulumi's state.
package bucket

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"immutable-infra/ops/bootstrap/internal/steps"
)

// versionDays is for how long a version of the state is kept that another one has replaced.
// One is some hundred kilobytes, so that a year of daily updates costs a few cents a month; and
// a year is the longest after which somebody may still notice what an update has broken in it.
const versionDays = 365

// Bucket is the bucket of a state.
type Bucket struct {
	Client *s3.Client
	Name   string
	Region string
	// Partition is that of ARNs, "aws" but for AWS's separate clouds.
	Partition string
	// Account is the id of the AWS account that the bucket must belong to; "" where the
	// store is not AWS's.
	Account string
	// Compatible says that the store is not AWS's: what it does not know is said, and is no
	// failure.
	Compatible bool
}

// Ensure makes the bucket where there is none, and has it as a state needs it, printing a
// line for each setting. What it has of a policy and of lifecycle rules is replaced: the bucket is
// for the state and nothing else.
func (b Bucket) Ensure(ctx context.Context, printer *steps.Printer) error {
	if err := printer.Run("state bucket "+b.Name, func() (string, error) { return b.create(ctx) }); err != nil {
		return err
	}
	for _, setting := range b.settings() {
		err := printer.Run(setting.name, func() (string, error) {
			err := setting.put(ctx)
			if b.Compatible && isUnknown(err) {
				return "", steps.Notice("this store does not know it: see to it that " + setting.otherwise)
			}
			return "", err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Has says whether there is an object. A bucket that is not there has none.
func (b Bucket) Has(ctx context.Context, key string) (bool, error) {
	_, err := b.Client.HeadObject(ctx,
		&s3.HeadObjectInput{Bucket: aws.String(b.Name), Key: aws.String(key), ExpectedBucketOwner: b.owner()})
	if status(err) == http.StatusNotFound {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for s3://%s/%s: %w", b.Name, key, b.explain(err))
	}
	return true, nil
}

func (b Bucket) create(ctx context.Context) (string, error) {
	_, err := b.Client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: aws.String(b.Name), ExpectedBucketOwner: b.owner()})
	if err == nil {
		return "is there", nil
	}
	if status(err) != http.StatusNotFound {
		return "", b.explain(err)
	}
	input := &s3.CreateBucketInput{Bucket: aws.String(b.Name)}
	// The oldest region is the one that must not be named.
	if b.Region != "us-east-1" && !b.Compatible {
		input.CreateBucketConfiguration = &types.CreateBucketConfiguration{
			LocationConstraint: types.BucketLocationConstraint(b.Region),
		}
	}
	_, err = b.Client.CreateBucket(ctx, input)
	var ours *types.BucketAlreadyOwnedByYou
	if errors.As(err, &ours) {
		return "is there", nil
	}
	if err != nil {
		return "", b.explain(err)
	}
	return "made in " + b.Region, nil
}

// setting is one property of the bucket.
type setting struct {
	name string
	put  func(context.Context) error
	// otherwise is what is to be seen to where a store does not know the setting.
	otherwise string
}

func (b Bucket) settings() []setting {
	name, owner := aws.String(b.Name), b.owner()
	return []setting{
		{"versioning", func(ctx context.Context) error {
			_, err := b.Client.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{
				Bucket: name, ExpectedBucketOwner: owner,
				VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
			})
			return err
		}, "earlier states are kept in another way"},
		// By S3's own key, and not by the stack's: what is secret in a state is encrypted by that
		// one already, the bucket is for several stacks, and who has lost the stack's key still has
		// the rest of the state.
		{"encryption", func(ctx context.Context) error {
			own := types.ServerSideEncryptionRule{
				ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{
					SSEAlgorithm: types.ServerSideEncryptionAes256,
				},
			}
			_, err := b.Client.PutBucketEncryption(ctx, &s3.PutBucketEncryptionInput{
				Bucket: name, ExpectedBucketOwner: owner,
				ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{
					Rules: []types.ServerSideEncryptionRule{own},
				},
			})
			return err
		}, "its disks are encrypted"},
		{"no access for the public", func(ctx context.Context) error {
			_, err := b.Client.PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{
				Bucket: name, ExpectedBucketOwner: owner,
				PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
					BlockPublicAcls: aws.Bool(true), BlockPublicPolicy: aws.Bool(true),
					IgnorePublicAcls: aws.Bool(true), RestrictPublicBuckets: aws.Bool(true),
				},
			})
			return err
		}, "nobody makes the bucket public"},
		{"owned by the account alone", func(ctx context.Context) error {
			_, err := b.Client.PutBucketOwnershipControls(ctx, &s3.PutBucketOwnershipControlsInput{
				Bucket: name, ExpectedBucketOwner: owner,
				OwnershipControls: &types.OwnershipControls{Rules: []types.OwnershipControlsRule{{
					ObjectOwnership: types.ObjectOwnershipBucketOwnerEnforced,
				}}},
			})
			return err
		}, "no access control list gives its objects to others"},
		{"TLS only", func(ctx context.Context) error {
			policy, err := tlsOnly(b.Partition, b.Name)
			if err != nil {
				return err
			}
			_, err = b.Client.PutBucketPolicy(ctx,
				&s3.PutBucketPolicyInput{Bucket: name, ExpectedBucketOwner: owner, Policy: aws.String(policy)})
			return err
		}, "it is reached by HTTPS only"},
		{fmt.Sprintf("earlier versions kept for %d days", versionDays), func(ctx context.Context) error {
			_, err := b.Client.PutBucketLifecycleConfiguration(ctx, &s3.PutBucketLifecycleConfigurationInput{
				Bucket: name, ExpectedBucketOwner: owner,
				LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: []types.LifecycleRule{{
					ID:                             aws.String("bound-noncurrent-versions"),
					Status:                         types.ExpirationStatusEnabled,
					Filter:                         &types.LifecycleRuleFilter{Prefix: aws.String("")},
					NoncurrentVersionExpiration:    &types.NoncurrentVersionExpiration{NoncurrentDays: aws.Int32(versionDays)},
					Expiration:                     &types.LifecycleExpiration{ExpiredObjectDeleteMarker: aws.Bool(true)},
					AbortIncompleteMultipartUpload: &types.AbortIncompleteMultipartUpload{DaysAfterInitiation: aws.Int32(1)},
				}}},
			})
			return err
		}, "versions do not pile up; they are small"},
	}
}

// tlsOnly is a bucket policy that refuses requests without TLS.
func tlsOnly(partition, name string) (string, error) {
	arn := fmt.Sprintf("arn:%s:s3:::%s", partition, name)
	policy, err := json.Marshal(map[string]any{
		"Version": "2012-10-17",
		"Statement": []any{map[string]any{
			"Sid":       "TLSOnly",
			"Effect":    "Deny",
			"Principal": "*",
			"Action":    "s3:*",
			"Resource":  []string{arn, arn + "/*"},
			"Condition": map[string]any{"Bool": map[string]any{"aws:SecureTransport": "false"}},
		}},
	})
	if err != nil {
		return "", fmt.Errorf("write the bucket's policy: %w", err)
	}
	return string(policy), nil
}

// owner has S3 refuse a bucket of another account.
func (b Bucket) owner() *string {
	if b.Account == "" {
		return nil
	}
	return aws.String(b.Account)
}

// explain says what S3's answer means here, and what to do.
func (b Bucket) explain(err error) error {
	var taken *types.BucketAlreadyExists
	switch {
	case errors.As(err, &taken):
		return fmt.Errorf("somebody else has a bucket of this name; choose another, such as BUCKET=%s-state: %w", b.Name, err)
	// An answer to HEAD has no body, and so no code.
	case status(err) == http.StatusForbidden && b.Account != "":
		return fmt.Errorf("it belongs to another account than %s, or you may not look at it; log in to the account that "+
			"has it, or choose another name by BUCKET=...: %w", b.Account, err)
	case status(err) == http.StatusForbidden:
		return fmt.Errorf("you may not look at it; take the credentials of its owner, or choose another name by "+
			"BUCKET=...: %w", err)
	case status(err) == http.StatusMovedPermanently:
		return fmt.Errorf("it is in another region than %s; give that one by REGION=..., or choose another name by "+
			"BUCKET=...: %w", b.Region, err)
	}
	return err
}

// status is the HTTP status of S3's answer; 0 if there was none.
func status(err error) int {
	var response *awshttp.ResponseError
	if errors.As(err, &response) {
		return response.HTTPStatusCode()
	}
	return 0
}

// isUnknown says whether the store does not know what it was asked for.
func isUnknown(err error) bool {
	var answer smithy.APIError
	if errors.As(err, &answer) && (answer.ErrorCode() == "NotImplemented" || answer.ErrorCode() == "MethodNotAllowed") {
		return true
	}
	return status(err) == http.StatusNotImplemented
}
