package awsplugin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"immutable-infra/localcloud/internal/plugin/awsplugin/caller"
	"immutable-infra/localcloud/internal/plugin/awsplugin/policy"
	"immutable-infra/localcloud/internal/plugin/awsplugin/s3server"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// useRole makes the account at the S3 server that stands for the role of an
// instance profile, and gives it what the role's policies allow.
func (op *operation) useRole(ctx context.Context, profile string) error {
	if r, ok := op.Roles[op.InstanceProfiles[profile].Text("role")]; ok {
		return op.ensureAccount(ctx, r)
	}
	return nil
}

// ensureAccount makes the account at the S3 server that stands for a role, if it
// is not there, and gives it what the role's policies allow.
func (op *operation) ensureAccount(ctx context.Context, r *store.Role) error {
	if r.Account == nil {
		r.Account = newAccount()
	}
	err := op.onS3("make the S3 account of role "+r.Shown.Text("name"), func(server objects) error {
		return server.CreateAccount(ctx, r.Account.AccessKeyID, r.Account.SecretAccessKey)
	})
	if err != nil {
		return err
	}
	return op.syncBuckets(ctx)
}

// RoleAccount returns the account that stands for a role, which it makes if
// nobody has used the role yet. dir is localcloud's directory. Buckets that were
// made by other means than the plugin are within the role's reach from then on.
func RoleAccount(ctx context.Context, dir, role string) (store.Account, error) {
	pl, err := open(dir, store.Account{})
	if err != nil {
		return store.Account{}, err
	}
	return pl.roleAccount(ctx, role)
}

func (pl *plugin) roleAccount(ctx context.Context, role string) (account store.Account, err error) {
	err = pl.store.Update(ctx, func(tx *store.Transaction) error {
		r, ok := tx.Roles[role]
		if !ok {
			existing := "there is none yet"
			if len(tx.Roles) > 0 {
				existing = "there are " + strings.Join(slices.Sorted(maps.Keys(tx.Roles)), ", ")
			}
			return fmt.Errorf("the local cloud has no role %q; %s", role, existing)
		}
		op := &operation{Transaction: tx, plugin: pl, cloud: pl.cloud}
		if err := op.ensureAccount(ctx, r); err != nil {
			return err
		}
		account = *r.Account
		return nil
	})
	return account, err
}

// syncRole brings a change of a role's policies to the buckets.
func (op *operation) syncRole(ctx context.Context, name string) error {
	if op.Roles[name].Account == nil {
		return nil
	}
	return op.syncBuckets(ctx)
}

// syncBuckets gives every bucket at the S3 server the policy that follows from its
// own and those of the roles.
func (op *operation) syncBuckets(ctx context.Context) error {
	var names []string
	err := op.onS3("list the buckets", func(server objects) (err error) {
		names, err = server.Buckets(ctx)
		return err
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		// A bucket that somebody deleted meanwhile is no matter of this one.
		if err := op.syncBucket(ctx, name); err != nil && !s3server.HasCode(err, "NoSuchBucket") {
			return err
		}
	}
	return nil
}

// syncBucket gives a bucket at the S3 server the policy that follows from its own
// and those of the roles. Of a bucket that the plugin did not make, what the policy
// says otherwise stays.
func (op *operation) syncBucket(ctx context.Context, name string) error {
	identities, err := op.identities()
	if err != nil {
		return err
	}
	own, err := op.bucketPolicy(name)
	if err != nil {
		return err
	}
	return op.onS3("set the effective policy of bucket "+name, func(server objects) error {
		if op.Buckets[name] != nil {
			effective, err := policy.Effective(name, own, identities)
			if err != nil {
				return err
			}
			return server.PutPolicy(ctx, name, effective)
		}
		current, err := server.Policy(ctx, name)
		if err != nil {
			return err
		}
		merged, err := policy.Merge(name, current, identities)
		if err != nil || merged == current {
			return err
		}
		return server.PutPolicy(ctx, name, merged)
	})
}

func (op *operation) identities() ([]policy.Identity, error) {
	var identities []policy.Identity
	for _, name := range slices.Sorted(maps.Keys(op.Roles)) {
		r := op.Roles[name]
		policies, boundary, err := caller.Documents(op.State, r)
		if err != nil {
			return nil, apiError("MalformedPolicyDocument", "%s", err)
		}
		identity := policy.Identity{RoleARN: r.Shown.Text("arn"), Policies: policies, Boundary: boundary}
		if r.Account != nil {
			identity.AccessKeyID = r.Account.AccessKeyID
		}
		identities = append(identities, identity)
	}
	return identities, nil
}
