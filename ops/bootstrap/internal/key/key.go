// Package key creates the KMS key that encrypts a stack's secrets.
package key

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"immutable-infra/ops/bootstrap/internal/steps"
)

// Key is a stack's key.
type Key struct {
	Client *kms.Client
	// Project and Stack are part of its alias and tags.
	Project, Stack string
	Region         string
}

// Alias returns the alias, which identifies the key.
func (k Key) Alias() string {
	return "alias/" + k.Project + "-" + k.Stack
}

// SecretsProvider returns the URL with which Pulumi addresses the key.
func (k Key) SecretsProvider() string {
	return "awskms://" + k.Alias() + "?" + url.Values{"region": {k.Region}}.Encode()
}

// Ensure creates the key if it does not exist, enables yearly rotation, and returns its ARN.
func (k Key) Ensure(ctx context.Context, printer *steps.Printer) (arn string, err error) {
	err = printer.Run("key "+k.Alias(), func() (detail string, err error) {
		arn, detail, err = k.ensure(ctx)
		return detail, err
	})
	if err != nil {
		return "", err
	}
	err = printer.Run("rotation", func() (string, error) {
		_, err := k.Client.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: aws.String(arn)})
		return "", err
	})
	return arn, err
}

func (k Key) ensure(ctx context.Context) (arn, detail string, err error) {
	described, err := k.Client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String(k.Alias())})
	var missing *types.NotFoundException
	if errors.As(err, &missing) {
		arn, err := k.create(ctx)
		return arn, "created", err
	}
	if err != nil {
		return "", "", err
	}
	arn = aws.ToString(described.KeyMetadata.Arn)
	if err := k.check(described.KeyMetadata); err != nil {
		return "", "", err
	}
	return arn, "exists", nil
}

// check returns an error if the key cannot encrypt secrets.
func (k Key) check(found *types.KeyMetadata) error {
	id := aws.ToString(found.KeyId)
	switch found.KeyState {
	case types.KeyStateEnabled:
	case types.KeyStatePendingDeletion:
		when := "soon"
		if found.DeletionDate != nil {
			when = "on " + found.DeletionDate.UTC().Format("2 January 2006")
		}
		return fmt.Errorf("the key %s will be deleted %s, which makes everything encrypted with it unreadable; to keep "+
			"it: aws kms cancel-key-deletion --key-id %s && aws kms enable-key --key-id %s; to replace it: "+
			"aws kms delete-alias --alias-name %s, then run this again",
			id, when, id, id, k.Alias())
	case types.KeyStateDisabled:
		return fmt.Errorf("the key %s is disabled; enable it: aws kms enable-key --key-id %s", id, id)
	default:
		return fmt.Errorf("cannot use the key %s: its state is %s", id, found.KeyState)
	}
	if found.KeyUsage != types.KeyUsageTypeEncryptDecrypt || found.KeySpec != types.KeySpecSymmetricDefault {
		return fmt.Errorf("the key %s is %s for %s, but must be symmetric and for encryption; replace it: "+
			"aws kms delete-alias --alias-name %s, then run this again", id, found.KeySpec, found.KeyUsage, k.Alias())
	}
	return nil
}

// create creates the key and its alias. The key has AWS's default policy: the account's IAM policies decide who can use
// it.
func (k Key) create(ctx context.Context) (arn string, err error) {
	created, err := k.Client.CreateKey(ctx, &kms.CreateKeyInput{
		Description: aws.String(fmt.Sprintf("Pulumi's secrets of the stack %s of %s", k.Stack, k.Project)),
		KeySpec:     types.KeySpecSymmetricDefault,
		KeyUsage:    types.KeyUsageTypeEncryptDecrypt,
		Tags: []types.Tag{
			{TagKey: aws.String("Name"), TagValue: aws.String(k.Project + "-" + k.Stack)},
			{TagKey: aws.String("Project"), TagValue: aws.String(k.Project)},
			{TagKey: aws.String("Stack"), TagValue: aws.String(k.Stack)},
		},
	})
	if err != nil {
		return "", err
	}
	id := aws.ToString(created.KeyMetadata.KeyId)
	alias := &kms.CreateAliasInput{AliasName: aws.String(k.Alias()), TargetKeyId: aws.String(id)}
	if _, err := k.Client.CreateAlias(ctx, alias); err != nil {
		// Without an alias the next attempt would create, and pay for, another key.
		return "", fmt.Errorf("cannot create the alias of the new key %s; before you run this again: "+
			"aws kms create-alias --alias-name %s --target-key-id %s: %w", id, k.Alias(), id, err)
	}
	return aws.ToString(created.KeyMetadata.Arn), nil
}
