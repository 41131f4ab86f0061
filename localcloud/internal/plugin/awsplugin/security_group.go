package awsplugin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// checkSecurityGroup checks a group with its rules inline. As with the Terraform
// provider, a new group loses the egress rule that EC2 gives it.
func checkSecurityGroup(op *operation, g store.Record) error {
	if name := g.Text("name"); strings.HasPrefix(name, "sg-") {
		return invalidParameter("invalid value for name (%s): it cannot begin with sg-", name)
	}
	if err := checkRules("ingress", op.ingress(g)); err != nil {
		return err
	}
	return checkRules("egress", g.Objects("egress"))
}

// ingress lists the rules of a group: those inline, and those that are resources of their own.
func (op *operation) ingress(g store.Record) []store.Record {
	rules := g.Objects("ingress")
	for _, id := range slices.Sorted(maps.Keys(op.SecurityGroupRules)) {
		if rule := op.SecurityGroupRules[id]; rule["securityGroupId"] == g["id"] {
			rules = append(rules, rule)
		}
	}
	return rules
}

// checkRules checks the rules of a group in one direction, each of which is a range of ports and all its peers.
func checkRules(direction string, rules []store.Record) error {
	seen := map[string]bool{}
	for i, rule := range rules {
		from, to := rule.Number("fromPort"), rule.Number("toPort")
		if from < 0 || to > 65535 || from > to {
			return fmt.Errorf("%s[%d]: %w", direction, i, invalidParameter("Invalid TCP/UDP port range (%d:%d)", from, to))
		}
		for _, peer := range rule.Texts("cidrBlocks") {
			permission := fmt.Sprintf("peer: %s, tcp, from port: %d, to port: %d", peer, from, to)
			if seen[permission] {
				return fmt.Errorf("%s[%d]: %w", direction, i,
					apiError("InvalidPermission.Duplicate", "the specified rule %q already exists", permission))
			}
			seen[permission] = true
		}
	}
	return nil
}

// checkGroupRule checks a rule of its own together with the other rules of its group.
func checkGroupRule(op *operation, r store.Record) error {
	if r["id"] != nil {
		return nil // an update changes the description only
	}
	return checkRules("ingress", append(op.ingress(op.SecurityGroups[r.Text("securityGroupId")]), r))
}

func removeSecurityGroup(_ context.Context, op *operation, g store.Record) error {
	maps.DeleteFunc(op.SecurityGroupRules, func(_ string, r store.Record) bool { return r["securityGroupId"] == g["id"] })
	return nil
}
