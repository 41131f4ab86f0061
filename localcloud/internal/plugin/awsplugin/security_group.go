package awsplugin

import (
	"context"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"

	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// checkSecurityGroup checks a group with its rules inline. As with the Terraform
// provider, a new group loses the egress rule that EC2 gives it.
func checkSecurityGroup(op *operation, g store.Record) error {
	name := g.Text("name")
	if strings.HasPrefix(name, "sg-") {
		return invalidParameter("invalid value for name (%s): it cannot begin with sg-", name)
	}
	for _, direction := range []string{"ingress", "egress"} {
		seen := map[string]bool{}
		for i, rule := range g.Objects(direction) {
			if err := op.checkRule(g, rule, seen); err != nil {
				return fmt.Errorf("%s[%d]: %w", direction, i, err)
			}
		}
	}
	return nil
}

// checkRule checks one rule of a group: a range of ports and all its peers. seen are those before
// it, which it joins.
func (op *operation) checkRule(g, rule store.Record, seen map[string]bool) error {
	protocol, from, to := protocolName(rule.Text("protocol")), rule.Number("fromPort"), rule.Number("toPort")
	switch protocol {
	case "-1":
		if from != 0 || to != 0 {
			return invalidParameter("from_port (%d) and to_port (%d) must both be 0 to use the 'ALL' \"-1\" protocol", from, to)
		}
	case "tcp", "udp":
		if from < 0 || to > 65535 || from > to {
			return invalidParameter("Invalid TCP/UDP port range (%d:%d)", from, to)
		}
	case "icmp":
		if from < -1 || from > 255 || to < -1 || to > 255 {
			return invalidParameter("Invalid ICMP type and code (%d:%d)", from, to)
		}
	default:
		return invalidParameter("Invalid value '%s' for IP protocol: localcloud knows tcp, udp, icmp and -1",
			rule.Text("protocol"))
	}
	peers, err := op.peers(g, rule)
	if err != nil {
		return err
	}
	for _, peer := range peers {
		key := fmt.Sprint(protocol, from, to, peer)
		if seen[key] {
			return apiError("InvalidPermission.Duplicate",
				"the specified rule \"peer: %s, %s, from port: %d, to port: %d\" already exists", peer, protocol, from, to)
		}
		seen[key] = true
	}
	return nil
}

// protocolName accepts the protocol numbers that EC2 accepts.
func protocolName(protocol string) string {
	name := strings.ToLower(protocol)
	if number, ok := map[string]string{"all": "-1", "6": "tcp", "17": "udp", "1": "icmp"}[name]; ok {
		return number
	}
	return name
}

// peers lists all that a rule is for, after checking that it exists.
func (op *operation) peers(g, rule store.Record) ([]string, error) {
	// The local cloud has no IPv6, so rules for it match nothing.
	peers := slices.Concat(rule.Texts("ipv6CidrBlocks"), rule.Texts("cidrBlocks"))
	for _, id := range rule.Texts("prefixListIds") {
		if id != s3PrefixListID {
			return nil, apiError("InvalidPrefixListID.NotFound",
				"The prefix list ID '%s' does not exist; localcloud has %s for S3", id, s3PrefixListID)
		}
		peers = append(peers, id)
	}
	for _, id := range rule.Texts("securityGroups") {
		other, ok := op.SecurityGroups[id]
		switch {
		case !ok:
			return nil, apiError("InvalidGroup.NotFound", "The security group '%s' does not exist", id)
		case other.Text("vpcId") != g.Text("vpcId"):
			return nil, apiError("InvalidGroup.NotFound",
				"You have specified two resources that belong to different networks: %s", id)
		}
		peers = append(peers, id)
	}
	if rule.Flag("self") {
		peers = append(peers, "self")
	}
	if len(peers) == 0 {
		return nil, invalidParameter(
			"the rule is for nobody: set one of cidrBlocks, ipv6CidrBlocks, prefixListIds, securityGroups, self")
	}
	return peers, nil
}

// checkGroupRule checks a rule of its own together with the other rules of its group.
func checkGroupRule(op *operation, r store.Record) error {
	if r["id"] != nil {
		return nil // an update changes the description only
	}
	g := op.SecurityGroups[r.Text("securityGroupId")]
	rules := append(slices.Clone(g.List("ingress")), map[string]any(r))
	return checkSecurityGroup(op, store.Record{"id": g["id"], "vpcId": g["vpcId"], "ingress": rules})
}

// groupRuleID is as the Terraform provider's: a hash of what the rule is.
func groupRuleID(r store.Record) string {
	protocol, group := protocolName(r.Text("protocol")), r.Text("securityGroupId")
	text := fmt.Sprint(group, "ingress", protocol, r.Number("fromPort"), r.Number("toPort"), r.Texts("cidrBlocks"))
	return fmt.Sprintf("sgrule-%d", crc32.ChecksumIEEE([]byte(text)))
}

func removeSecurityGroup(_ context.Context, op *operation, g store.Record) error {
	id := g.Text("id")
	for otherID, other := range op.SecurityGroups {
		for _, direction := range []string{"ingress", "egress"} {
			for _, rule := range other.Objects(direction) {
				if otherID != id && slices.Contains(rule.Texts("securityGroups"), id) {
					return apiError("DependencyViolation", "resource %s has a dependent object: a rule of %s", id, otherID)
				}
			}
		}
	}
	return nil
}
