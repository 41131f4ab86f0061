package permissions

import (
	"encoding/json"
	"fmt"
	"slices"
)

// IAM's size limits, in characters without white space: for all inline policies of a role together, and for one managed
// policy.
const (
	MaxSize        = 10240
	MaxManagedSize = 6144
)

// Policy is an IAM policy.
type Policy struct {
	Version   string
	Statement []Statement
}

// Statement allows or denies actions.
type Statement struct {
	Sid       string
	Effect    string
	Action    []string
	Resource  []string
	Condition Condition `json:",omitempty"`
}

// JSON encodes the policy. It fails if the text has more than limit characters.
func (p Policy) JSON(limit int) (string, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("cannot encode a policy: %w", err)
	}
	if len(text) > limit {
		return "", fmt.Errorf("a policy has %d characters, more than AWS's limit of %d; configure fewer hosted zones",
			len(text), limit)
	}
	return string(text), nil
}

// For returns the policy of a role. For Deploy and Server, the Settings must be those of a single stack: see Of.
func (s Settings) For(role Role) Policy {
	policy := Policy{Version: "2012-10-17"}
	for _, resource := range append(Resources(), Others()...) {
		for _, call := range resource.Calls {
			if !slices.Contains(call.Roles, role) {
				continue
			}
			for _, scope := range call.On {
				policy.allow(s, call.Action, scope)
			}
		}
	}
	for i := range policy.Statement {
		slices.Sort(policy.Statement[i].Action)
	}
	policy.Statement = append(policy.Statement, s.denials(role)...)
	return policy
}

// denials returns statements for what a role must never do, even if the table or a manually attached policy allows it.
func (s Settings) denials(role Role) []Statement {
	switch role {
	case Preview:
		// A preview runs the code of a pull request, and the backups hold the certificates' private keys.
		return []Statement{{
			Sid: "NoBackups", Effect: "Deny",
			Action:   []string{"s3:GetObject", "s3:GetObjectVersion"},
			Resource: []string{"arn:aws:s3:::*-backup-*/*"},
		}}
	case Deploy:
		denials := []Statement{{
			Sid: "OnlyWithBoundary", Effect: "Deny",
			Action:   []string{"iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy"},
			Resource: []string{"*"},
			// StringNotEquals also denies a role without a boundary.
			Condition: Condition{"StringNotEquals": {boundaryKey: s.boundaries()}},
		}, {
			Sid: "NoAdministrators", Effect: "Deny",
			Action: []string{
				"iam:AttachRolePolicy", "iam:CreatePolicyVersion", "iam:DeletePolicy", "iam:DeletePolicyVersion",
				"iam:DeleteRolePermissionsBoundary", "iam:SetDefaultPolicyVersion", "iam:UpdateAssumeRolePolicy",
			},
			Resource: []string{"*"},
		}}
		if !slices.Contains(s.Stacks, s.Production) {
			return denials
		}
		return append(denials, Statement{
			Sid: "BackupsStay", Effect: "Deny",
			Action: []string{
				"s3:DeleteBucket", "s3:DeleteBucketPolicy", "s3:PutBucketOwnershipControls", "s3:PutBucketPolicy",
				"s3:PutBucketPublicAccessBlock", "s3:PutBucketVersioning", "s3:PutEncryptionConfiguration",
				"s3:PutLifecycleConfiguration",
			},
			Resource: productionBackups.resources(s),
		}, Statement{
			Sid: "NoBackups", Effect: "Deny",
			Action: []string{
				"s3:DeleteObject", "s3:DeleteObjectVersion", "s3:GetObject", "s3:GetObjectVersion", "s3:PutObject",
			},
			Resource: s.buckets("backup", []string{s.Production}, "/*"),
		})
	}
	return nil
}

// allow adds an action to the statement of a scope. A scope without resources allows nothing.
func (p *Policy) allow(s Settings, action string, scope Scope) {
	resources := scope.resources(s)
	if len(resources) == 0 {
		return
	}
	i := slices.IndexFunc(p.Statement, func(statement Statement) bool { return statement.Sid == scope.name })
	if i < 0 {
		statement := Statement{Sid: scope.name, Effect: "Allow", Resource: resources}
		if scope.condition != nil {
			statement.Condition = scope.condition(s)
		}
		p.Statement = append(p.Statement, statement)
		i = len(p.Statement) - 1
	}
	if !slices.Contains(p.Statement[i].Action, action) {
		p.Statement[i].Action = append(p.Statement[i].Action, action)
	}
}
