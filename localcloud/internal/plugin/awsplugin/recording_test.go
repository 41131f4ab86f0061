package awsplugin

import (
	"cmp"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// recordings is the directory with the real provider's API calls and inputs. The _source of each file names its origin.
const recordings = "../../../../testdata/provider/"

// recording holds the API actions that the real provider called for one resource type, by phase.
type recording struct {
	Create, CreateAlsoNeeds, Read, Delete    []string
	CreateWith, ReadWith, Update, DeleteWith map[string][]string
}

func readRecording[T any](t *testing.T, file string) map[string]T {
	t.Helper()
	content, err := os.ReadFile(recordings + file)
	require.NoError(t, err)
	var document struct{ Types map[string]T }
	require.NoError(t, json.Unmarshal(content, &document))
	return document.Types
}

// actions returns the actions of each phase. Reads at the end of a create or update count as read.
func (r recording) actions() map[string][]string {
	flatten := func(byInput map[string][]string) []string {
		return slices.Concat(slices.Collect(maps.Values(byInput))...)
	}
	return map[string][]string{
		"create": slices.Concat(r.Create, r.CreateAlsoNeeds, flatten(r.CreateWith)),
		"read":   slices.Concat(r.Read, flatten(r.ReadWith)),
		"update": flatten(r.Update),
		"delete": slices.Concat(r.Delete, flatten(r.DeleteWith)),
	}
}

// requiredActions returns the actions that the table requires in each phase when the program gives every input, changes
// every input, and refers to the site's resources.
func (s *site) requiredActions(token, id string) map[string][]string {
	s.t.Helper()
	k := s.plugin.kinds[token]
	properties := k.Inputs
	real := object{"iamInstanceProfile": s.profile.id, "role": s.role.id, "vpcId": s.vpc.id, "subnetId": s.subnet.id}
	inputs := func(text string) store.Record {
		given := samples(properties, text)
		for name, value := range real {
			if _, has := properties[name]; has && text == "on" {
				given = given.Set(name, toValue(value))
			}
		}
		return schema.Record(given)
	}
	actions := map[string][]string{}
	require.NoError(s.t, s.plugin.run(s.t.Context(), func(op *operation) error {
		for phase, q := range map[string]accessQuery{
			"create": {operation: op, inputs: inputs("on")},
			"read":   {operation: op, id: id, inputs: inputs("on")},
			"update": {operation: op, id: id, inputs: inputs("off"), old: inputs("on")},
			"delete": {operation: op, id: id, old: inputs("on")},
		} {
			for _, c := range k.calls(phase, q) {
				actions[phase] = append(actions[phase], c.action)
			}
		}
		return nil
	}))
	return actions
}

// exception is a set of actions in which localcloud differs from the recording, with the reason.
type exception struct{ kind, phase, actions, reason string }

// notRequired returns the recorded actions that localcloud's table lacks.
func notRequired() []exception {
	const (
		noIPv6      = "localcloud has no IPv6, and its schema rejects the inputs"
		rejected    = "localcloud rejects the change in place"
		unsupported = "its schema rejects the inputs that lead to it"
	)
	return []exception{
		{"aws:ec2/eip:Eip", "create", "ec2:AssociateAddress", unsupported},
		{"aws:ec2/eip:Eip", "update", "ec2:AssociateAddress ec2:DisassociateAddress", unsupported},
		{"aws:ec2/instance:Instance", "update", "ec2:AssignIpv6Addresses ec2:UnassignIpv6Addresses", noIPv6},
		{"aws:ec2/instance:Instance", "update", "ec2:StartInstances ec2:StopInstances", rejected},
		{"aws:ec2/instance:Instance", "update", "ec2:DescribeVolumesModifications ec2:ModifyVolume", rejected},
		{"aws:ec2/instance:Instance", "update",
			"ec2:DescribeIamInstanceProfileAssociations ec2:ReplaceIamInstanceProfileAssociation", rejected},
		{"aws:ec2/instance:Instance", "update", "ec2:ModifyInstanceMetadataOptions ec2:ModifyNetworkInterfaceAttribute",
			rejected},
		{"aws:ec2/internetGateway:InternetGateway", "update",
			"ec2:AttachInternetGateway ec2:DetachInternetGateway", rejected},
		{"aws:ec2/instance:Instance", "update", "ec2:MonitorInstances", unsupported},
		{"aws:ec2/subnet:Subnet", "update", "ec2:AssociateSubnetCidrBlock", noIPv6},
		{"aws:ec2/subnet:Subnet", "update", "ec2:ModifySubnetAttribute", unsupported},
		{"aws:ec2/vpc:Vpc", "update", "ec2:AssociateVpcCidrBlock", noIPv6},
		{"aws:iam/instanceProfile:InstanceProfile", "read", "iam:RemoveRoleFromInstanceProfile",
			"required once the role is deleted: TestRefreshRemovesDeletedRoleFromProfile"},
		{"aws:iam/role:Role", "delete", "iam:DetachRolePolicy", "localcloud attaches no managed policies"},
		{"aws:iam/role:Role", "delete", "iam:DeleteRolePolicy iam:ListAttachedRolePolicies", unsupported},
		{"aws:iam/role:Role", "update", "iam:DeleteRolePermissionsBoundary",
			"required when the boundary is removed: TestDeployRoleCannotEscalatePrivileges"},
	}
}

// notRecorded returns the required actions that the recording lacks.
func notRecorded() []exception {
	return []exception{
		{"aws:ec2/securityGroup:SecurityGroup", "delete", "ec2:RevokeSecurityGroupEgress ec2:RevokeSecurityGroupIngress",
			"called with revokeRulesOnDelete, by the provider's source; the recording did not set it"},
		{"aws:iam/instanceProfile:InstanceProfile", "update", "iam:PassRole",
			"AddRoleToInstanceProfile needs it in updates as in creates, by AWS's Service Authorization Reference"},
	}
}

func TestPermissionTableMatchesRealProviderCalls(t *testing.T) {
	s := newSite(t)
	s.moveVIP(s.server)
	ids := map[string]string{
		"aws:ec2/vpc:Vpc": s.vpc.id, "aws:ec2/subnet:Subnet": s.subnet.id,
		"aws:ec2/internetGateway:InternetGateway": s.gateway.id,
		"aws:ec2/routeTable:RouteTable":           s.table.id, "aws:ec2/instance:Instance": s.server.id,
		"aws:ec2/eip:Eip":   s.vip.id,
		"aws:iam/role:Role": s.role.id, "aws:iam/instanceProfile:InstanceProfile": s.profile.id,
	}
	recorded := readRecording[recording](t, "calls.json")
	var missing, extra []string
	for token := range s.plugin.kinds {
		require.Contains(t, recorded, token,
			"testdata/provider/calls.json has no recording of %s: record the API actions that the provider calls for the type, "+
				"and add them", token)
		id := cmp.Or(ids[token], "any")
		required, called := s.requiredActions(token, id), recorded[token].actions()
		for phase := range called {
			have, want := required[phase], called[phase]
			if phase == "create" || phase == "update" {
				have, want = append(have, required["read"]...), append(want, recorded[token].Read...)
			}
			missing = append(missing, difference(token+" "+phase, want, have)...)
			extra = append(extra, difference(token+" "+phase, have, want)...)
		}
	}
	require.ElementsMatch(t, lines(t, notRequired()), missing,
		"the provider calls actions that the table does not require (or notRequired is out of date): add them to the table, "+
			"or to notRequired with a reason")
	require.ElementsMatch(t, lines(t, notRecorded()), extra,
		"the table requires actions that the provider never called (or notRecorded is out of date): remove them, or add "+
			"them to notRecorded with a reason")
}

// difference returns the distinct items that are not among others, as lines that begin with the prefix.
func difference(prefix string, items, others []string) []string {
	var rest []string
	for _, item := range items {
		line := prefix + " " + item
		if !slices.Contains(others, item) && !slices.Contains(rest, line) {
			rest = append(rest, line)
		}
	}
	return rest
}

func lines(t *testing.T, exceptions []exception) []string {
	t.Helper()
	var all []string
	for _, e := range exceptions {
		require.NotEmpty(t, e.reason, e.actions)
		for action := range strings.FieldsSeq(e.actions) {
			all = append(all, e.kind+" "+e.phase+" "+action)
		}
	}
	return all
}
