package awsplugin

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// roleCredentialsLifetime is the lifetime that the metadata service reports for the credentials of an instance's
// role, as on EC2.
const roleCredentialsLifetime = 6 * time.Hour

// applyGateways updates the gateways of VPCs from the store. It ignores VPCs that do not exist.
func (op *operation) applyGateways(ctx context.Context, vpcs ...string) error {
	slices.Sort(vpcs)
	for _, vpc := range slices.Compact(vpcs) {
		if op.Vpcs[vpc] == nil {
			continue
		}
		if err := op.cloud.ApplyGateway(ctx, vpc, op.gatewayState(vpc)); err != nil {
			return fmt.Errorf("cannot update the gateway of %s: %w", vpc, err)
		}
	}
	return nil
}

func (op *operation) gatewayState(vpcID string) (state cloud.GatewayState) {
	for _, id := range slices.Sorted(maps.Keys(op.Instances)) {
		if i := op.Instances[id]; i.VpcID == vpcID {
			state.Interfaces = append(state.Interfaces, op.networkInterface(i))
		}
	}
	return state
}

func (op *operation) networkInterface(i *store.Instance) cloud.NetworkInterface {
	subnet := op.Subnets[i.Shown.Text("subnetId")]
	n := cloud.NetworkInterface{
		InstanceID: i.Shown.Text("id"),
		PrivateIP:  netip.MustParseAddr(i.Shown.Text("privateIp")),
		Metadata:   op.metadata(i, subnet),
	}
	// A public address only works with a route to the internet.
	if address := op.publicIP(i); address != "" && op.isPublic(subnet) {
		n.PublicIP = netip.MustParseAddr(address)
		n.Elastic = op.elasticIP(n.InstanceID) != nil
	}
	for _, id := range i.Shown.Texts("vpcSecurityGroupIds") {
		g := op.SecurityGroups[id]
		n.Ingress = append(n.Ingress, cloudRules(op.ingress(g))...)
		n.Egress = append(n.Egress, cloudRules(g.Objects("egress"))...)
		n.Metadata.SecurityGroups = append(n.Metadata.SecurityGroups, g.Text("name"))
	}
	return n
}

func cloudRules(records []store.Record) []cloud.Rule {
	var rules []cloud.Rule
	for _, r := range records {
		rule := cloud.Rule{Protocol: r.Text("protocol"), FromPort: r.Number("fromPort"), ToPort: r.Number("toPort")}
		for _, text := range r.Texts("cidrBlocks") {
			rule.CIDRs = append(rule.CIDRs, netip.MustParsePrefix(text))
		}
		rules = append(rules, rule)
	}
	return rules
}

func (op *operation) metadata(i *store.Instance, subnet store.Record) cloud.Metadata {
	options := i.Shown.Object("metadataOptions")
	m := cloud.Metadata{
		AMI:              i.Shown.Text("ami"),
		InstanceType:     i.Shown.Text("instanceType"),
		AvailabilityZone: i.Shown.Text("availabilityZone"),
		Region:           op.region,
		AccountID:        accountID,
		VpcID:            i.VpcID,
		SubnetID:         subnet.Text("id"),
		VpcCIDR:          netip.MustParsePrefix(op.Vpcs[i.VpcID].Text("cidrBlock")),
		SubnetCIDR:       netip.MustParsePrefix(subnet.Text("cidrBlock")),
		UserData:         i.UserData,
		Architecture:     i.Architecture,
		HopLimit:         options.Number("httpPutResponseHopLimit"),
		TokensRequired:   options.Text("httpTokens") == "required",
		Enabled:          options.Text("httpEndpoint") == "enabled",
	}
	// As on AWS, an instance whose profile or role has been deleted has no credentials.
	profile := op.InstanceProfiles[i.Shown.Text("iamInstanceProfile")]
	if r, ok := op.Roles[profile.Text("role")]; ok && r.Account != nil {
		m.Role = &cloud.RoleCredentials{
			RoleName:           r.Shown.Text("name"),
			InstanceProfileARN: profile.Text("arn"),
			InstanceProfileID:  profile.Text("uniqueId"),
			AccessKeyID:        r.Account.AccessKeyID,
			SecretAccessKey:    r.Account.SecretAccessKey,
			Lifetime:           roleCredentialsLifetime,
		}
	}
	return m
}

// newAccount generates an access key in the format of AWS's long-term keys. The S3 server treats keys that begin
// with ASIA as temporary, and accepts those only with a session token that it issued itself.
func newAccount() *store.Account {
	return &store.Account{AccessKeyID: "AKIA" + randomText(16), SecretAccessKey: randomText(40)}
}

// removeAbandoned removes instances whose launch was interrupted because the process was killed. The engine does
// not know them.
func (op *operation) removeAbandoned(ctx context.Context) error {
	for id, i := range op.Instances {
		if !i.Pending {
			continue
		}
		if err := op.removeInstance(ctx, i); err != nil {
			return fmt.Errorf("cannot remove the unfinished instance %s: %w", id, err)
		}
		if err := op.Save(); err != nil {
			return err
		}
	}
	return nil
}

// removeInstance terminates an instance and removes it from the store and the gateway.
func (op *operation) removeInstance(ctx context.Context, i *store.Instance) error {
	id := i.Shown.Text("id")
	if err := ignoreNotFound(op.cloud.TerminateInstance(ctx, id)); err != nil {
		return fmt.Errorf("cannot terminate instance %s: %w", id, err)
	}
	if a := op.elasticIP(id); a != nil {
		disassociate(a)
	}
	delete(op.Instances, id)
	return op.applyGateways(ctx, i.VpcID)
}
