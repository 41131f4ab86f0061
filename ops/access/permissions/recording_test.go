package permissions_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/ops/access/permissions"
)

// recordingFile holds the real provider's API calls. Its _source describes how they were recorded.
const recordingFile = "testdata/provider/calls.json"

// recording holds the API actions of the provider for one resource type, by phase.
type recording struct {
	Create, CreateAlsoNeeds, Read, Delete    []string
	CreateWith, ReadWith, Update, DeleteWith map[string][]string
}

// actions returns the actions that a role needs: a preview only reads, a deployment makes all calls.
func (r recording) actions(role permissions.Role) []string {
	phases, circumstances := [][]string{r.Read}, []map[string][]string{r.ReadWith}
	if role == permissions.Deploy {
		phases = append(phases, r.Create, r.CreateAlsoNeeds, r.Delete)
		circumstances = append(circumstances, r.CreateWith, r.Update, r.DeleteWith)
	}
	for _, c := range circumstances {
		for _, actions := range c {
			phases = append(phases, actions)
		}
	}
	actions := slices.Concat(phases...)
	slices.Sort(actions)
	return slices.Compact(actions)
}

func recordings(t *testing.T) map[string]recording {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("../../..", recordingFile))
	require.NoError(t, err)
	var file struct{ Types map[string]recording }
	require.NoError(t, json.Unmarshal(content, &file))
	return file.Types
}

// exception lists actions that only the table or only the recording has, with the reason.
type exception struct{ kind, actions, reason string }

// notAllowed lists recorded actions that a role lacks on purpose.
func notAllowed(role permissions.Role) []exception {
	const (
		noIPv6   = "the program has no IPv6 in its VPC"
		replaced = "pulumi.ReplaceOnChanges: a server is replaced, never changed in place"
		notSet   = "the program sets no input that leads to this call; an administrator fixes drift"
		attached = "the program's roles have no attached policy; only an administrator attaches one"
	)
	if role == permissions.Preview {
		return []exception{
			{"aws:iam/instanceProfile:InstanceProfile", "iam:RemoveRoleFromInstanceProfile",
				"a preview writes nothing; if the role was deleted, it fails, and a deployment refreshes the profile"},
		}
	}
	return []exception{
		{"aws:ec2/vpc:Vpc", "ec2:AssociateVpcCidrBlock", noIPv6},
		{"aws:ec2/subnet:Subnet", "ec2:AssociateSubnetCidrBlock", noIPv6},
		{"aws:ec2/subnet:Subnet", "ec2:ModifySubnetAttribute", notSet},
		{"aws:ec2/securityGroup:SecurityGroup", "ec2:RevokeSecurityGroupIngress",
			"pulumi.ReplaceOnChanges: a group whose rules change is replaced; the runner's rule is a resource of its own"},
		{"aws:ec2/eip:Eip", "ec2:AssociateAddress", "an EipAssociation of its own associates the address"},
		{"aws:ec2/instance:Instance", "ec2:AssignIpv6Addresses ec2:UnassignIpv6Addresses", noIPv6},
		{"aws:ec2/instance:Instance", "ec2:StartInstances ec2:StopInstances", replaced},
		{"aws:ec2/instance:Instance", "ec2:ModifyVolume ec2:DescribeVolumesModifications", replaced},
		{"aws:ec2/instance:Instance", "ec2:DescribeIamInstanceProfileAssociations ec2:ReplaceIamInstanceProfileAssociation",
			replaced},
		{"aws:ec2/instance:Instance",
			"ec2:ModifyInstanceCreditSpecification ec2:ModifyInstanceMetadataOptions " +
				"ec2:ModifyNetworkInterfaceAttribute", replaced},
		{"aws:ec2/instance:Instance", "ec2:ModifyInstanceMaintenanceOptions ec2:MonitorInstances", notSet},
		{"aws:iam/role:Role", "iam:UpdateRole iam:UpdateRoleDescription", notSet},
		{"aws:iam/role:Role", "iam:DeleteRolePermissionsBoundary",
			"no deployment by a workflow removes a server's boundary"},
		{"aws:iam/role:Role", "iam:UpdateAssumeRolePolicy",
			"the program never changes a trust policy; an administrator fixes drift"},
		{"aws:iam/role:Role", "iam:DetachRolePolicy", attached},
	}
}

// notRecorded lists allowed actions that are not in the recording.
func notRecorded(role permissions.Role) []exception {
	if role == permissions.Preview {
		return nil
	}
	return []exception{
		{"aws:ec2/routeTable:RouteTable", "ec2:DisassociateRouteTable",
			"delete: by its source, the provider removes remaining associations; the recording had none left"},
	}
}

func TestEachResourceTypeHasARecording(t *testing.T) {
	recorded := recordings(t)
	for _, kind := range programTypes(t) {
		if strings.HasPrefix(kind, "aws:") {
			require.Contains(t, recorded, kind,
				"%s has no recording of %s: record which API actions the provider calls for the type, and "+
					"add them", recordingFile, kind)
		}
	}
}

func TestRolesAllowTheProvidersCallsAndEachDifferenceHasAReason(t *testing.T) {
	for _, role := range []permissions.Role{permissions.Preview, permissions.Deploy} {
		var missing, surplus []string
		recorded := recordings(t)
		for _, resource := range permissions.Resources() {
			var allowed []string
			for _, call := range resource.Calls {
				if slices.Contains(call.Roles, role) {
					allowed = append(allowed, call.Action)
				}
			}
			known, ok := recorded[resource.Type]
			if !ok {
				continue // a type of another provider
			}
			missing = append(missing, without(resource.Type, known.actions(role), allowed)...)
			surplus = append(surplus, without(resource.Type, allowed, known.actions(role))...)
		}
		require.ElementsMatch(t, lines(t, notAllowed(role)), missing,
			"%s: the provider makes calls that the table does not allow (or notAllowed is outdated): add them to the table, or "+
				"here with a reason", role)
		require.ElementsMatch(t, lines(t, notRecorded(role)), surplus,
			"%s: the table allows calls that are not in the recording (or notRecorded is outdated): remove them, or add them "+
				"here with a reason", role)
	}
}

// without returns the actions that are not in others, as one line for each type and action.
func without(kind string, actions, others []string) []string {
	var rest []string
	for _, action := range actions {
		if !slices.Contains(others, action) {
			rest = append(rest, kind+" "+action)
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
			all = append(all, e.kind+" "+action)
		}
	}
	return all
}
