package awsplugin

import (
	"context"
	"net/url"
	"strings"
	"time"

	"immutable-infra/localcloud/internal/plugin/awsplugin/policy"
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
	if len(op.Roles[id].Policies) > 0 && !r.Flag("forceDetachPolicies") {
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
	return op.onS3("delete the S3 account of role "+id, func(server objects) error {
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
	if after == nil {
		after = before
	}
	return op.syncRole(ctx, after.Text("role"))
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
// that have lost their profile or its role go on without credentials, as on AWS.
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

// checkProvider checks an OIDC provider, which roles trust. Nobody comes by one
// here: `localcloud env -role` gives out the credentials of roles.
func checkProvider(_ *operation, r store.Record) error {
	// The scheme may be left out, and IAM leaves it out.
	issuer := strings.TrimPrefix(r.Text("url"), "https://")
	parsed, err := url.Parse("https://" + issuer)
	if err != nil || parsed.Hostname() == "" || !strings.Contains(parsed.Hostname(), ".") || parsed.Port() != "" ||
		parsed.RawQuery != "" || parsed.Fragment != "" || strings.Contains(issuer, "://") {
		return apiError("ValidationError",
			"Invalid Open ID Connect Provider URL %q: write https://HOST or https://HOST/PATH", r.Text("url"))
	}
	r["url"] = issuer
	return nil
}

func now() string { return time.Now().UTC().Format(time.RFC3339) }
