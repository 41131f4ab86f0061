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

// Limits of IAM. Those of policies are in characters without white space.
const (
	maxManagedPolicy = 6144
	maxRolePolicies  = 10240 // all inline policies of a role
)

func checkRole(op *operation, r store.Record) error {
	if _, err := policy.TrustPolicy(r.Text("assumeRolePolicy")); err != nil {
		return apiError("MalformedPolicyDocument", "assumeRolePolicy: %s", err)
	}
	return nil
}

// removeRole takes a role out of its profiles, as the provider does, and ends its account.
func removeRole(ctx context.Context, op *operation, r store.Record) error {
	id := r.Text("id")
	if len(op.Roles[id].Policies) > 0 {
		return apiError("DeleteConflict", "Cannot delete entity, must delete policies first.")
	}
	account := op.Roles[id].Account
	delete(op.Roles, id)
	for name, profile := range op.InstanceProfiles {
		if profile.Text("role") != id {
			continue
		}
		profile["role"] = ""
		if err := op.applyProfile(ctx, name); err != nil {
			return err
		}
	}
	if account == nil {
		return nil
	}
	// No policy may name the account when it goes.
	if err := op.syncBuckets(ctx); err != nil {
		return err
	}
	return op.onS3("delete the S3 account of role "+id, func(server objectStore) error {
		return server.DeleteAccount(ctx, account.AccessKeyID)
	})
}

// applyRole brings another permissions boundary to the S3 server.
func applyRole(ctx context.Context, op *operation, before, after store.Record) error {
	if before == nil || after == nil || before.Text("permissionsBoundary") == after.Text("permissionsBoundary") {
		return nil
	}
	return op.syncRole(ctx, after.Text("id"))
}

// rolePolicyRows are the inline policies, which are stored with their role.
func rolePolicyRows() rows {
	return rows{
		all: func(s *store.State) store.Table {
			policies := store.Table{}
			for role, r := range s.Roles {
				for name, p := range r.Policies {
					policies[role+":"+name] = p
				}
			}
			return policies
		},
		put: func(s *store.State, _ string, r store.Record) {
			role := s.Roles[r.Text("role")]
			if role.Policies == nil {
				role.Policies = store.Table{}
			}
			role.Policies[r.Text("name")] = r
		},
		drop: func(s *store.State, id string) {
			role, name, _ := strings.Cut(id, ":")
			delete(s.Roles[role].Policies, name)
		},
	}
}

func rolePolicyID(r store.Record) string { return r.Text("role") + ":" + r.Text("name") }

func checkRolePolicy(op *operation, r store.Record) error {
	if _, err := policy.RolePolicy(r.Text("policy")); err != nil {
		return apiError("MalformedPolicyDocument", "policy %s: %s", r.Text("name"), err)
	}
	size := policySize(r)
	for name, other := range op.Roles[r.Text("role")].Policies {
		if name != r.Text("name") {
			size += policySize(other)
		}
	}
	if size > maxRolePolicies {
		return apiError("LimitExceeded",
			"Maximum policy size of %d bytes exceeded for role %s", maxRolePolicies, r.Text("role"))
	}
	return nil
}

func policySize(r store.Record) int { return len(strings.Join(strings.Fields(r.Text("policy")), "")) }

func applyRolePolicy(ctx context.Context, op *operation, before, after store.Record) error {
	return op.syncRole(ctx, either(before, after).Text("role"))
}

// checkManagedPolicy checks a managed policy. It bounds roles here, and is attached to none.
func checkManagedPolicy(_ *operation, r store.Record) error {
	if _, err := policy.RolePolicy(r.Text("policy")); err != nil {
		return apiError("MalformedPolicyDocument", "policy %s: %s", r.Text("name"), err)
	}
	if policySize(r) > maxManagedPolicy {
		return apiError("LimitExceeded", "Cannot exceed quota for PolicySize: %d", maxManagedPolicy)
	}
	return nil
}

// applyManagedPolicy brings another document to the roles that the policy bounds.
func applyManagedPolicy(ctx context.Context, op *operation, _, after store.Record) error {
	for _, r := range op.Roles {
		if r.Account != nil && r.Shown.Text("permissionsBoundary") != "" && r.Shown["permissionsBoundary"] == after["id"] {
			return op.syncBuckets(ctx)
		}
	}
	return nil
}

// showInstanceProfile takes a role that is gone out of the profile, as the provider does.
func showInstanceProfile(_ context.Context, op *operation, r store.Record) (store.Record, error) {
	if op.Roles[r.Text("role")] == nil {
		delete(r, "role")
	}
	return r, nil
}

func applyInstanceProfile(ctx context.Context, op *operation, before, after store.Record) error {
	if before == nil || after != nil && before.Text("role") == after.Text("role") {
		return nil
	}
	return op.applyProfile(ctx, before.Text("id"))
}

// applyProfile brings a change of a profile to the instances that have it. Instances
// that have lost their profile or its role continue without credentials, as on AWS.
func (op *operation) applyProfile(ctx context.Context, name string) error {
	var vpcs []string
	for _, i := range op.Instances {
		if i.Shown.Text("iamInstanceProfile") == name {
			vpcs = append(vpcs, i.VpcID)
		}
	}
	if len(vpcs) == 0 {
		return nil
	}
	if err := op.useRole(ctx, name); err != nil {
		return err
	}
	return op.applyGateways(ctx, vpcs...)
}

// checkProvider brings an OIDC provider, which roles trust, to the form of IAM: without a scheme. No
// caller signs in through one here: `localcloud env -role` prints the credentials of roles.
func checkProvider(_ *operation, r store.Record) error {
	r["url"] = strings.TrimPrefix(r.Text("url"), "https://")
	return nil
}

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
	err := op.onS3("make the S3 account of role "+r.Shown.Text("name"), func(server objectStore) error {
		return server.CreateAccount(ctx, r.Account.AccessKeyID, r.Account.SecretAccessKey)
	})
	if err != nil {
		return err
	}
	return op.syncBuckets(ctx)
}

// RoleAccount returns the account that stands for a role, which it makes at the
// role's first use. dir is localcloud's directory. Buckets that were
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
	err := op.onS3("list the buckets", func(server objectStore) (err error) {
		names, err = server.Buckets(ctx)
		return err
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		// Ignore a bucket that was deleted meanwhile.
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
	return op.onS3("set the effective policy of bucket "+name, func(server objectStore) error {
		current, err := server.Policy(ctx, name)
		if err != nil {
			return err
		}
		own := current
		if b := op.Buckets[name]; b != nil {
			own = b.Policy.Text("policy")
		}
		merged, err := policy.Merge(name, own, identities)
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
