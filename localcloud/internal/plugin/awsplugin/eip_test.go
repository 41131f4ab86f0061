package awsplugin

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/stretchr/testify/require"
)

func TestVIPMovesBetweenServersInOneStep(t *testing.T) {
	s := newSite(t)
	vip := s.vip.get("publicIp")
	public := func(server *resource) string { return s.cloud.networkInterface(t, server.id).PublicIP.String() }

	first := s.moveVIP(s.server)
	require.Equal(t, vip, public(s.server))
	require.Equal(t, vip, first.get("publicIp"))
	require.True(t, s.refresh(s.server))
	require.Equal(t, vip, s.server.get("publicIp"))

	second := s.create("aws:ec2/instance:Instance", "second", s.serverInputs())
	own := second.get("publicIp")
	applied := s.cloud.applied
	moved := s.moveVIP(second)
	require.Equal(t, applied+1, s.cloud.applied, "one change of the gateway: between two, the VIP would lead nowhere")
	require.Equal(t, vip, public(second))
	require.NotEqual(t, own, public(second))
	require.Empty(t, s.state().Instances[second.id].AutoPublicIP, "its auto-assigned address is released")
	require.True(t, s.cloud.networkInterface(t, second.id).Elastic, "the server with the Elastic IP gets more CPU shares")
	require.False(t, s.cloud.networkInterface(t, s.server.id).Elastic)
	require.NotEqual(t, vip, public(s.server))
	require.True(t, s.cloud.networkInterface(t, s.server.id).PublicIP.IsValid(), "the old server gets a fresh address")

	require.False(t, s.refresh(first), "the old association no longer exists")
	require.NoError(t, s.delete(first), "deleting the old association succeeds")
	require.Equal(t, vip, public(second), "deleting the old association does not move the VIP")

	require.NoError(t, s.delete(s.server))
	require.Equal(t, vip, public(second))
	require.NoError(t, s.delete(moved))
	require.NotEqual(t, vip, public(second))
	require.NoError(t, s.delete(s.vip))
}

func TestPrivateServerHasNoPublicAddressButTheVIP(t *testing.T) {
	s := newSite(t)
	server := s.create("aws:ec2/instance:Instance", "private", s.serverInputs(object{"associatePublicIpAddress": false}))
	require.Empty(t, server.get("publicIp"))
	association := s.moveVIP(server)
	require.Equal(t, s.vip.get("publicIp"), s.cloud.networkInterface(t, server.id).PublicIP.String())

	require.True(t, s.refresh(server))
	_, diff := s.diff(server, s.serverInputs(object{"associatePublicIpAddress": false}))
	require.True(t, replaces(diff), "as on AWS, a refresh sees the VIP as a change")

	require.NoError(t, s.delete(association))
	require.False(t, s.cloud.networkInterface(t, server.id).PublicIP.IsValid())
}

func TestInvalidEIPAssociationsAreRejected(t *testing.T) {
	s := newSite(t)
	const association = "aws:ec2/eipAssociation:EipAssociation"
	s.createFails("InvalidAllocationID.NotFound", association,
		object{"allocationId": "eipalloc-1", "instanceId": s.server.id})
	s.createFails("InvalidInstanceID.NotFound", association, object{"allocationId": s.vip.id, "instanceId": "i-1"})
	s.moveVIP(s.server)
	s.createFails("Resource.AlreadyAssociated", association,
		object{"allocationId": s.vip.id, "instanceId": s.server.id, "allowReassociation": false})

	vpc := s.create("aws:ec2/vpc:Vpc", "closed", object{"cidrBlock": "10.1.0.0/16"})
	subnet := s.create("aws:ec2/subnet:Subnet", "closed", object{"vpcId": vpc.id, "cidrBlock": "10.1.0.0/24"})
	group := s.create("aws:ec2/securityGroup:SecurityGroup", "closed", object{"vpcId": vpc.id})
	closed := s.create("aws:ec2/instance:Instance", "closed", object{"ami": testAMI, "instanceType": "t3.small",
		"subnetId": subnet.id, "vpcSecurityGroupIds": []string{group.id}})
	s.createFails("Gateway.NotAttached", association, object{"allocationId": s.vip.id, "instanceId": closed.id})
}

func TestReleasedAddressIsNotReusedAtOnce(t *testing.T) {
	h := newHarness(t)
	first := h.create("aws:ec2/eip:Eip", "a", object{})
	require.NoError(t, h.delete(first))
	second := h.create("aws:ec2/eip:Eip", "b", object{})
	require.NotEqual(t, first.get("publicIp"), second.get("publicIp"))
}

func TestElasticIPLimitIsEnforced(t *testing.T) {
	h := newHarness(t)
	for i := range maxAddresses {
		h.create("aws:ec2/eip:Eip", fmt.Sprint(i), object{})
	}
	h.createFails("AddressLimitExceeded", "aws:ec2/eip:Eip", object{})
}

func TestEC2QueryAPIMovesTheVIP(t *testing.T) {
	s := newSite(t)
	vip := s.vip.get("publicIp")
	call := func(action string, parameters ...string) (any, error) {
		form := url.Values{"Action": {action}}
		for i := 0; i < len(parameters); i += 2 {
			form.Set(parameters[i], parameters[i+1])
		}
		return s.plugin.ec2(t.Context(), "us-east-1", form)
	}
	holder := func() string {
		described, err := call("DescribeAddresses", "AllocationId.1", s.vip.id)
		require.NoError(t, err)
		require.Equal(t, vip, described.(addresses).Items[0].PublicIP)
		return described.(addresses).Items[0].InstanceID
	}
	require.Empty(t, holder())
	old := s.moveVIP(s.server)
	require.Equal(t, s.server.id, holder())
	second := s.create("aws:ec2/instance:Instance", "second", s.serverInputs())

	_, err := call("AssociateAddress", "AllocationId", s.vip.id, "InstanceId", second.id, "AllowReassociation", "true")
	require.NoError(t, err)
	require.Equal(t, second.id, holder())
	require.Equal(t, vip, s.cloud.networkInterface(t, second.id).PublicIP.String())
	require.False(t, s.refresh(old), "the VIP has a new association")

	_, err = call("CreateTags", "ResourceId.1", s.server.id, "Tag.1.Key", "Failed", "Tag.1.Value", "yes")
	require.NoError(t, err)
	require.True(t, s.refresh(s.server))
	_, diff := s.diff(s.server, s.serverInputs())
	require.Equal(t, map[string]p.DiffKind{"tags.Failed": p.Delete}, changes(diff), "a refresh sees the tag")

	shutDown := make(chan struct{})
	s.cloud.shutDown = shutDown
	_, err = call("TerminateInstances", "InstanceId.1", s.server.id)
	require.NoError(t, err)
	require.Equal(t, second.id, holder(), "EC2 responds while an instance shuts down")
	require.NotNil(t, s.state().Instances[s.server.id])
	close(shutDown)
	require.Eventually(t, func() bool { return s.state().Instances[s.server.id] == nil }, time.Minute, 10*time.Millisecond)

	for code, request := range map[string][]string{
		"InvalidInstanceID.NotFound":   {"AssociateAddress", "AllocationId", s.vip.id, "InstanceId", "i-1"},
		"InvalidAllocationID.NotFound": {"DescribeAddresses", "AllocationId.1", "eipalloc-1"},
		"InvalidAction":                {"ReleaseAddress"},
	} {
		_, err := call(request[0], request[1:]...)
		require.ErrorContains(t, err, code)
	}
	_, err = call("TerminateInstances", "InstanceId.1", "i-1")
	require.ErrorContains(t, err, "InvalidInstanceID.NotFound")
	_, err = call("CreateTags", "ResourceId.1", s.vip.id, "Tag.1.Key", "Failed", "Tag.1.Value", "yes")
	require.ErrorContains(t, err, "InvalidID")
}
