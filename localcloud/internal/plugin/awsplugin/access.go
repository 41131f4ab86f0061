package awsplugin

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"immutable-infra/localcloud/internal/plugin/awsplugin/policy"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// useRole makes the account at the S3 server that stands for the role of an
// instance profile, and gives it what the role's policies allow.
func (op *operation) useRole(ctx context.Context, profileName string) error {
	profile, ok := op.InstanceProfiles[profileName]
	if !ok {
		return nil
	}
	r, ok := op.Roles[profile.Role]
	if !ok {
		return nil
	}
	if r.Account == nil {
		r.Account = newAccount()
	}
	server, err := op.objects()
	if err != nil {
		return err
	}
	if err := server.CreateAccount(ctx, r.Account.AccessKeyID, r.Account.SecretAccessKey); err != nil {
		return fmt.Errorf("make the S3 account of role %s: %w", r.Role.Name, err)
	}
	return op.syncBuckets(ctx)
}

// syncRole brings a change of a role's policies to the buckets.
func (op *operation) syncRole(ctx context.Context, r *store.RoleRecord) error {
	if r.Account == nil {
		return nil
	}
	return op.syncBuckets(ctx)
}

// syncBuckets gives every bucket the policy that follows from its own and those of the roles.
func (op *operation) syncBuckets(ctx context.Context) error {
	for _, name := range slices.Sorted(maps.Keys(op.Buckets)) {
		// A bucket that somebody deleted by other means is no matter of this one.
		if err := op.syncBucket(ctx, op.Buckets[name]); err != nil && !hasCode(err, "NoSuchBucket") {
			return err
		}
	}
	return nil
}

func (op *operation) syncBucket(ctx context.Context, b *store.BucketRecord) error {
	name := b.Bucket.Bucket
	var own *policy.Document
	if b.Policy != nil {
		document, err := policy.BucketPolicy(name, b.Policy.Policy)
		if err != nil {
			return apiError("MalformedPolicy", "bucket %s: %s", name, err)
		}
		own = &document
	}
	identities, err := op.identities()
	if err != nil {
		return err
	}
	effective, err := policy.Effective(name, own, identities)
	if err != nil {
		return err
	}
	server, err := op.objects()
	if err != nil {
		return err
	}
	if err := server.PutPolicy(ctx, name, effective); err != nil {
		return fmt.Errorf("set the effective policy of bucket %s: %w", name, err)
	}
	return nil
}

func (op *operation) identities() ([]policy.Identity, error) {
	var identities []policy.Identity
	for _, name := range slices.Sorted(maps.Keys(op.Roles)) {
		r := op.Roles[name]
		identity := policy.Identity{RoleARN: r.Role.Arn}
		if r.Account != nil {
			identity.AccessKeyID = r.Account.AccessKeyID
		}
		for _, policyName := range slices.Sorted(maps.Keys(r.Policies)) {
			document, err := policy.RolePolicy(r.Policies[policyName].Policy)
			if err != nil {
				return nil, apiError("MalformedPolicyDocument", "policy %s of role %s: %s", policyName, name, err)
			}
			identity.Policies = append(identity.Policies, document)
		}
		identities = append(identities, identity)
	}
	return identities, nil
}
