package awsplugin

import (
	"context"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/plugin/awsplugin/policy"
	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// maxManagedPolicy is IAM's limit of a managed policy, in characters without white space.
const maxManagedPolicy = 6144

// managedPolicy makes managed policies, which are the permissions boundaries of roles.
type managedPolicy struct{}

func (managedPolicy) create(_ context.Context, op *operation, inputs property.Map) (string, error) {
	var p store.Policy
	if err := schema.Decode(inputs, &p); err != nil {
		return "", err
	}
	if p.NamePrefix != "" {
		p.Name = uniqueName(p.NamePrefix)
	}
	if err := checkIAMName("policyName", p.Name, 128); err != nil {
		return "", err
	}
	if err := checkPath(p.Path); err != nil {
		return "", err
	}
	if err := checkManagedPolicy(p); err != nil {
		return "", err
	}
	p.Arn = iamARN("policy", p.Path, p.Name)
	p.ID = p.Arn
	p.PolicyID = newUniqueID("ANPA")
	if _, exists := op.Policies[p.ID]; exists {
		return "", apiError("EntityAlreadyExists", "A policy called %s already exists. Duplicate names are not allowed.", p.Name)
	}
	op.Policies[p.ID] = &p
	return p.ID, nil
}

func (managedPolicy) read(_ context.Context, op *operation, id string) (any, error) {
	return found(op.Policies, id)
}

func (managedPolicy) update(ctx context.Context, op *operation, id string, inputs property.Map) error {
	p, err := found(op.Policies, id)
	if err != nil {
		return err
	}
	var next store.Policy
	if err := schema.Decode(inputs, &next); err != nil {
		return err
	}
	if err := checkManagedPolicy(next); err != nil {
		return err
	}
	p.Policy, p.Tags = next.Policy, next.Tags
	for _, r := range op.Roles {
		if r.Role.PermissionsBoundary == id && r.Account != nil {
			return op.syncBuckets(ctx)
		}
	}
	return nil
}

func (managedPolicy) delete(_ context.Context, op *operation, id string) error {
	if _, err := found(op.Policies, id); err != nil {
		return err
	}
	for _, r := range op.Roles {
		if r.Role.PermissionsBoundary == id {
			return apiError("DeleteConflict", "Cannot delete a policy attached to entities: it is the permissions boundary of role %s.", r.Role.Name)
		}
	}
	delete(op.Policies, id)
	return nil
}

func checkManagedPolicy(p store.Policy) error {
	if _, err := policy.RolePolicy(p.Policy); err != nil {
		return apiError("MalformedPolicyDocument", "policy %s: %s", p.Name, err)
	}
	if size := len(strings.Join(strings.Fields(p.Policy), "")); size > maxManagedPolicy {
		return apiError("LimitExceeded", "Cannot exceed quota for PolicySize: %d", maxManagedPolicy)
	}
	return nil
}
