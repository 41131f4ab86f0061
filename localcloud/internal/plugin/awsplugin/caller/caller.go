// Package caller identifies the callers of the local cloud by their access keys and checks their permissions.
package caller

import (
	"fmt"
	"maps"
	"slices"

	"immutable-infra/localcloud/internal/plugin/awsplugin/policy"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// AccountID is the AWS account that owns all resources. AWS's documentation uses it for examples.
const AccountID = "123456789012"

// sessionName is the name of all role sessions.
const sessionName = "localcloud"

type Caller struct {
	ARN string
	// UserID is the unique id that sts:GetCallerIdentity returns.
	UserID          string
	SecretAccessKey string
	// administrator has all permissions.
	administrator bool
	policies      []policy.Document
	// boundary is the role's permissions boundary, or nil.
	boundary *policy.Document
}

// Find returns the caller with the given access key, or nil. root is the S3 server's root account, which belongs
// to the administrator.
func Find(state *store.State, root store.Account, accessKeyID string) (*Caller, error) {
	if accessKeyID == root.AccessKeyID {
		return &Caller{
			ARN:    "arn:aws:iam::" + AccountID + ":user/localcloud",
			UserID: "AIDALOCALCLOUD0000000", SecretAccessKey: root.SecretAccessKey, administrator: true,
		}, nil
	}
	for name, r := range state.Roles {
		if r.Account == nil || r.Account.AccessKeyID != accessKeyID {
			continue
		}
		policies, boundary, err := Documents(state, r)
		if err != nil {
			return nil, err
		}
		return &Caller{
			ARN:             fmt.Sprintf("arn:aws:sts::%s:assumed-role/%s/%s", AccountID, name, sessionName),
			UserID:          r.Shown.Text("uniqueId") + ":" + sessionName,
			SecretAccessKey: r.Account.SecretAccessKey,
			policies:        policies, boundary: boundary,
		}, nil
	}
	return nil, nil
}

// Documents returns the inline policies of a role, sorted by name, and its permissions boundary, or nil if it has
// none.
func Documents(state *store.State, r *store.Role) (policies []policy.Document, boundary *policy.Document, err error) {
	for _, name := range slices.Sorted(maps.Keys(r.Policies)) {
		document, err := policy.RolePolicy(r.Policies[name].Text("policy"))
		if err != nil {
			return nil, nil, fmt.Errorf("policy %s of role %s: %w", name, r.Shown.Text("name"), err)
		}
		policies = append(policies, document)
	}
	arn := r.Shown.Text("permissionsBoundary")
	if arn == "" {
		return policies, nil, nil
	}
	document, err := policy.RolePolicy(state.Policies[arn].Text("policy"))
	if err != nil {
		return nil, nil, fmt.Errorf("permissions boundary %s of role %s: %w", arn, r.Shown.Text("name"), err)
	}
	return policies, &document, nil
}

// Refusal returns AWS's error message if the caller lacks permission for the request, or "". resourcePolicy is the
// policy of the bucket that the request is for, whose statements apply to everyone, or nil.
func (c Caller) Refusal(request policy.Request, resourcePolicy *policy.Document) string {
	if c.administrator {
		return ""
	}
	documents := c.policies
	if resourcePolicy != nil {
		documents = append(slices.Clip(documents), *resourcePolicy)
	}
	on := ""
	if request.Resource != "*" {
		on = " on resource: " + request.Resource
	}
	boundary := policy.Allowed
	if c.boundary != nil {
		boundary = policy.Evaluate([]policy.Document{*c.boundary}, request)
	}
	reason := ""
	switch decision := policy.Evaluate(documents, request); {
	case decision == policy.Allowed && boundary == policy.Allowed:
		return ""
	case decision != policy.Denied && boundary == policy.Denied:
		reason = "with an explicit deny in a permissions boundary"
	case decision == policy.Allowed:
		reason = "because no permissions boundary allows the " + request.Action + " action"
	case decision == policy.Denied:
		reason = "with an explicit deny in a policy"
	default:
		reason = "because no identity-based policy allows the " + request.Action + " action"
	}
	return fmt.Sprintf("User: %s is not authorized to perform: %s%s %s", c.ARN, request.Action, on, reason)
}
