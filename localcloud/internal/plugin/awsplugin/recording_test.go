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

// recordings hold what the real provider did and which inputs it has; the _source of each
// says where that is from.
const recordings = "../../../../testdata/provider/"

// recording is the API actions that the real provider called for one type of resource, by phase.
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

// actions are the phases of a recording. The reads that end a create or an update count as read.
func (r recording) actions() map[string][]string {
	under := func(circumstances map[string][]string) []string {
		return slices.Concat(slices.Collect(maps.Values(circumstances))...)
	}
	return map[string][]string{
		"create": slices.Concat(r.Create, r.CreateAlsoNeeds, under(r.CreateWith)),
		"read":   slices.Concat(r.Read, under(r.ReadWith)),
		"update": under(r.Update),
		"delete": slices.Concat(r.Delete, under(r.DeleteWith)),
	}
}

// demanded are the actions that the table demands in each phase when the program gives every
// input, changes every input, and names what the site has.
func (s *site) demanded(token, id string) map[string][]string {
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
		for phase, q := range map[string]question{
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

// exception is actions in which localcloud differs from the recording, with the reason.
type exception struct{ kind, phase, actions, reason string }

// notDemanded are recorded actions that localcloud's table lacks.
func notDemanded() []exception {
	const (
		noIPv6      = "localcloud has no IPv6, and its schema refuses the inputs"
		refused     = "localcloud refuses the change in place"
		unsupported = "its schema refuses the inputs that lead to it"
	)
	return []exception{
		{"aws:ec2/eip:Eip", "create", "ec2:AssociateAddress", unsupported},
		{"aws:ec2/eip:Eip", "update", "ec2:AssociateAddress ec2:DisassociateAddress", unsupported},
		{"aws:ec2/instance:Instance", "update", "ec2:AssignIpv6Addresses ec2:UnassignIpv6Addresses", noIPv6},
		{"aws:ec2/instance:Instance", "update", "ec2:StartInstances ec2:StopInstances", refused},
		{"aws:ec2/instance:Instance", "update", "ec2:DescribeVolumesModifications ec2:ModifyVolume", refused},
		{"aws:ec2/instance:Instance", "update",
			"ec2:DescribeIamInstanceProfileAssociations ec2:ReplaceIamInstanceProfileAssociation", refused},
		{"aws:ec2/instance:Instance", "update", "ec2:ModifyInstanceMetadataOptions ec2:ModifyNetworkInterfaceAttribute",
			refused},
		{"aws:ec2/internetGateway:InternetGateway", "update", "ec2:AttachInternetGateway ec2:DetachInternetGateway", refused},
		{"aws:ec2/instance:Instance", "update", "ec2:MonitorInstances", unsupported},
		{"aws:ec2/subnet:Subnet", "update", "ec2:AssociateSubnetCidrBlock", noIPv6},
		{"aws:ec2/subnet:Subnet", "update", "ec2:ModifySubnetAttribute", unsupported},
		{"aws:ec2/vpc:Vpc", "update", "ec2:AssociateVpcCidrBlock", noIPv6},
		{"aws:iam/instanceProfile:InstanceProfile", "read", "iam:RemoveRoleFromInstanceProfile",
			"demanded once the role is gone: TestARefreshOfAProfileWhoseRoleIsGoneWrites"},
		{"aws:iam/role:Role", "delete", "iam:DetachRolePolicy", "localcloud attaches no managed policies"},
		{"aws:iam/role:Role", "delete", "iam:DeleteRolePolicy iam:ListAttachedRolePolicies", unsupported},
		{"aws:iam/role:Role", "update", "iam:DeleteRolePermissionsBoundary",
			"demanded when the boundary is taken away: TestTheDeployRoleIsNoAdministrator"},
	}
}

// notRecorded are demanded actions that the recording lacks.
func notRecorded() []exception {
	return []exception{
		{"aws:ec2/securityGroup:SecurityGroup", "delete", "ec2:RevokeSecurityGroupEgress ec2:RevokeSecurityGroupIngress",
			"the provider's source, with revokeRulesOnDelete; the recording was without"},
		{"aws:iam/instanceProfile:InstanceProfile", "update", "iam:PassRole",
			"AddRoleToInstanceProfile needs it in an update as in a create, by AWS's Service Authorization Reference"},
	}
}

func TestTheTableOfPermissionsIsWhatTheRealProviderCalls(t *testing.T) {
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
	var missing, surplus []string
	for token := range s.plugin.kinds {
		require.Contains(t, recorded, token,
			"testdata/provider/calls.json has no recording of %s: record which API actions the provider calls for the type, "+
				"and add them", token)
		id := cmp.Or(ids[token], "any")
		demanded, called := s.demanded(token, id), recorded[token].actions()
		for phase := range called {
			have, want := demanded[phase], called[phase]
			if phase == "create" || phase == "update" {
				have, want = append(have, demanded["read"]...), append(want, recorded[token].Read...)
			}
			missing = append(missing, difference(token+" "+phase, want, have)...)
			surplus = append(surplus, difference(token+" "+phase, have, want)...)
		}
	}
	require.ElementsMatch(t, lines(t, notDemanded()), missing,
		"the provider calls what the table does not demand (or notDemanded names what is no difference): add it to the "+
			"table, or here with a reason")
	require.ElementsMatch(t, lines(t, notRecorded()), surplus,
		"the table demands what the provider was never seen to call (or notRecorded names what is no difference): remove "+
			"it, or add it here with a reason")
}

// difference is the items that are not among others, each once, as lines that begin with the prefix.
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
