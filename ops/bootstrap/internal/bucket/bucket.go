// Package bucket creates the S3 bucket for Pulumi's state.
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

// versionDays is the retention of noncurrent versions of the state, in days. A version has a few hundred kilobytes, so
// a year of daily updates costs a few cents a month; damage to the state is noticed within a year.
const versionDays = 365

// Bucket is the state bucket.
type Bucket struct {
	Client *s3.Client
	Name   string
	Region string
	// Partition is the partition in ARNs, such as "aws".
	Partition string
	// Account is the id of the AWS account that must own the bucket; "" for a store other than AWS.
	Account string
	// Compatible marks a store other than AWS: unsupported settings are printed instead of failing.
	Compatible bool
}

// Ensure creates the bucket if it does not exist, applies its settings, and prints a line for each. It replaces an
// existing policy and lifecycle rules because the bucket holds nothing but the state.
func (b Bucket) Ensure(ctx context.Context, printer *steps.Printer) error {
	if err := printer.Run("state bucket "+b.Name, func() (string, error) { return b.create(ctx) }); err != nil {
		return err
	}
	for _, setting := range b.settings() {
		err := printer.Run(setting.name, func() (string, error) {
			err := setting.put(ctx)
			if b.Compatible && isUnsupported(err) {
				return "", steps.Notice("not supported by this store; make sure that " + setting.fallback)
			}
			return "", err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Has reports whether an object exists. It returns false if the bucket does not exist.
func (b Bucket) Has(ctx context.Context, key string) (bool, error) {
	_, err := b.Client.HeadObject(ctx,
		&s3.HeadObjectInput{Bucket: aws.String(b.Name), Key: aws.String(key), ExpectedBucketOwner: b.owner()})
	if status(err) == http.StatusNotFound {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot check for s3://%s/%s: %w", b.Name, key, b.explain(err))
	}
	return true, nil
}

func (b Bucket) create(ctx context.Context) (string, error) {
	_, err := b.Client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: aws.String(b.Name), ExpectedBucketOwner: b.owner()})
	if err == nil {
		return "exists", nil
	}
	if status(err) != http.StatusNotFound {
		return "", b.explain(err)
	}
	input := &s3.CreateBucketInput{Bucket: aws.String(b.Name)}
	// us-east-1 is the default, and S3 rejects it as a location constraint.
	if b.Region != "us-east-1" && !b.Compatible {
		input.CreateBucketConfiguration = &types.CreateBucketConfiguration{
			LocationConstraint: types.BucketLocationConstraint(b.Region),
		}
	}
	_, err = b.Client.CreateBucket(ctx, input)
	var owned *types.BucketAlreadyOwnedByYou
	if errors.As(err, &owned) {
		return "exists", nil
	}
	if err != nil {
		return "", b.explain(err)
	}
	return "created in " + b.Region, nil
}

// setting is one property of the bucket.
type setting struct {
	name string
	put  func(context.Context) error
	// fallback completes "make sure that": what the operator must ensure if the store does not support the setting.
	fallback string
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
		// This uses S3's key, not the stack's: secrets in a state are encrypted with the stack's key anyway, several stacks
		// share the bucket, and without the stack's key the rest of the state stays readable.
		{"encryption", func(ctx context.Context) error {
			rule := types.ServerSideEncryptionRule{
				ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{
					SSEAlgorithm: types.ServerSideEncryptionAes256,
				},
			}
			_, err := b.Client.PutBucketEncryption(ctx, &s3.PutBucketEncryptionInput{
				Bucket: name, ExpectedBucketOwner: owner,
				ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{
					Rules: []types.ServerSideEncryptionRule{rule},
				},
			})
			return err
		}, "its disks are encrypted"},
		{"public access blocked", func(ctx context.Context) error {
			_, err := b.Client.PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{
				Bucket: name, ExpectedBucketOwner: owner,
				PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
					BlockPublicAcls: aws.Bool(true), BlockPublicPolicy: aws.Bool(true),
					IgnorePublicAcls: aws.Bool(true), RestrictPublicBuckets: aws.Bool(true),
				},
			})
			return err
		}, "the bucket never becomes public"},
		{"objects owned by the account", func(ctx context.Context) error {
			_, err := b.Client.PutBucketOwnershipControls(ctx, &s3.PutBucketOwnershipControlsInput{
				Bucket: name, ExpectedBucketOwner: owner,
				OwnershipControls: &types.OwnershipControls{Rules: []types.OwnershipControlsRule{{
					ObjectOwnership: types.ObjectOwnershipBucketOwnerEnforced,
				}}},
			})
			return err
		}, "no access control list grants its objects to others"},
		{"TLS only", func(ctx context.Context) error {
			policy, err := tlsOnly(b.Partition, b.Name)
			if err != nil {
				return err
			}
			_, err = b.Client.PutBucketPolicy(ctx,
				&s3.PutBucketPolicyInput{Bucket: name, ExpectedBucketOwner: owner, Policy: aws.String(policy)})
			return err
		}, "clients use HTTPS"},
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
		}, "old versions are deleted eventually; they are small"},
	}
}

// tlsOnly returns a bucket policy that denies requests without TLS.
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
		return "", fmt.Errorf("cannot encode the bucket's policy: %w", err)
	}
	return string(policy), nil
}

// owner returns the expected bucket owner, with which S3 denies requests to a bucket of another account.
func (b Bucket) owner() *string {
	if b.Account == "" {
		return nil
	}
	return aws.String(b.Account)
}

// explain adds to an S3 error what it means here, and what to do.
func (b Bucket) explain(err error) error {
	var taken *types.BucketAlreadyExists
	switch {
	case errors.As(err, &taken):
		return fmt.Errorf("the name is taken by another account; choose another, such as BUCKET=%s-state: %w", b.Name, err)
	// A response to HEAD has no body and therefore no error code.
	case status(err) == http.StatusForbidden && b.Account != "":
		return fmt.Errorf("it does not belong to account %s, or these credentials lack access; log in to its "+
			"account, or choose another name with BUCKET=...: %w", b.Account, err)
	case status(err) == http.StatusForbidden:
		return fmt.Errorf("access denied; use the credentials of its owner, or choose another name with BUCKET=...: %w", err)
	case status(err) == http.StatusMovedPermanently:
		return fmt.Errorf("it is not in region %s; set its region with REGION=..., or choose another name with "+
			"BUCKET=...: %w", b.Region, err)
	}
	return err
}

// status returns the HTTP status of S3's response, or 0 without a response.
func status(err error) int {
	var response *awshttp.ResponseError
	if errors.As(err, &response) {
		return response.HTTPStatusCode()
	}
	return 0
}

// isUnsupported reports whether an error means that the store does not support the request.
func isUnsupported(err error) bool {
	var apiErr smithy.APIError
	if errors.As(err, &apiErr) && (apiErr.ErrorCode() == "NotImplemented" || apiErr.ErrorCode() == "MethodNotAllowed") {
		return true
	}
	return status(err) == http.StatusNotImplemented
}
