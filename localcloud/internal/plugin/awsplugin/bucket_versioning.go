package awsplugin

import (
	"context"
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// bucketVersioning sets the versioning of buckets.
type bucketVersioning struct{}

func (bucketVersioning) create(ctx context.Context, op *operation, inputs property.Map) (string, error) {
	var v store.BucketVersioning
	if err := schema.Decode(inputs, &v); err != nil {
		return "", err
	}
	b, err := op.bucket(v.Bucket)
	if err != nil {
		return "", err
	}
	if err := checkOwner(v.ExpectedBucketOwner); err != nil {
		return "", err
	}
	v.ID = v.Bucket
	return v.ID, op.setVersioning(ctx, b, &v)
}

func (bucketVersioning) read(_ context.Context, op *operation, id string) (any, error) {
	b, ok := op.Buckets[id]
	if !ok || b.Versioning == nil {
		return nil, errGone
	}
	return b.Versioning, nil
}

func (bucketVersioning) update(ctx context.Context, op *operation, id string, inputs property.Map) error {
	b, ok := op.Buckets[id]
	if !ok || b.Versioning == nil {
		return errGone
	}
	next := store.BucketVersioning{ID: id}
	if err := schema.Decode(inputs, &next); err != nil {
		return err
	}
	if before := b.Versioning.VersioningConfiguration.Status; next.VersioningConfiguration.Status == "Disabled" && before != "Disabled" {
		return fmt.Errorf("versioningConfiguration.status cannot be updated from %q to \"Disabled\": write \"Suspended\"", before)
	}
	return op.setVersioning(ctx, b, &next)
}

// delete suspends versioning: S3 has no way back from it.
func (bucketVersioning) delete(ctx context.Context, op *operation, id string) error {
	b, ok := op.Buckets[id]
	if !ok || b.Versioning == nil {
		return errGone
	}
	if b.Versioning.VersioningConfiguration.Status == "Enabled" {
		suspended := *b.Versioning
		suspended.VersioningConfiguration.Status = "Suspended"
		if err := op.setVersioning(ctx, b, &suspended); err != nil {
			return err
		}
	}
	b.Versioning = nil
	return nil
}

func (op *operation) setVersioning(ctx context.Context, b *store.BucketRecord, v *store.BucketVersioning) error {
	if status := v.VersioningConfiguration.Status; status != "Disabled" {
		server, err := op.objects()
		if err != nil {
			return err
		}
		if err := server.PutVersioning(ctx, v.Bucket, status); err != nil {
			return fmt.Errorf("set the versioning of bucket %s: %w", v.Bucket, err)
		}
	}
	b.Versioning = v
	return nil
}

func checkOwner(expected string) error {
	if expected != "" && expected != accountID {
		return apiError("AccessDenied", "expectedBucketOwner is %s, and the bucket's owner is %s", expected, accountID)
	}
	return nil
}
