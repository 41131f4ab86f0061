package awsplugin

import (
	"context"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// securityGroupRule makes single rules of security groups. They live in their group, which must have none inline.
type securityGroupRule struct{}

func (securityGroupRule) create(ctx context.Context, op *operation, inputs property.Map) (string, error) {
	var r store.GroupRule
	if err := schema.Decode(inputs, &r); err != nil {
		return "", err
	}
	g, err := op.securityGroup(r.SecurityGroupID)
	if err != nil {
		return "", err
	}
	rules := append(slices.Clone(g.Ingress), store.SecurityGroupRule{
		Protocol: r.Protocol, FromPort: r.FromPort, ToPort: r.ToPort, CidrBlocks: r.CidrBlocks, Description: r.Description,
	})
	if err := op.setRules(g, rules, g.Egress); err != nil {
		return "", err
	}
	return groupRuleID(g.ID, rules[len(rules)-1]), op.applyGateway(ctx, g.VpcID)
}

func (securityGroupRule) read(_ context.Context, op *operation, id string) (any, error) {
	g, index := op.findGroupRule(id)
	if g == nil {
		return nil, errGone
	}
	rule := g.Ingress[index]
	return &store.GroupRule{
		ID: id, SecurityGroupID: g.ID, Type: "ingress", Protocol: rule.Protocol, FromPort: rule.FromPort, ToPort: rule.ToPort,
		CidrBlocks: rule.CidrBlocks, Description: rule.Description,
	}, nil
}

func (securityGroupRule) update(_ context.Context, op *operation, id string, inputs property.Map) error {
	g, index := op.findGroupRule(id)
	if g == nil {
		return errGone
	}
	var next store.GroupRule
	if err := schema.Decode(inputs, &next); err != nil {
		return err
	}
	g.Ingress[index].Description = next.Description
	return nil
}

func (securityGroupRule) delete(ctx context.Context, op *operation, id string) error {
	g, index := op.findGroupRule(id)
	if g == nil {
		return errGone
	}
	g.Ingress = slices.Delete(g.Ingress, index, index+1)
	return op.applyGateway(ctx, g.VpcID)
}

func (op *operation) findGroupRule(id string) (*store.SecurityGroup, int) {
	for _, g := range op.SecurityGroups {
		for i, rule := range g.Ingress {
			if groupRuleID(g.ID, rule) == id {
				return g, i
			}
		}
	}
	return nil, 0
}

// groupRuleID is as the Terraform provider's: a hash of what the rule is.
func groupRuleID(groupID string, rule store.SecurityGroupRule) string {
	text := fmt.Sprint(groupID, "ingress", protocolName(rule.Protocol), rule.FromPort, rule.ToPort, rule.CidrBlocks)
	return fmt.Sprintf("sgrule-%d", crc32.ChecksumIEEE([]byte(text)))
}
