package awsplugin

import (
	"cmp"
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// roleCredentialsLifetime is how long the credentials of an instance's role
// are said to hold, as EC2's do.
const roleCredentialsLifetime = 6 * time.Hour

// applyGateway brings the gateway of a VPC to what the store says.
func (op *operation) applyGateway(ctx context.Context, vpcID string) error {
	state, err := op.gatewayState(vpcID)
	if err != nil {
		return err
	}
	if err := op.cloud.ApplyGateway(ctx, vpcID, state); err != nil {
		return fmt.Errorf("apply the state of the gateway of %s: %w", vpcID, err)
	}
	return nil
}

func (op *operation) gatewayState(vpcID string) (cloud.GatewayState, error) {
	var state cloud.GatewayState
	for _, i := range op.Instances {
		if i.VpcID != vpcID {
			continue
		}
		networkInterface, err := op.networkInterface(i)
		if err != nil {
			return cloud.GatewayState{}, fmt.Errorf("instance %s: %w", i.Instance.ID, err)
		}
		state.Interfaces = append(state.Interfaces, networkInterface)
	}
	slices.SortFunc(state.Interfaces, func(a, b cloud.NetworkInterface) int { return cmp.Compare(a.InstanceID, b.InstanceID) })
	return state, nil
}

func (op *operation) networkInterface(i *store.InstanceRecord) (cloud.NetworkInterface, error) {
	s, err := op.subnet(i.Instance.SubnetID)
	if err != nil {
		return cloud.NetworkInterface{}, err
	}
	n := cloud.NetworkInterface{
		InstanceID: i.Instance.ID,
		PrivateIP:  netip.MustParseAddr(i.Instance.PrivateIP),
		Metadata:   op.metadata(i, s),
	}
	// An address is no use without a route to the internet.
	if address := op.publicIP(i); address != "" && op.isPublic(s) {
		n.PublicIP = netip.MustParseAddr(address)
		n.Elastic = op.elasticIP(i.Instance.ID) != nil
	}
	for _, id := range i.Instance.VpcSecurityGroupIDs {
		g, err := op.securityGroup(id)
		if err != nil {
			return cloud.NetworkInterface{}, err
		}
		ingress, err := op.rules(g, g.Ingress)
		if err != nil {
			return cloud.NetworkInterface{}, err
		}
		egress, err := op.rules(g, g.Egress)
		if err != nil {
			return cloud.NetworkInterface{}, err
		}
		n.Ingress = append(n.Ingress, ingress...)
		n.Egress = append(n.Egress, egress...)
		n.Metadata.SecurityGroups = append(n.Metadata.SecurityGroups, g.Name)
	}
	return n, nil
}

// rules resolves the peers of a group's rules to addresses.
func (op *operation) rules(g *store.SecurityGroup, blocks []store.SecurityGroupRule) ([]cloud.Rule, error) {
	var rules []cloud.Rule
	for _, block := range blocks {
		rule := cloud.Rule{Protocol: protocolName(block.Protocol), FromPort: block.FromPort, ToPort: block.ToPort}
		for _, text := range block.CidrBlocks {
			rule.CIDRs = append(rule.CIDRs, storedCIDR(text))
		}
		if slices.Contains(block.PrefixListIDs, s3PrefixListID) {
			prefixes, err := op.s3Prefixes()
			if err != nil {
				return nil, err
			}
			rule.CIDRs = append(rule.CIDRs, prefixes...)
		}
		groups := block.SecurityGroups
		if block.Self {
			groups = append(slices.Clone(groups), g.ID)
		}
		rule.CIDRs = append(rule.CIDRs, op.members(groups)...)
		if len(rule.CIDRs) > 0 {
			rules = append(rules, rule)
		}
	}
	return rules, nil
}

// members returns the private addresses of the instances in any of the groups.
func (op *operation) members(groups []string) []netip.Prefix {
	var addresses []netip.Prefix
	for _, i := range op.Instances {
		if shared(i.Instance.VpcSecurityGroupIDs, groups) != "" {
			addresses = append(addresses, netip.PrefixFrom(netip.MustParseAddr(i.Instance.PrivateIP), 32))
		}
	}
	slices.SortFunc(addresses, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	return addresses
}

func (op *operation) metadata(i *store.InstanceRecord, s *store.Subnet) cloud.Metadata {
	m := cloud.Metadata{
		AMI:              i.Instance.Ami,
		InstanceType:     i.Instance.InstanceType,
		AvailabilityZone: i.Instance.AvailabilityZone,
		Region:           op.region,
		AccountID:        accountID,
		VpcID:            i.VpcID,
		SubnetID:         s.ID,
		VpcCIDR:          storedCIDR(op.Vpcs[i.VpcID].CidrBlock),
		SubnetCIDR:       storedCIDR(s.CidrBlock),
		UserData:         i.UserData,
		KeyName:          i.Instance.KeyName,
		PublicKey:        i.PublicKey,
		Architecture:     i.Architecture,
		HopLimit:         i.Instance.MetadataOptions.HTTPPutResponseHopLimit,
		TokensRequired:   i.Instance.MetadataOptions.HTTPTokens == "required",
		Enabled:          i.Instance.MetadataOptions.HTTPEndpoint == "enabled",
	}
	// As on AWS, an instance whose profile or role is gone has no credentials.
	profile, ok := op.InstanceProfiles[i.Instance.IamInstanceProfile]
	if !ok {
		return m
	}
	if r, ok := op.Roles[profile.Role]; ok && r.Account != nil {
		m.Role = &cloud.RoleCredentials{
			RoleName:           r.Role.Name,
			InstanceProfileARN: profile.Arn,
			InstanceProfileID:  profile.UniqueID,
			AccessKeyID:        r.Account.AccessKeyID,
			SecretAccessKey:    r.Account.SecretAccessKey,
			Lifetime:           roleCredentialsLifetime,
		}
	}
	return m
}

// newAccount makes up an access key in the form of AWS's long-term ones. The
// S3 server takes keys that begin with ASIA for temporary ones, which it
// accepts only with a session token that it made itself.
func newAccount() *store.Account {
	secret := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(randomBytes())
	return &store.Account{AccessKeyID: "AKIA" + randomText()[:16], SecretAccessKey: secret[:40]}
}

// removeAbandoned ends the instances that a killed process left behind while
// it was making them: the engine does not know them.
func (op *operation) removeAbandoned(ctx context.Context) error {
	for id, i := range op.Instances {
		if !i.Pending {
			continue
		}
		if err := op.removeInstance(ctx, i); err != nil {
			return fmt.Errorf("remove the unfinished instance %s: %w", id, err)
		}
		if err := op.Save(); err != nil {
			return err
		}
	}
	return nil
}

// removeInstance ends an instance and takes it out of the store and the gateway.
func (op *operation) removeInstance(ctx context.Context, i *store.InstanceRecord) error {
	if err := op.cloud.TerminateInstance(ctx, i.Instance.ID); err != nil && !errors.Is(err, cloud.ErrNotFound) {
		return fmt.Errorf("terminate instance %s: %w", i.Instance.ID, err)
	}
	for _, a := range op.Addresses {
		if a.InstanceID == i.Instance.ID {
			disassociate(a)
		}
	}
	delete(op.Instances, i.Instance.ID)
	if _, ok := op.Vpcs[i.VpcID]; !ok {
		return nil
	}
	return op.applyGateway(ctx, i.VpcID)
}
