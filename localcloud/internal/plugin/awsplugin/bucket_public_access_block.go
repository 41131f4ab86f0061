package awsplugin

import (
	"context"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/plugin/awsplugin/policy"
	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// bucketPublicAccessBlock keeps the public access blocks of buckets. Of their
// four settings, localcloud has a use for the two about policies: it has no ACLs.
type bucketPublicAccessBlock struct{}

func (bucketPublicAccessBlock) create(_ context.Context, op *operation, inputs property.Map) (string, error) {
	var block store.BucketPublicAccessBlock
	if err := schema.Decode(inputs, &block); err != nil {
		return "", err
	}
	b, err := op.bucket(block.Bucket)
	if err != nil {
		return "", err
	}
	block.ID = block.Bucket
	return block.ID, setPublicAccess(b, &block)
}

func (bucketPublicAccessBlock) read(_ context.Context, op *operation, id string) (any, error) {
	b, ok := op.Buckets[id]
	if !ok || b.PublicAccess == nil {
		return nil, errGone
	}
	return b.PublicAccess, nil
}

func (bucketPublicAccessBlock) update(_ context.Context, op *operation, id string, inputs property.Map) error {
	b, ok := op.Buckets[id]
	if !ok || b.PublicAccess == nil {
		return errGone
	}
	next := store.BucketPublicAccessBlock{ID: id}
	if err := schema.Decode(inputs, &next); err != nil {
		return err
	}
	return setPublicAccess(b, &next)
}

func (bucketPublicAccessBlock) delete(_ context.Context, op *operation, id string) error {
	b, ok := op.Buckets[id]
	if !ok || b.PublicAccess == nil {
		return errGone
	}
	b.PublicAccess = nil
	b.PublicAccessRemoved = true
	return nil
}

// setPublicAccess refuses to restrict a bucket that is public already: the S3
// server could not enforce it.
func setPublicAccess(b *store.BucketRecord, block *store.BucketPublicAccessBlock) error {
	if block.RestrictPublicBuckets && b.Policy != nil {
		document, err := policy.BucketPolicy(block.Bucket, b.Policy.Policy)
		if err != nil {
			return err
		}
		if document.IsPublic() {
			return apiError("NotImplemented", "bucket %s has a public policy, which localcloud cannot restrict: remove the policy", block.Bucket)
		}
	}
	b.PublicAccess = block
	b.PublicAccessRemoved = false
	return nil
}

// blocksPublicPolicy says whether the bucket takes no public policy. That is
// so for every new bucket, until its public access block is removed.
func blocksPublicPolicy(b *store.BucketRecord) bool {
	if b.PublicAccess == nil {
		return !b.PublicAccessRemoved
	}
	return b.PublicAccess.BlockPublicPolicy || b.PublicAccess.RestrictPublicBuckets
}
