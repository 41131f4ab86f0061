package awsplugin

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// hostedZoneID is that of S3's website endpoints in us-east-1, which Pulumi
// shows for a bucket. Here it serves in every region.
const hostedZoneID = "Z3AQBSTGFYJSTF"

// bucket makes S3 buckets at the S3 server.
type bucket struct{}

func (bucket) create(ctx context.Context, op *operation, inputs property.Map) (string, error) {
	var b store.Bucket
	if err := schema.Decode(inputs, &b); err != nil {
		return "", err
	}
	if b.BucketPrefix != "" {
		b.Bucket = uniqueName(b.BucketPrefix)
	}
	if err := checkBucketName(b.Bucket); err != nil {
		return "", err
	}
	if _, exists := op.Buckets[b.Bucket]; exists {
		return "", bucketExists(b.Bucket)
	}
	server, err := op.objects()
	if err != nil {
		return "", err
	}
	exists, err := server.BucketExists(ctx, b.Bucket)
	if err != nil {
		return "", fmt.Errorf("look for bucket %s: %w", b.Bucket, err)
	}
	if exists {
		return "", bucketExists(b.Bucket)
	}
	if err := server.CreateBucket(ctx, b.Bucket); err != nil {
		return "", fmt.Errorf("create bucket %s: %w", b.Bucket, err)
	}
	b.ID = b.Bucket
	b.Arn = "arn:aws:s3:::" + b.Bucket
	b.BucketDomainName = b.Bucket + ".s3.amazonaws.com"
	b.BucketRegionalDomainName = fmt.Sprintf("%s.s3.%s.amazonaws.com", b.Bucket, op.region)
	b.HostedZoneID = hostedZoneID
	b.Region = op.region
	record := &store.BucketRecord{Bucket: b}
	op.Buckets[b.ID] = record
	// Roles may have been given access to the bucket before it was made.
	return b.ID, op.syncBucket(ctx, record)
}

func (bucket) read(ctx context.Context, op *operation, id string) (any, error) {
	b, err := found(op.Buckets, id)
	if err != nil {
		return nil, err
	}
	server, err := op.objects()
	if err != nil {
		return nil, err
	}
	exists, err := server.BucketExists(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("look for bucket %s: %w", id, err)
	}
	if !exists {
		delete(op.Buckets, id)
		return nil, errGone
	}
	return &b.Bucket, nil
}

func (bucket) update(_ context.Context, op *operation, id string, inputs property.Map) error {
	b, err := found(op.Buckets, id)
	if err != nil {
		return err
	}
	var next store.Bucket
	if err := schema.Decode(inputs, &next); err != nil {
		return err
	}
	b.Bucket.ForceDestroy = next.ForceDestroy
	b.Bucket.Tags = next.Tags
	return nil
}

func (bucket) delete(ctx context.Context, op *operation, id string) error {
	b, err := found(op.Buckets, id)
	if err != nil {
		return err
	}
	server, err := op.objects()
	if err != nil {
		return err
	}
	if b.Bucket.ForceDestroy {
		if err := server.EmptyBucket(ctx, id); err != nil {
			return fmt.Errorf("empty bucket %s: %w", id, err)
		}
	}
	if err := server.DeleteBucket(ctx, id); err != nil {
		return fmt.Errorf("delete bucket %s: %w", id, err)
	}
	delete(op.Buckets, id)
	return nil
}

func bucketExists(name string) error {
	return apiError("BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded and you already own it: %s", name)
}

// checkBucketName follows the rules for general purpose buckets.
func checkBucketName(name string) error {
	_, notAddress := netip.ParseAddr(name)
	wellFormed := regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`).MatchString(name)
	reserved := strings.HasPrefix(name, "xn--") || strings.HasPrefix(name, "sthree-") ||
		strings.HasSuffix(name, "-s3alias") || strings.HasSuffix(name, "--ol-s3")
	if !wellFormed || reserved || strings.Contains(name, "..") || notAddress == nil {
		return apiError("InvalidBucketName",
			"The specified bucket is not valid: %q; write 3 to 63 characters of a-z, 0-9, - and ., with a letter or digit at both ends", name)
	}
	return nil
}
