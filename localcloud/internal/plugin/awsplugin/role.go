package awsplugin

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/plugin/awsplugin/policy"
	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// role makes IAM roles.
type role struct{}

func (role) create(_ context.Context, op *operation, inputs property.Map) (string, error) {
	var r store.Role
	if err := schema.Decode(inputs, &r); err != nil {
		return "", err
	}
	if r.NamePrefix != "" {
		r.Name = uniqueName(r.NamePrefix)
	}
	if err := checkIAMName("roleName", r.Name, 64); err != nil {
		return "", err
	}
	if err := checkPath(r.Path); err != nil {
		return "", err
	}
	if _, exists := op.Roles[r.Name]; exists {
		return "", apiError("EntityAlreadyExists", "Role with name %s already exists.", r.Name)
	}
	if err := op.checkRole(r); err != nil {
		return "", err
	}
	r.ID = r.Name
	r.Arn = iamARN("role", r.Path, r.Name)
	r.CreateDate = now()
	r.UniqueID = newUniqueID("AROA")
	op.Roles[r.Name] = &store.RoleRecord{Role: r, Policies: map[string]*store.RolePolicy{}}
	return r.ID, nil
}

func (role) read(_ context.Context, op *operation, id string) (any, error) {
	r, err := found(op.Roles, id)
	if err != nil {
		return nil, err
	}
	return &r.Role, nil
}

func (role) update(ctx context.Context, op *operation, id string, inputs property.Map) error {
	r, err := found(op.Roles, id)
	if err != nil {
		return err
	}
	var next store.Role
	if err := schema.Decode(inputs, &next); err != nil {
		return err
	}
	if err := op.checkRole(next); err != nil {
		return err
	}
	r.Role.AssumeRolePolicy = next.AssumeRolePolicy
	r.Role.Description = next.Description
	r.Role.MaxSessionDuration = next.MaxSessionDuration
	r.Role.ForceDetachPolicies = next.ForceDetachPolicies
	r.Role.Tags = next.Tags
	if r.Role.PermissionsBoundary == next.PermissionsBoundary {
		return nil
	}
	r.Role.PermissionsBoundary = next.PermissionsBoundary
	return op.syncRole(ctx, r)
}

func (role) delete(ctx context.Context, op *operation, id string) error {
	r, err := found(op.Roles, id)
	if err != nil {
		return err
	}
	if len(r.Policies) > 0 && !r.Role.ForceDetachPolicies {
		return apiError("DeleteConflict", "Cannot delete entity, must delete policies first.")
	}
	account := r.Account
	delete(op.Roles, id)
	// The provider takes a role out of its profiles before it deletes the role.
	for _, profile := range op.InstanceProfiles {
		if profile.Role != id {
			continue
		}
		profile.Role = ""
		if err := op.reapplyProfile(ctx, profile.ID); err != nil {
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
	server, err := op.objects()
	if err != nil {
		return err
	}
	return server.DeleteAccount(ctx, account.AccessKeyID)
}

func (op *operation) checkRole(r store.Role) error {
	if _, err := policy.TrustPolicy(r.AssumeRolePolicy); err != nil {
		return apiError("MalformedPolicyDocument", "assumeRolePolicy: %s", err)
	}
	if r.MaxSessionDuration < 3600 || r.MaxSessionDuration > 43200 {
		return apiError("ValidationError", "maxSessionDuration is %d seconds: write 3600 to 43200", r.MaxSessionDuration)
	}
	if r.PermissionsBoundary != "" && op.Policies[r.PermissionsBoundary] == nil {
		return apiError("NoSuchEntity", "Scope ARN: %s does not exist or is not attachable.", r.PermissionsBoundary)
	}
	return nil
}

func checkIAMName(what, name string, limit int) error {
	if len(name) > limit || !regexp.MustCompile(`^[\w+=,.@-]+$`).MatchString(name) {
		return apiError("ValidationError", "%s %q is invalid: 1 to %d characters, alphanumeric and +=,.@_-", what, name, limit)
	}
	return nil
}

func checkPath(path string) error {
	if !strings.HasPrefix(path, "/") || !strings.HasSuffix(path, "/") {
		return apiError("ValidationError", "path %q is invalid: it must begin and end with /", path)
	}
	return nil
}

func iamARN(kind, path, name string) string {
	return fmt.Sprintf("arn:aws:iam::%s:%s%s%s", accountID, kind, path, name)
}

func now() string {
	return time.Now().UTC().Format(time.RFC3339)
}
