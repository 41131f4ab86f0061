package awsplugin

import (
	"testing"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"github.com/stretchr/testify/require"
)

// changes returns the kind of each change, by property path.
func changes(diff p.DiffResponse) map[string]p.DiffKind {
	byPath := map[string]p.DiffKind{}
	for path, change := range diff.DetailedDiff {
		byPath[path] = change.Kind
	}
	return byPath
}

func TestServerChangesUpdateOrReplace(t *testing.T) {
	s := newSite(t)
	for name, c := range map[string]struct {
		change object
		want   map[string]p.DiffKind
	}{
		"no change": {object{}, map[string]p.DiffKind{}},
		"a new AMI": {
			object{"ami": "ami-2"},
			map[string]p.DiffKind{"ami": p.UpdateReplace},
		},
		"user data with replacement on change": {
			object{"userData": "#cloud-config\n# changed\n"},
			map[string]p.DiffKind{"userData": p.UpdateReplace},
		},
		"user data without replacement on change": {
			object{"userData": "#cloud-config\n# changed\n", "userDataReplaceOnChange": false},
			map[string]p.DiffKind{"userData": p.Update, "userDataReplaceOnChange": p.Update},
		},
		"unknown user data in a preview": {
			object{"userData": property.New(property.Computed)},
			map[string]p.DiffKind{"userData": p.UpdateReplace},
		},
		"an instance type of the same architecture": {
			object{"instanceType": "t3.micro"},
			map[string]p.DiffKind{"instanceType": p.Update},
		},
		"an instance type of another architecture": {
			object{"instanceType": "t4g.small"},
			map[string]p.DiffKind{"instanceType": p.UpdateReplace},
		},
		"an unknown instance type": {
			object{"instanceType": property.New(property.Computed)},
			map[string]p.DiffKind{"instanceType": p.Update},
		},
		"a metadata option": {
			object{"metadataOptions": object{"httpTokens": "required", "httpPutResponseHopLimit": 2}},
			map[string]p.DiffKind{"metadataOptions.httpPutResponseHopLimit": p.Update},
		},
		"the root volume's encryption": {
			object{"rootBlockDevice": object{"volumeType": "gp3", "volumeSize": 20, "encrypted": false}},
			map[string]p.DiffKind{"rootBlockDevice.encrypted": p.UpdateReplace},
		},
		"the root volume's size": {
			object{"rootBlockDevice": object{"volumeType": "gp3", "volumeSize": 30, "encrypted": true}},
			map[string]p.DiffKind{"rootBlockDevice.volumeSize": p.Update},
		},
		"the value that AWS chose": {
			object{"availabilityZone": "us-east-1a"},
			map[string]p.DiffKind{},
		},
		"a value other than AWS chose": {
			object{"availabilityZone": "us-east-1b"},
			map[string]p.DiffKind{"availabilityZone": p.AddReplace},
		},
		"a removed profile": {
			object{"iamInstanceProfile": nil},
			map[string]p.DiffKind{},
		},
		"a tag": {
			object{"tags": object{"Name": "renamed"}},
			map[string]p.DiffKind{"tags.Name": p.Update},
		},
		"another tag instead": {
			object{"tags": object{"Owner": "me"}},
			map[string]p.DiffKind{"tags.Name": p.Delete, "tags.Owner": p.Add},
		},
		"removed tags": {
			object{"tags": nil},
			map[string]p.DiffKind{"tags": p.Delete},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, diff := s.diff(s.server, s.serverInputs(c.change))
			require.Equal(t, c.want, changes(diff))
			require.Equal(t, len(c.want) > 0, diff.HasChanges)
			require.False(t, diff.DeleteBeforeReplace, "the old server serves until the new one is ready")
		})
	}
}

func TestSetOrderAndPolicyFormattingCauseNoDiff(t *testing.T) {
	s := newSite(t)
	_, diff := s.diff(s.group, object{
		"vpcId": s.vpc.id,
		"ingress": []object{
			{"protocol": "tcp", "fromPort": 443, "toPort": 443, "cidrBlocks": []string{"0.0.0.0/0"}},
			{"protocol": "tcp", "fromPort": 80, "toPort": 80, "cidrBlocks": []string{"0.0.0.0/0"}, "description": "HTTP"},
		},
		"egress": []object{{"protocol": "tcp", "fromPort": 443, "toPort": 443, "cidrBlocks": []string{"0.0.0.0/0"}}},
	})
	require.False(t, diff.HasChanges, "%v", diff.DetailedDiff)
	_, diff = s.diff(s.role, object{"assumeRolePolicy": "\n" + trustEC2 + "  "})
	require.False(t, diff.HasChanges, "%v", diff.DetailedDiff)
}

func TestReplacementDeletesFirstOnlyWithFixedName(t *testing.T) {
	h := newHarness(t)
	generated := h.create("aws:iam/role:Role", "r", object{"assumeRolePolicy": trustEC2})
	_, diff := h.diff(generated, object{"assumeRolePolicy": trustEC2, "path": "/site/"})
	require.True(t, replaces(diff))
	require.False(t, diff.DeleteBeforeReplace)

	fixed := h.create("aws:iam/role:Role", "r2", object{"name": "server", "assumeRolePolicy": trustEC2})
	_, diff = h.diff(fixed, object{"name": "server", "assumeRolePolicy": trustEC2, "path": "/site/"})
	require.True(t, replaces(diff))
	require.True(t, diff.DeleteBeforeReplace)
	_, diff = h.diff(fixed, object{"name": "server", "assumeRolePolicy": trustEC2, "description": "in place"})
	require.False(t, diff.DeleteBeforeReplace)
}
