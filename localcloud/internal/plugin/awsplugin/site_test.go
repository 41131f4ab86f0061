package awsplugin

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	trustEC2     = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}}`
	denyInsecure = `{"Version":"2012-10-17","Statement":[{"Sid":"DenyInsecureTransport","Effect":"Deny","Principal":"*","Action":"s3:*",
		"Resource":["arn:aws:s3:::site-content","arn:aws:s3:::site-content/*"],"Condition":{"Bool":{"aws:SecureTransport":"false"}}}]}`
	readContent = `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::site-content/*"},
		{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::site-content"}]}`
)

// site holds the resources of this project's basic program.
type site struct {
	*harness
	vpc, gateway, subnet, table, association, endpoint     *resource
	role, rolePolicy, profile, group                       *resource
	content, versioning, encryption, block, ownership, tls *resource
	lifecycle, server, vip                                 *resource
}

func newNetwork(t *testing.T, config ...object) *site {
	t.Helper()
	s := &site{harness: newHarness(t, config...)}
	s.createNetwork()
	return s
}

// createNetwork creates a VPC with a public subnet.
func (s *site) createNetwork() {
	s.t.Helper()
	s.vpc = s.create("aws:ec2/vpc:Vpc", "site", object{"cidrBlock": "10.0.0.0/16", "enableDnsHostnames": true})
	s.gateway = s.create("aws:ec2/internetGateway:InternetGateway", "site", object{"vpcId": s.vpc.id})
	s.subnet = s.create("aws:ec2/subnet:Subnet", "public", object{"vpcId": s.vpc.id, "cidrBlock": "10.0.1.0/24"})
	s.table = s.create("aws:ec2/routeTable:RouteTable", "public", object{
		"vpcId": s.vpc.id, "routes": []object{{"cidrBlock": "0.0.0.0/0", "gatewayId": s.gateway.id}},
	})
	s.association = s.create("aws:ec2/routeTableAssociation:RouteTableAssociation", "public",
		object{"routeTableId": s.table.id, "subnetId": s.subnet.id})
	s.endpoint = s.create("aws:ec2/vpcEndpoint:VpcEndpoint", "s3", object{
		"vpcId": s.vpc.id, "serviceName": "com.amazonaws.us-east-1.s3", "routeTableIds": []string{s.table.id},
	})
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{harness: newHarness(t)}
	s.createSite()
	return s
}

func (s *site) createSite() {
	s.t.Helper()
	s.createNetwork()
	s.content = s.create("aws:s3/bucketV2:BucketV2", "content", object{"bucket": "site-content", "forceDestroy": true})
	s.versioning = s.create("aws:s3/bucketVersioningV2:BucketVersioningV2", "content",
		object{"bucket": s.content.id, "versioningConfiguration": object{"status": "Enabled"}})
	s.encryption = s.create("aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2",
		"content",
		object{"bucket": s.content.id,
			"rules": []object{{"applyServerSideEncryptionByDefault": object{"sseAlgorithm": "AES256"}}}})
	s.block = s.create("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", "content", object{
		"bucket": s.content.id, "blockPublicAcls": true, "blockPublicPolicy": true, "ignorePublicAcls": true,
		"restrictPublicBuckets": true,
	})
	s.ownership = s.create("aws:s3/bucketOwnershipControls:BucketOwnershipControls", "content",
		object{"bucket": s.content.id, "rule": object{"objectOwnership": "BucketOwnerEnforced"}})
	s.tls = s.create("aws:s3/bucketPolicy:BucketPolicy", "content", object{"bucket": s.content.id, "policy": denyInsecure})
	s.lifecycle = s.create("aws:s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2", "content", object{
		"bucket": s.content.id, "rules": []object{{
			"id": "bound", "status": "Enabled", "filter": object{},
			"noncurrentVersionExpiration":    object{"noncurrentDays": 1, "newerNoncurrentVersions": 5},
			"abortIncompleteMultipartUpload": object{"daysAfterInitiation": 1},
		}},
	})
	s.role = s.create("aws:iam/role:Role", "server", object{"assumeRolePolicy": trustEC2})
	s.rolePolicy = s.create("aws:iam/rolePolicy:RolePolicy", "server", object{"role": s.role.id, "policy": readContent})
	s.profile = s.create("aws:iam/instanceProfile:InstanceProfile", "server", object{"role": s.role.id})
	s.group = s.create("aws:ec2/securityGroup:SecurityGroup", "server", object{
		"vpcId": s.vpc.id,
		"ingress": []object{
			{"protocol": "tcp", "fromPort": 80, "toPort": 80, "cidrBlocks": []string{"0.0.0.0/0"}, "description": "HTTP"},
			{"protocol": "tcp", "fromPort": 443, "toPort": 443, "cidrBlocks": []string{"0.0.0.0/0"}},
		},
		"egress": []object{
			{"protocol": "tcp", "fromPort": 443, "toPort": 443, "cidrBlocks": []string{"0.0.0.0/0"}},
		},
	})
	s.server = s.create("aws:ec2/instance:Instance", "server", s.serverInputs())
	s.vip = s.create("aws:ec2/eip:Eip", "vip", object{"domain": "vpc"})
}

// serverInputs returns the inputs of the program's instance, with changes.
func (s *site) serverInputs(changes ...object) object {
	inputs := object{
		"ami": testAMI, "instanceType": "t3.small", "subnetId": s.subnet.id, "associatePublicIpAddress": true,
		"vpcSecurityGroupIds": []string{s.group.id}, "iamInstanceProfile": s.profile.id,
		"userData": "#cloud-config\n", "userDataReplaceOnChange": true,
		"metadataOptions":     object{"httpTokens": "required", "httpPutResponseHopLimit": 1},
		"creditSpecification": object{"cpuCredits": "standard"},
		"rootBlockDevice":     object{"volumeType": "gp3", "volumeSize": 20, "encrypted": true},
		"tags":                object{"Name": "server"},
	}
	for _, change := range changes {
		for name, value := range change {
			inputs[name] = value
		}
	}
	return inputs
}

func (s *site) moveVIP(to *resource) *resource {
	s.t.Helper()
	return s.create("aws:ec2/eipAssociation:EipAssociation", "vip", object{"allocationId": s.vip.id, "instanceId": to.id})
}

func TestRefreshAndSecondUpChangeNothing(t *testing.T) {
	s := newSite(t)
	all := map[string]*resource{
		"vpc": s.vpc, "gateway": s.gateway, "subnet": s.subnet, "table": s.table, "association": s.association,
		"endpoint": s.endpoint, "content": s.content, "versioning": s.versioning, "encryption": s.encryption,
		"block": s.block, "ownership": s.ownership, "policy": s.tls, "lifecycle": s.lifecycle, "role": s.role,
		"role policy": s.rolePolicy, "profile": s.profile, "group": s.group, "server": s.server, "vip": s.vip,
	}
	for name, r := range all {
		before := *r
		require.True(t, s.refresh(r), name)
		require.True(t, before.inputs.Equals(r.inputs), "%s: inputs %v became %v", name, before.inputs, r.inputs)
		require.True(t, before.outputs.Equals(r.outputs), "%s: outputs %v became %v", name, before.outputs, r.outputs)
	}
	_, diff := s.diff(s.server, s.serverInputs())
	require.False(t, diff.HasChanges, "%v", diff.DetailedDiff)
}

// destroySite moves the VIP to the server and then deletes everything.
func (s *site) destroySite() {
	s.t.Helper()
	association := s.moveVIP(s.server)
	for _, r := range []*resource{
		association, s.vip, s.server, s.group, s.profile, s.rolePolicy, s.role,
		s.lifecycle, s.tls, s.ownership, s.block, s.encryption, s.versioning, s.content,
		s.endpoint, s.association, s.table, s.subnet, s.gateway, s.vpc,
	} {
		require.NoError(s.t, s.delete(r), r.urn)
		require.False(s.t, s.refresh(r), r.urn)
	}
}

func TestDestroyInReverseOrderLeavesNothing(t *testing.T) {
	s := newSite(t)
	s.destroySite()
	require.Empty(t, s.cloud.vpcs)
	require.Empty(t, s.cloud.instances)
	require.Empty(t, s.objects.buckets)
	require.Empty(t, s.objects.accounts)
	state := s.state()
	require.Empty(t, state.RouteTables)
	require.Empty(t, state.SecurityGroups)
}

func TestCreatedServerIsSavedInTheStore(t *testing.T) {
	s := newSite(t)
	require.True(t, s.refresh(s.server))
	require.Equal(t, "running", s.server.get("instanceState"))
	require.Contains(t, s.state().Instances, s.server.id)
}
