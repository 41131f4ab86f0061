package permissions

import (
	"encoding/json"
	"fmt"
	"slices"
)

// MaxSize is how many characters the policies of a role may have together, without white space.
const MaxSize = 10240

// Policy is a policy of IAM.
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

// JSON is the policy as AWS takes it. Its error is that it is too large for a role.
func (p Policy) JSON() (string, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("write a policy: %w", err)
	}
	if len(text) > MaxSize {
		return "", fmt.Errorf("a policy has %d characters, and AWS takes %d; make it for fewer stacks or hosted zones", len(text), MaxSize)
	}
	return string(text), nil
}

// For is the policy of a role.
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
	if role == Preview {
		// Nothing above allows it. A preview runs the code of a pull request, and what is in there are
		// the certificates' private keys: it shall stay so, whatever is added.
		policy.Statement = append(policy.Statement, Statement{
			Sid: "NoBackups", Effect: "Deny",
			Action:   []string{"s3:GetObject", "s3:GetObjectVersion"},
			Resource: []string{"arn:aws:s3:::*-backup-*/*"},
		})
	}
	return policy
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
