package awsplugin

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// securityGroup makes security groups with their rules inline. As with the
// Terraform provider, a new group loses the egress rule that EC2 gives it.
type securityGroup struct{}

func (securityGroup) create(_ context.Context, op *operation, inputs property.Map) (string, error) {
	var g store.SecurityGroup
	if err := schema.Decode(inputs, &g); err != nil {
		return "", err
	}
	if g.NamePrefix != "" {
		g.Name = uniqueName(g.NamePrefix)
	}
	if _, err := op.vpc(g.VpcID); err != nil {
		return "", err
	}
	if err := checkGroupName(g.Name, g.Description); err != nil {
		return "", err
	}
	for _, other := range op.SecurityGroups {
		if other.VpcID == g.VpcID && other.Name == g.Name {
			return "", apiError("InvalidGroup.Duplicate", "The security group '%s' already exists for VPC '%s'", g.Name, g.VpcID)
		}
	}
	if err := op.setRules(&g, g.Ingress, g.Egress); err != nil {
		return "", err
	}
	g.ID = newID("sg")
	g.Arn = op.ec2ARN("security-group", g.ID)
	g.OwnerID = accountID
	op.SecurityGroups[g.ID] = &g
	return g.ID, nil
}

func (securityGroup) read(_ context.Context, op *operation, id string) (any, error) {
	return found(op.SecurityGroups, id)
}

func (securityGroup) update(ctx context.Context, op *operation, id string, inputs property.Map) error {
	g, err := found(op.SecurityGroups, id)
	if err != nil {
		return err
	}
	var next store.SecurityGroup
	if err := schema.Decode(inputs, &next); err != nil {
		return err
	}
	// Rules that the program no longer mentions at all stay, as on AWS.
	if _, given := inputs.GetOk("ingress"); !given {
		next.Ingress = g.Ingress
	}
	if _, given := inputs.GetOk("egress"); !given {
		next.Egress = g.Egress
	}
	if err := op.setRules(g, next.Ingress, next.Egress); err != nil {
		return err
	}
	g.Tags = next.Tags
	g.RevokeRulesOnDelete = next.RevokeRulesOnDelete
	return op.applyGateway(ctx, g.VpcID)
}

func (securityGroup) delete(_ context.Context, op *operation, id string) error {
	if _, err := found(op.SecurityGroups, id); err != nil {
		return err
	}
	for _, i := range op.Instances {
		if slices.Contains(i.Instance.VpcSecurityGroupIDs, id) {
			return apiError("DependencyViolation", "resource %s has a dependent object: instance %s", id, i.Instance.ID)
		}
	}
	for _, other := range op.SecurityGroups {
		for _, rule := range slices.Concat(other.Ingress, other.Egress) {
			if other.ID != id && slices.Contains(rule.SecurityGroups, id) {
				return apiError("DependencyViolation", "resource %s has a dependent object: a rule of %s", id, other.ID)
			}
		}
	}
	delete(op.SecurityGroups, id)
	return nil
}

func checkGroupName(name, description string) error {
	if strings.HasPrefix(name, "sg-") {
		return apiError("InvalidParameterValue", "invalid value for name (%s): it cannot begin with sg-", name)
	}
	allowed := regexp.MustCompile(`^[a-zA-Z0-9 ._\-:/()#,@\[\]+=&;{}!$*]*$`)
	for what, value := range map[string]string{"name": name, "description": description} {
		if len(value) > 255 || !allowed.MatchString(value) {
			return apiError("InvalidParameterValue",
				"Value (%s) for parameter %s is invalid: at most 255 characters from a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*", value, what)
		}
	}
	return nil
}

// setRules checks and sets the rules of a group.
func (op *operation) setRules(g *store.SecurityGroup, ingress, egress []store.SecurityGroupRule) error {
	for name, rules := range map[string][]store.SecurityGroupRule{"ingress": ingress, "egress": egress} {
		seen := map[string]bool{}
		for i, rule := range rules {
			protocol, err := checkRule(rule)
			if err != nil {
				return fmt.Errorf("%s[%d]: %w", name, i, err)
			}
			peers, err := op.peers(g, rule)
			if err != nil {
				return fmt.Errorf("%s[%d]: %w", name, i, err)
			}
			for _, peer := range peers {
				key := fmt.Sprint(protocol, rule.FromPort, rule.ToPort, peer)
				if seen[key] {
					return fmt.Errorf("%s[%d]: %w", name, i, apiError("InvalidPermission.Duplicate",
						"the specified rule \"peer: %s, %s, from port: %d, to port: %d\" already exists", peer, protocol, rule.FromPort, rule.ToPort))
				}
				seen[key] = true
			}
		}
	}
	g.Ingress, g.Egress = ingress, egress
	if g.Ingress == nil {
		g.Ingress = []store.SecurityGroupRule{}
	}
	if g.Egress == nil {
		g.Egress = []store.SecurityGroupRule{}
	}
	return nil
}

// checkRule checks a rule's protocol and ports, and returns EC2's name of the protocol.
func checkRule(rule store.SecurityGroupRule) (string, error) {
	protocol := protocolName(rule.Protocol)
	switch protocol {
	case "-1":
		if rule.FromPort != 0 || rule.ToPort != 0 {
			return "", apiError("InvalidParameterValue", "from_port (%d) and to_port (%d) must both be 0 to use the 'ALL' \"-1\" protocol",
				rule.FromPort, rule.ToPort)
		}
	case "tcp", "udp":
		if rule.FromPort < 0 || rule.ToPort > 65535 || rule.FromPort > rule.ToPort {
			return "", apiError("InvalidParameterValue", "Invalid TCP/UDP port range (%d:%d)", rule.FromPort, rule.ToPort)
		}
	case "icmp":
		if rule.FromPort < -1 || rule.FromPort > 255 || rule.ToPort < -1 || rule.ToPort > 255 {
			return "", apiError("InvalidParameterValue", "Invalid ICMP type and code (%d:%d)", rule.FromPort, rule.ToPort)
		}
	default:
		return "", apiError("InvalidParameterValue", "Invalid value '%s' for IP protocol: localcloud knows tcp, udp, icmp and -1", rule.Protocol)
	}
	return protocol, nil
}

// protocolName accepts the protocol numbers that EC2 accepts.
func protocolName(protocol string) string {
	switch p := strings.ToLower(protocol); p {
	case "all":
		return "-1"
	case "6":
		return "tcp"
	case "17":
		return "udp"
	case "1":
		return "icmp"
	default:
		return p
	}
}

// peers lists all that a rule is for, after checking that it exists.
func (op *operation) peers(g *store.SecurityGroup, rule store.SecurityGroupRule) ([]string, error) {
	var peers []string
	for _, block := range rule.CidrBlocks {
		prefix, err := parseCIDR(block)
		if err != nil {
			return nil, err
		}
		peers = append(peers, prefix.String())
	}
	// The local cloud has no IPv6, so these rules match nothing.
	peers = append(peers, rule.Ipv6CidrBlocks...)
	for _, id := range rule.PrefixListIDs {
		if id != s3PrefixListID {
			return nil, apiError("InvalidPrefixListID.NotFound", "The prefix list ID '%s' does not exist; localcloud has %s for S3", id, s3PrefixListID)
		}
		peers = append(peers, id)
	}
	for _, id := range rule.SecurityGroups {
		other, err := op.securityGroup(id)
		if err != nil {
			return nil, err
		}
		if other.VpcID != g.VpcID {
			return nil, apiError("InvalidGroup.NotFound", "You have specified two resources that belong to different networks: %s", id)
		}
		peers = append(peers, id)
	}
	if rule.Self {
		peers = append(peers, "self")
	}
	if len(peers) == 0 {
		return nil, apiError("InvalidParameterValue",
			"the rule is for nobody: set one of cidrBlocks, ipv6CidrBlocks, prefixListIds, securityGroups, self")
	}
	return peers, nil
}
