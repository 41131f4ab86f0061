package awsplugin

import (
	"context"
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// defaultOwnership is that of a bucket without ownership controls of its own.
const defaultOwnership = "BucketOwnerEnforced"

// bucketOwnershipControls sets the object ownership of buckets.
type bucketOwnershipControls struct{}

func (bucketOwnershipControls) create(ctx context.Context, op *operation, inputs property.Map) (string, error) {
	var controls store.BucketOwnershipControls
	if err := schema.Decode(inputs, &controls); err != nil {
		return "", err
	}
	b, err := op.bucket(controls.Bucket)
	if err != nil {
		return "", err
	}
	controls.ID = controls.Bucket
	b.Ownership = &controls
	return controls.ID, op.putOwnership(ctx, controls.Bucket, controls.Rule.ObjectOwnership)
}

func (bucketOwnershipControls) read(_ context.Context, op *operation, id string) (any, error) {
	b, ok := op.Buckets[id]
	if !ok || b.Ownership == nil {
		return nil, errGone
	}
	return b.Ownership, nil
}

func (bucketOwnershipControls) update(ctx context.Context, op *operation, id string, inputs property.Map) error {
	b, ok := op.Buckets[id]
	if !ok || b.Ownership == nil {
		return errGone
	}
	next := store.BucketOwnershipControls{ID: id}
	if err := schema.Decode(inputs, &next); err != nil {
		return err
	}
	b.Ownership = &next
	return op.putOwnership(ctx, id, next.Rule.ObjectOwnership)
}

func (bucketOwnershipControls) delete(ctx context.Context, op *operation, id string) error {
	b, ok := op.Buckets[id]
	if !ok || b.Ownership == nil {
		return errGone
	}
	b.Ownership = nil
	return op.putOwnership(ctx, id, defaultOwnership)
}

func (op *operation) putOwnership(ctx context.Context, bucketName, ownership string) error {
	server, err := op.objects()
	if err != nil {
		return err
	}
	if err := server.PutOwnership(ctx, bucketName, ownership); err != nil {
		return fmt.Errorf("set the object ownership of bucket %s: %w", bucketName, err)
	}
	return nil
}
