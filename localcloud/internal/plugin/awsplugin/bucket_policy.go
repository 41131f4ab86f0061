package awsplugin

import (
	"context"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/plugin/awsplugin/policy"
	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// bucketPolicy sets the policies of buckets. The S3 server gets them merged
// with the policies of roles; the program sees only its own.
type bucketPolicy struct{}

func (bucketPolicy) create(ctx context.Context, op *operation, inputs property.Map) (string, error) {
	var bp store.BucketPolicy
	if err := schema.Decode(inputs, &bp); err != nil {
		return "", err
	}
	b, err := op.bucket(bp.Bucket)
	if err != nil {
		return "", err
	}
	bp.ID = bp.Bucket
	return bp.ID, op.putBucketPolicy(ctx, b, &bp)
}

func (bucketPolicy) read(_ context.Context, op *operation, id string) (any, error) {
	b, ok := op.Buckets[id]
	if !ok || b.Policy == nil {
		return nil, errGone
	}
	return b.Policy, nil
}

func (bucketPolicy) update(ctx context.Context, op *operation, id string, inputs property.Map) error {
	b, ok := op.Buckets[id]
	if !ok || b.Policy == nil {
		return errGone
	}
	next := store.BucketPolicy{ID: id}
	if err := schema.Decode(inputs, &next); err != nil {
		return err
	}
	return op.putBucketPolicy(ctx, b, &next)
}

func (bucketPolicy) delete(ctx context.Context, op *operation, id string) error {
	b, ok := op.Buckets[id]
	if !ok || b.Policy == nil {
		return errGone
	}
	b.Policy = nil
	return op.syncBucket(ctx, b)
}

func (op *operation) putBucketPolicy(ctx context.Context, b *store.BucketRecord, bp *store.BucketPolicy) error {
	document, err := policy.BucketPolicy(bp.Bucket, bp.Policy)
	if err != nil {
		return apiError("MalformedPolicy", "%s", err)
	}
	if document.IsPublic() && blocksPublicPolicy(b) {
		return apiError("AccessDenied",
			"User: arn:aws:iam::%s:user/localcloud is not authorized to perform: s3:PutBucketPolicy on resource: %q because public policies are prevented by the BlockPublicPolicy setting in S3 Block Public Access.",
			accountID, b.Bucket.Arn)
	}
	identities, err := op.identities()
	if err != nil {
		return err
	}
	if err := document.CheckPrincipals(accountID, identities); err != nil {
		return apiError("MalformedPolicy", "%s", err)
	}
	b.Policy = bp
	return op.syncBucket(ctx, b)
}
