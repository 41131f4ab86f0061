package awsplugin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// checkSecurityGroup validates a group and its inline rules. Like the Terraform provider, it does not keep the
// egress rule that EC2 adds to a new group.
func checkSecurityGroup(op *operation, g store.Record) error {
	if name := g.Text("name"); strings.HasPrefix(name, "sg-") {
		return invalidParameter("invalid value for name (%s): it cannot begin with sg-", name)
	}
	if err := checkRules("ingress", op.ingress(g)); err != nil {
		return err
	}
	return checkRules("egress", g.Objects("egress"))
}

// ingress returns the ingress rules of a group: its inline rules and the rules that are separate resources.
func (op *operation) ingress(g store.Record) []store.Record {
	rules := g.Objects("ingress")
	for _, id := range slices.Sorted(maps.Keys(op.SecurityGroupRules)) {
		if rule := op.SecurityGroupRules[id]; rule["securityGroupId"] == g["id"] {
			rules = append(rules, rule)
		}
	}
	return rules
}

// checkRules validates the rules of a group in one direction. A rule has a port range and a list of peers.
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

// checkGroupRule validates a rule that is a separate resource together with the other rules of its group.
func checkGroupRule(op *operation, r store.Record) error {
	if r["id"] != nil {
		return nil // an update can change only the description
	}
	return checkRules("ingress", append(op.ingress(op.SecurityGroups[r.Text("securityGroupId")]), r))
}

func removeSecurityGroup(_ context.Context, op *operation, g store.Record) error {
	maps.DeleteFunc(op.SecurityGroupRules, func(_ string, r store.Record) bool { return r["securityGroupId"] == g["id"] })
	return nil
}
