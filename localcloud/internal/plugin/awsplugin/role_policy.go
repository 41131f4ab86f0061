package awsplugin

import (
	"context"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/plugin/awsplugin/policy"
	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// maxRolePolicies is IAM's limit of all inline policies of a role, in
// characters without white space.
const maxRolePolicies = 10240

// rolePolicy puts inline policies on roles.
type rolePolicy struct{}

func (rolePolicy) create(ctx context.Context, op *operation, inputs property.Map) (string, error) {
	var rp store.RolePolicy
	if err := schema.Decode(inputs, &rp); err != nil {
		return "", err
	}
	if rp.NamePrefix != "" {
		rp.Name = uniqueName(rp.NamePrefix)
	}
	if err := checkIAMName("policyName", rp.Name, 128); err != nil {
		return "", err
	}
	r, err := op.role(rp.Role)
	if err != nil {
		return "", err
	}
	rp.ID = rp.Role + ":" + rp.Name
	return rp.ID, op.putRolePolicy(ctx, r, &rp)
}

func (rolePolicy) read(_ context.Context, op *operation, id string) (any, error) {
	_, rp := op.findRolePolicy(id)
	if rp == nil {
		return nil, errGone
	}
	return rp, nil
}

func (rolePolicy) update(ctx context.Context, op *operation, id string, inputs property.Map) error {
	r, rp := op.findRolePolicy(id)
	if rp == nil {
		return errGone
	}
	var next store.RolePolicy
	if err := schema.Decode(inputs, &next); err != nil {
		return err
	}
	changed := *rp
	changed.Policy = next.Policy
	return op.putRolePolicy(ctx, r, &changed)
}

func (rolePolicy) delete(ctx context.Context, op *operation, id string) error {
	r, rp := op.findRolePolicy(id)
	if rp == nil {
		return errGone
	}
	delete(r.Policies, rp.Name)
	return op.syncRole(ctx, r)
}

func (op *operation) putRolePolicy(ctx context.Context, r *store.RoleRecord, rp *store.RolePolicy) error {
	if _, err := policy.RolePolicy(rp.Policy); err != nil {
		return apiError("MalformedPolicyDocument", "policy %s: %s", rp.Name, err)
	}
	r.Policies[rp.Name] = rp
	size := 0
	for _, p := range r.Policies {
		size += len(strings.Join(strings.Fields(p.Policy), ""))
	}
	if size > maxRolePolicies {
		return apiError("LimitExceeded", "Maximum policy size of %d bytes exceeded for role %s", maxRolePolicies, r.Role.Name)
	}
	return op.syncRole(ctx, r)
}

func (op *operation) findRolePolicy(id string) (*store.RoleRecord, *store.RolePolicy) {
	name, policyName, _ := strings.Cut(id, ":")
	r, ok := op.Roles[name]
	if !ok {
		return nil, nil
	}
	return r, r.Policies[policyName]
}
