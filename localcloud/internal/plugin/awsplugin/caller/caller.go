// Package caller knows who sends a request to the local cloud, by the access
// key, and what they may do.
package caller

import (
	"fmt"
	"maps"
	"slices"

	"immutable-infra/localcloud/internal/plugin/awsplugin/policy"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// AccountID is the AWS account that everything belongs to: the one that AWS's
// own documentation uses for examples.
const AccountID = "123456789012"

// sessionName is that of every role's session.
const sessionName = "localcloud"

type Caller struct {
	ARN string
	// UserID is the unique id, as sts:GetCallerIdentity answers it.
	UserID          string
	SecretAccessKey string
	// administrator may do everything.
	administrator bool
	policies      []policy.Document
	// boundary is nil for a role without one.
	boundary *policy.Document
}

// Find returns whose access key it is, or nil. root is the S3 server's own account,
// the administrator's.
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

// Documents reads the inline policies of a role, in the order of their names, and its
// permissions boundary, which is nil for a role without one.
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

// Refusal is AWS's message when the caller may not send the request, and empty
// when they may. resourcePolicy is that of the bucket that it is about, which speaks of everybody, or nil.
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
	bounded := policy.Allowed
	if c.boundary != nil {
		bounded = policy.Evaluate([]policy.Document{*c.boundary}, request)
	}
	reason := ""
	switch decision := policy.Evaluate(documents, request); {
	case decision == policy.Allowed && bounded == policy.Allowed:
		return ""
	case decision != policy.Denied && bounded == policy.Denied:
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
