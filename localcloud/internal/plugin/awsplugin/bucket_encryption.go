package awsplugin

import (
	"context"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// bucketEncryption keeps the default encryption of buckets. The S3 server does
// not encrypt; the setting has no effect that a client could see.
type bucketEncryption struct{}

func (bucketEncryption) create(_ context.Context, op *operation, inputs property.Map) (string, error) {
	e, err := decodeEncryption(inputs)
	if err != nil {
		return "", err
	}
	b, err := op.bucket(e.Bucket)
	if err != nil {
		return "", err
	}
	b.Encryption = e
	return e.ID, nil
}

func (bucketEncryption) read(_ context.Context, op *operation, id string) (any, error) {
	b, ok := op.Buckets[id]
	if !ok || b.Encryption == nil {
		return nil, errGone
	}
	return b.Encryption, nil
}

func (bucketEncryption) update(_ context.Context, op *operation, id string, inputs property.Map) error {
	b, ok := op.Buckets[id]
	if !ok || b.Encryption == nil {
		return errGone
	}
	e, err := decodeEncryption(inputs)
	if err != nil {
		return err
	}
	b.Encryption = e
	return nil
}

func (bucketEncryption) delete(_ context.Context, op *operation, id string) error {
	b, ok := op.Buckets[id]
	if !ok || b.Encryption == nil {
		return errGone
	}
	b.Encryption = nil
	return nil
}

func decodeEncryption(inputs property.Map) (*store.BucketEncryption, error) {
	var e store.BucketEncryption
	if err := schema.Decode(inputs, &e); err != nil {
		return nil, err
	}
	if err := checkOwner(e.ExpectedBucketOwner); err != nil {
		return nil, err
	}
	if len(e.Rules) != 1 || e.Rules[0].ApplyServerSideEncryptionByDefault == nil {
		return nil, apiError("MalformedXML", "rules must hold exactly one rule, with applyServerSideEncryptionByDefault")
	}
	e.ID = e.Bucket
	return &e, nil
}
