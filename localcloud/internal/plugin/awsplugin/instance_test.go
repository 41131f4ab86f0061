package awsplugin

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

func TestServerOutputsAndMetadataMatchAWS(t *testing.T) {
	s := newSite(t)
	require.Regexp(t, `^i-[0-9a-f]{17}$`, s.server.id)
	require.Equal(t, "arn:aws:ec2:us-east-1:123456789012:instance/"+s.server.id, s.server.get("arn"))
	require.Equal(t, "10.0.1.4", s.server.get("privateIp"), "AWS reserves the first four addresses")
	require.Equal(t, "ip-10-0-1-4.ec2.internal", s.server.get("privateDns"))
	require.Equal(t, "198.18.1.1", s.server.get("publicIp"))
	require.Equal(t, "ec2-198-18-1-1.compute-1.amazonaws.com", s.server.get("publicDns"))
	require.Equal(t, "us-east-1a", s.server.get("availabilityZone"))
	require.Equal(t, "running", s.server.get("instanceState"))
	root := s.server.outputs.Get("rootBlockDevice").AsMap()
	require.Equal(t, "/dev/xvda", root.Get("deviceName").AsString())
	require.InDelta(t, 3000, root.Get("iops").AsNumber(), 0)

	spec := s.cloud.instances[s.server.id]
	require.Equal(t, "server", spec.Name)
	require.Equal(t, "t3.small", spec.InstanceType)
	m := s.cloud.networkInterface(t, s.server.id).Metadata
	require.Equal(t, "#cloud-config\n", string(m.UserData))
	require.True(t, m.TokensRequired)
	require.Equal(t, 1, m.HopLimit)
	require.True(t, m.Enabled)
	require.Equal(t, s.role.id, m.Role.RoleName)
	require.Equal(t, s.profile.get("arn"), m.Role.InstanceProfileARN)
	require.Equal(t, s.objects.accounts[m.Role.AccessKeyID], m.Role.SecretAccessKey)
}

func TestInvalidServersAreRejected(t *testing.T) {
	s := newSite(t)
	trustLambda := strings.ReplaceAll(trustEC2, "ec2.amazonaws.com", "lambda.amazonaws.com")
	other := s.create("aws:iam/role:Role", "lambda", object{"assumeRolePolicy": trustLambda})
	lambda := s.create("aws:iam/instanceProfile:InstanceProfile", "lambda", object{"role": other.id})
	empty := s.create("aws:iam/instanceProfile:InstanceProfile", "empty", object{})
	vpc := s.create("aws:ec2/vpc:Vpc", "other", object{"cidrBlock": "10.1.0.0/16"})
	foreign := s.create("aws:ec2/securityGroup:SecurityGroup", "foreign", object{"vpcId": vpc.id})
	for name, c := range map[string]struct {
		code   string
		change object
	}{
		"an unknown AMI":                 {"InvalidAMIID.NotFound", object{"ami": "ami-1"}},
		"an AMI of another architecture": {"does not match the architecture 'x86_64'", object{"instanceType": "t4g.small"}},
		"an unknown subnet":              {"InvalidSubnetID.NotFound", object{"subnetId": "subnet-1"}},
		"an unknown group":               {"InvalidGroup.NotFound", object{"vpcSecurityGroupIds": []string{"sg-1"}}},
		"no security group":              {"write at least one group", object{"vpcSecurityGroupIds": []string{}}},
		"a group of another VPC":         {"different networks", object{"vpcSecurityGroupIds": []string{foreign.id}}},
		"an unknown profile":             {"Invalid IAM Instance Profile name", object{"iamInstanceProfile": "nobody"}},
		"a profile without a role":       {"has no associated IAM Roles", object{"iamInstanceProfile": empty.id}},
		"a role that EC2 cannot assume":  {"EC2 cannot assume the role", object{"iamInstanceProfile": lambda.id}},
		"a zone other than the subnet's": {"does not match the subnet's", object{"availabilityZone": "us-east-1b"}},
		"too much user data": {"User data is limited to 16384 bytes",
			object{"userData": strings.Repeat("#", maxUserData+1)}},
		"too many hops": {"write 1 to 64", object{"metadataOptions": object{"httpPutResponseHopLimit": 65}}},
	} {
		t.Run(name, func(t *testing.T) {
			s.createFails(c.code, "aws:ec2/instance:Instance", s.serverInputs(c.change))
			require.Len(t, s.cloud.instances, 1, "no instance was started")
		})
	}
}

func TestUserDataAtTheSizeLimitIsDeliveredWhole(t *testing.T) {
	s := newSite(t)
	data := strings.Repeat("\x1f", maxUserData)
	server := s.create("aws:ec2/instance:Instance", "b", s.serverInputs(object{
		"userData": base64.StdEncoding.EncodeToString([]byte(data)),
	}))
	require.Equal(t, data, string(s.cloud.networkInterface(t, server.id).Metadata.UserData))
}

func TestFailedLaunchLeavesNothingBehind(t *testing.T) {
	s := newSite(t)
	before := s.state()
	s.cloud.runError = errors.New("no memory left")
	_, err := s.tryCreate("aws:ec2/instance:Instance", "second", s.serverInputs())
	require.ErrorContains(t, err, "no memory left")
	require.Len(t, s.state().Instances, len(before.Instances))
	require.Len(t, s.cloud.gateways[s.vpc.id].Interfaces, 1)
}

func TestRefreshRemovesServerLeftPendingByKilledProcess(t *testing.T) {
	s := newSite(t)
	require.NoError(t, s.plugin.store.Update(t.Context(), func(tx *store.Transaction) error {
		tx.Instances[s.server.id].Pending = true
		return nil
	}))
	require.False(t, s.refresh(s.server))
	require.Empty(t, s.cloud.instances)
	require.NoError(t, s.delete(s.group), "its security group is no longer in use")
}

func TestRefreshDetectsMissingServer(t *testing.T) {
	s := newSite(t)
	association := s.moveVIP(s.server)
	delete(s.cloud.instances, s.server.id)
	require.False(t, s.refresh(s.server))
	require.False(t, s.refresh(association), "its Elastic IP is no longer associated")
	require.NoError(t, s.delete(s.vip))
	require.NoError(t, s.delete(s.server), "deleting a missing server succeeds")
}

func TestSelfShutdownTerminatesServerIfConfigured(t *testing.T) {
	for name, trigger := range map[string]func(s *site, server *resource){
		"on refresh":         func(s *site, server *resource) { require.False(t, s.refresh(server)) },
		"on the next launch": func(s *site, _ *resource) { s.create("aws:ec2/instance:Instance", "next", s.serverInputs()) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			server := s.create("aws:ec2/instance:Instance", "second",
				s.serverInputs(object{"instanceInitiatedShutdownBehavior": "terminate"}))
			s.cloud.stopped = map[string]bool{server.id: true, s.server.id: true}
			trigger(s, server)
			require.NotContains(t, s.cloud.instances, server.id)
			require.NotContains(t, s.state().Instances, server.id)
			require.True(t, s.refresh(s.server), "the other server is only stopped")
			require.Equal(t, "stopped", s.server.get("instanceState"))
			require.Empty(t, s.server.get("publicIp"), "a stopped server loses its auto-assigned address")
			_, diff := s.diff(s.server, s.serverInputs())
			require.Equal(t, map[string]p.PropertyDiff{"associatePublicIpAddress": {Kind: p.UpdateReplace, InputDiff: true}},
				diff.DetailedDiff)
		})
	}
}

func TestServerTagsChangeInPlace(t *testing.T) {
	s := newSite(t)
	s.update(s.server, s.serverInputs(object{"tags": object{"Name": "renamed"}}))
	require.True(t, s.server.outputs.Get("tagsAll").Equals(toValue(object{"Name": "renamed"})))
}

func TestPreviewRejectsInPlaceChangesThatStopServer(t *testing.T) {
	s := newSite(t)
	for name, change := range map[string]object{
		"instanceType":               {"instanceType": "t3.micro"},
		"userData":                   {"userData": "#cloud-config\n# changed\n", "userDataReplaceOnChange": false},
		"rootBlockDevice.volumeSize": {"rootBlockDevice": object{"volumeType": "gp3", "volumeSize": 30, "encrypted": true}},
		"vpcSecurityGroupIds":        {"vpcSecurityGroupIds": []string{"sg-1"}},
		"iamInstanceProfile":         {"iamInstanceProfile": "another"},
		"metadataOptions.httpTokens": {"metadataOptions": object{"httpTokens": "optional", "httpPutResponseHopLimit": 1}},
	} {
		for _, dryRun := range []bool{true, false} {
			err := s.tryUpdate(s.server, s.serverInputs(change), dryRun)
			require.ErrorContains(t, err,
				"localcloud cannot change "+name+" in place: this project replaces servers")
		}
	}
	require.NoError(t, s.tryUpdate(s.server, s.serverInputs(object{"tags": object{"a": "b"}}), true))
}

func TestDeletingProfileRevokesServerCredentials(t *testing.T) {
	s := newSite(t)
	require.NotNil(t, s.cloud.networkInterface(t, s.server.id).Metadata.Role)
	require.NoError(t, s.delete(s.profile))
	require.Nil(t, s.cloud.networkInterface(t, s.server.id).Metadata.Role)
}
