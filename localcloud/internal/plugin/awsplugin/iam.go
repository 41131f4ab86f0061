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

// IAM's limits on policies, in characters without white space.
const (
	maxManagedPolicy = 6144
	maxRolePolicies  = 10240 // total of a role's inline policies
)

func checkRole(op *operation, r store.Record) error {
	if _, err := policy.TrustPolicy(r.Text("assumeRolePolicy")); err != nil {
		return apiError("MalformedPolicyDocument", "assumeRolePolicy: %s", err)
	}
	return nil
}

// removeRole removes a role from its instance profiles, as the provider does, and deletes its account.
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
	// Remove the account from all bucket policies before deleting it.
	if err := op.syncBuckets(ctx); err != nil {
		return err
	}
	return op.onS3("delete the S3 account of role "+id, func(server objectStore) error {
		return server.DeleteAccount(ctx, account.AccessKeyID)
	})
}

// applyRole applies a changed permissions boundary to the S3 server.
func applyRole(ctx context.Context, op *operation, before, after store.Record) error {
	if before == nil || after == nil || before.Text("permissionsBoundary") == after.Text("permissionsBoundary") {
		return nil
	}
	return op.syncRole(ctx, after.Text("id"))
}

// rolePolicyRows returns the rows of inline policies, which are stored in their roles.
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
	return op.syncRole(ctx, latest(before, after).Text("role"))
}

// checkManagedPolicy validates a managed policy. Here, it is only used as a permissions boundary, and is not
// attached to roles.
func checkManagedPolicy(_ *operation, r store.Record) error {
	if _, err := policy.RolePolicy(r.Text("policy")); err != nil {
		return apiError("MalformedPolicyDocument", "policy %s: %s", r.Text("name"), err)
	}
	if policySize(r) > maxManagedPolicy {
		return apiError("LimitExceeded", "Cannot exceed quota for PolicySize: %d", maxManagedPolicy)
	}
	return nil
}

// applyManagedPolicy applies a changed document to the roles whose permissions boundary it is.
func applyManagedPolicy(ctx context.Context, op *operation, _, after store.Record) error {
	for _, r := range op.Roles {
		if r.Account != nil && r.Shown.Text("permissionsBoundary") != "" && r.Shown["permissionsBoundary"] == after["id"] {
			return op.syncBuckets(ctx)
		}
	}
	return nil
}

// showInstanceProfile removes a deleted role from the profile, as the provider does.
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

// applyProfile applies a changed profile to the instances that use it. If the profile or its role has been
// deleted, they continue without credentials, as on AWS.
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
	if err := op.ensureProfileAccount(ctx, name); err != nil {
		return err
	}
	return op.applyGateways(ctx, vpcs...)
}

// checkProvider normalizes the URL of an OIDC provider, which IAM stores without the scheme. Roles can trust the
// provider, but callers cannot sign in through it: use `localcloud env -role` to get a role's credentials.
func checkProvider(_ *operation, r store.Record) error {
	r["url"] = strings.TrimPrefix(r.Text("url"), "https://")
	return nil
}

// ensureProfileAccount calls ensureAccount for the role of an instance profile, if it has one.
func (op *operation) ensureProfileAccount(ctx context.Context, profile string) error {
	if r, ok := op.Roles[op.InstanceProfiles[profile].Text("role")]; ok {
		return op.ensureAccount(ctx, r)
	}
	return nil
}

// ensureAccount creates a role's account at the S3 server, if it does not exist, and grants it what the role's
// policies allow.
func (op *operation) ensureAccount(ctx context.Context, r *store.Role) error {
	if r.Account == nil {
		r.Account = newAccount()
	}
	err := op.onS3("create the S3 account of role "+r.Shown.Text("name"), func(server objectStore) error {
		return server.CreateAccount(ctx, r.Account.AccessKeyID, r.Account.SecretAccessKey)
	})
	if err != nil {
		return err
	}
	return op.syncBuckets(ctx)
}

// RoleAccount returns a role's account at the S3 server, and creates it on first use. dir is localcloud's
// directory. The role's policies then also apply to buckets that the plugin did not create.
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
			existing := "no roles exist yet"
			if len(tx.Roles) > 0 {
				existing = "existing roles: " + strings.Join(slices.Sorted(maps.Keys(tx.Roles)), ", ")
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

// syncRole applies a change of a role's policies to the buckets.
func (op *operation) syncRole(ctx context.Context, name string) error {
	if op.Roles[name].Account == nil {
		return nil
	}
	return op.syncBuckets(ctx)
}

// syncBuckets updates the policy of every bucket at the S3 server, as syncBucket does.
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
		// Ignore a bucket that has been deleted in the meantime.
		if err := op.syncBucket(ctx, name); err != nil && !s3server.HasCode(err, "NoSuchBucket") {
			return err
		}
	}
	return nil
}

// syncBucket updates the policy of a bucket at the S3 server: it merges the bucket's own policy with those of the
// roles. If the plugin did not create the bucket, the other statements of its current policy are kept.
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
