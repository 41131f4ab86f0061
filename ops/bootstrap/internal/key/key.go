// Package key makes the KMS key that encrypts a stack's secrets.
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

// Key is the key of a stack.
type Key struct {
	Client *kms.Client
	// Project and Stack are the names for which it is.
	Project, Stack string
	Region         string
}

// Alias is the name by which it is found.
func (k Key) Alias() string {
	return "alias/" + k.Project + "-" + k.Stack
}

// SecretsProvider is how Pulumi names it.
func (k Key) SecretsProvider() string {
	return "awskms://" + k.Alias() + "?" + url.Values{"region": {k.Region}}.Encode()
}

// Ensure makes the key where there is none, has it rotate each year, and returns its ARN.
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
		return arn, "made", err
	}
	if err != nil {
		return "", "", err
	}
	arn = aws.ToString(described.KeyMetadata.Arn)
	if err := k.check(described.KeyMetadata); err != nil {
		return "", "", err
	}
	return arn, "is there", nil
}

// check refuses a key that does not encrypt.
func (k Key) check(found *types.KeyMetadata) error {
	id := aws.ToString(found.KeyId)
	switch found.KeyState {
	case types.KeyStateEnabled:
	case types.KeyStatePendingDeletion:
		when := "soon"
		if found.DeletionDate != nil {
			when = "on " + found.DeletionDate.UTC().Format("2 January 2006")
		}
		return fmt.Errorf("the key %s will be deleted %s, and with it all that it has encrypted. If it is still needed: "+
			"aws kms cancel-key-deletion --key-id %s && aws kms enable-key --key-id %s. If not, give its name to a new one: "+
			"aws kms delete-alias --alias-name %s; then try again",
			id, when, id, id, k.Alias())
	case types.KeyStateDisabled:
		return fmt.Errorf("the key %s is disabled. To use it again: aws kms enable-key --key-id %s", id, id)
	default:
		return fmt.Errorf("the key %s cannot be used: its state is %s", id, found.KeyState)
	}
	if found.KeyUsage != types.KeyUsageTypeEncryptDecrypt || found.KeySpec != types.KeySpecSymmetricDefault {
		return fmt.Errorf("the key %s is of the kind %s for %s, and must be symmetric, to encrypt and decrypt. Give its "+
			"name to a new one: "+
			"aws kms delete-alias --alias-name %s; then try again", id, found.KeySpec, found.KeyUsage, k.Alias())
	}
	return nil
}

// create makes the key and names it. Its policy is AWS's default: the account's own policies
// decide who may use it.
func (k Key) create(ctx context.Context) (arn string, err error) {
	made, err := k.Client.CreateKey(ctx, &kms.CreateKeyInput{
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
	id := aws.ToString(made.KeyMetadata.KeyId)
	alias := &kms.CreateAliasInput{AliasName: aws.String(k.Alias()), TargetKeyId: aws.String(id)}
	if _, err := k.Client.CreateAlias(ctx, alias); err != nil {
		// Without its name nobody finds it again, and the next attempt would make, and pay for, another.
		return "", fmt.Errorf("the key %s is made and has no name yet. When the reason is gone, do not try again before: "+
			"aws kms create-alias --alias-name %s --target-key-id %s: %w", id, k.Alias(), id, err)
	}
	return aws.ToString(made.KeyMetadata.Arn), nil
}
