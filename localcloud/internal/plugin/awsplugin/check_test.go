package awsplugin

import (
	"strings"
	"testing"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
)

func TestUnsupportedInputsAreRejectedByName(t *testing.T) {
	h := newHarness(t)
	for name, c := range map[string]struct {
		token  string
		inputs object
		want   string
	}{
		"a misspelled property": {
			"aws:ec2/vpc:Vpc", object{"cidrBlok": "10.0.0.0/16", "cidrBlock": "10.0.0.0/16"},
			`cidrBlok: unknown property "cidrBlok" of aws:ec2/vpc:Vpc; valid properties: assignGeneratedIpv6CidrBlock, cidrBlock`,
		},
		"a misspelled nested property": {
			"aws:s3/bucketVersioningV2:BucketVersioningV2",
			object{"bucket": "b", "versioningConfiguration": object{"status": "Enabled", "state": "on"}},
			`versioningConfiguration.state: unknown property "versioningConfiguration.state"`,
		},
		"a misspelled property in a list": {
			"aws:ec2/routeTable:RouteTable",
			object{"vpcId": "vpc-1", "routes": []object{{"cidrBlock": "0.0.0.0/0", "gatewayId": "igw-1", "gateway": "x"}}},
			`routes[0].gateway: unknown property "routes[0].gateway"`,
		},
		"an unsupported AWS property": {
			"aws:ec2/eip:Eip", object{"instance": "i-1"},
			`instance: localcloud does not support property "instance" of aws:ec2/eip:Eip: use aws:ec2/eipAssociation:EipAssociation`,
		},
		"a deprecated bucket setting": {
			"aws:s3/bucketV2:BucketV2", object{"versionings": []object{{"enabled": true}}},
			`use aws:s3/bucketVersioningV2:BucketVersioningV2`,
		},
		"an unsupported nested AWS property": {
			"aws:ec2/routeTable:RouteTable", object{"vpcId": "vpc-1",
				"routes": []object{{"cidrBlock": "0.0.0.0/0", "gatewayId": "igw-1", "natGatewayId": "nat-1"}}},
			`routes[0].natGatewayId: localcloud does not support property`,
		},
		"an unsupported value": {
			"aws:ec2/instance:Instance",
			object{"ami": testAMI, "instanceType": "t3.small", "subnetId": "subnet-1", "monitoring": true,
				"vpcSecurityGroupIds": []string{"sg-1"}},
			`monitoring: localcloud does not support this value of property "monitoring" of aws:ec2/instance:Instance; write one of [false]`,
		},
		"a rule with a group as source": {
			"aws:ec2/securityGroup:SecurityGroup", object{"vpcId": "vpc-1", "ingress": []object{{"protocol": "tcp",
				"fromPort": 80, "toPort": 80, "cidrBlocks": []string{"10.0.0.0/8"}, "securityGroups": []string{"sg-1"}}}},
			`ingress[0].securityGroups: localcloud does not support property "ingress[0].securityGroups"`,
		},
		"a rule for all protocols": {
			"aws:ec2/securityGroup:SecurityGroup", object{"vpcId": "vpc-1", "ingress": []object{{"protocol": "-1", "fromPort": 0,
				"toPort": 0, "cidrBlocks": []string{"10.0.0.0/8"}}}},
			`ingress[0].protocol: localcloud does not support this value of property "ingress[0].protocol" of ` +
				`aws:ec2/securityGroup:SecurityGroup; write one of ["tcp"]`,
		},
		"suspended versioning": {
			"aws:s3/bucketVersioningV2:BucketVersioningV2",
			object{"bucket": "b", "versioningConfiguration": object{"status": "Suspended"}},
			`versioningConfiguration.status: localcloud does not support this value of property`,
		},
		"a bucket that can be public": {
			"aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", object{"bucket": "b", "blockPublicAcls": true,
				"blockPublicPolicy": false, "ignorePublicAcls": true, "restrictPublicBuckets": true},
			`blockPublicPolicy: localcloud does not support this value of property`,
		},
		"expiring objects": {
			"aws:s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2",
			object{"bucket": "b", "rules": []object{{"id": "a", "status": "Enabled",
				"expiration": object{"days": 1, "expiredObjectDeleteMarker": true}}}},
			`rules[0].expiration.days: localcloud does not support property`,
		},
		"encryption without an algorithm": {
			"aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2",
			object{"bucket": "b", "rules": []object{{"bucketKeyEnabled": true}}},
			`missing required property "rules[0].applyServerSideEncryptionByDefault"`,
		},
		"a role that detaches its policies on deletion": {
			"aws:iam/role:Role", object{"assumeRolePolicy": trustEC2, "forceDetachPolicies": true},
			`forceDetachPolicies: localcloud does not support property`,
		},
		"a value of the wrong type": {
			"aws:ec2/subnet:Subnet", object{"vpcId": "vpc-1", "cidrBlock": 10},
			`cidrBlock: property "cidrBlock" of aws:ec2/subnet:Subnet: expected string, got a number`,
		},
		"a missing property": {
			"aws:ec2/subnet:Subnet", object{"vpcId": "vpc-1"},
			`cidrBlock: missing required property "cidrBlock" of aws:ec2/subnet:Subnet`,
		},
		"two conflicting properties": {
			"aws:iam/instanceProfile:InstanceProfile", object{"name": "a", "namePrefix": "b"},
			`name: "name" conflicts with "namePrefix"`,
		},
		"a prefix that is too long for a generated suffix": {
			"aws:s3/bucketV2:BucketV2", object{"bucketPrefix": strings.Repeat("a", 38)},
			`bucketPrefix: expected length of bucketPrefix to be in the range (0 - 37)`,
		},
		"a tag that is not a string": {
			"aws:ec2/vpc:Vpc", object{"cidrBlock": "10.0.0.0/16", "tags": object{"n": 1}},
			`tags.n: expected a string, got a number`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, failures := h.check(c.token, "x", c.inputs)
			require.Len(t, failures, 1)
			require.Contains(t, failures[0], c.want)
		})
	}
}

func TestAllInputErrorsAreReportedAtOnce(t *testing.T) {
	_, failures := newHarness(t).check("aws:ec2/instance:Instance", "x", object{"amy": "", "tenancy": "host"})
	require.Len(t, failures, 6, "%v", failures)
}

func TestUnknownResourceTypeErrorListsSupportedTypes(t *testing.T) {
	h := newHarness(t)
	_, err := h.server.Check(p.CheckRequest{Urn: urnOf("aws:rds/instance:Instance", "db"), Inputs: property.Map{}})
	require.ErrorContains(t, err,
		"localcloud does not support resource type aws:rds/instance:Instance; it supports aws:ec2/eip:Eip, ")
}

func TestPreviewAcceptsUnknownValues(t *testing.T) {
	h := newHarness(t)
	unknown := property.New(property.Computed)
	checked, failures := h.check("aws:ec2/instance:Instance", "server", object{
		"ami": testAMI, "instanceType": "t3.small", "subnetId": unknown, "userData": unknown.WithSecret(true),
		"vpcSecurityGroupIds": property.New([]property.Value{unknown}), "metadataOptions": object{"httpTokens": unknown},
	})
	require.Empty(t, failures)
	response, err := h.server.Create(p.CreateRequest{
		Urn: urnOf("aws:ec2/instance:Instance", "server"), Properties: checked, DryRun: true,
	})
	require.NoError(t, err)
	require.Empty(t, h.cloud.instances)
	for _, name := range []string{"publicIp", "privateIp", "arn", "availabilityZone"} {
		require.True(t, response.Properties.Get(name).IsComputed(), name)
	}
	require.Equal(t, "t3.small", response.Properties.Get("instanceType").AsString())

	_, failures = h.check("aws:iam/rolePolicy:RolePolicy", "p", object{
		"role":   "r",
		"policy": object{"Statement": []object{{"Effect": "Allow", "Action": "s3:GetObject", "Resource": unknown}}},
	})
	require.Empty(t, failures)
}

func TestNamesAreGeneratedOnceAndKept(t *testing.T) {
	h := newHarness(t)
	for token, property := range map[string]string{
		"aws:iam/role:Role":                       "name",
		"aws:iam/rolePolicy:RolePolicy":           "name",
		"aws:iam/instanceProfile:InstanceProfile": "name",
		"aws:ec2/securityGroup:SecurityGroup":     "name",
		"aws:s3/bucketV2:BucketV2":                "bucket",
	} {
		inputs := object{}
		switch token {
		case "aws:iam/role:Role":
			inputs["assumeRolePolicy"] = trustEC2
		case "aws:iam/rolePolicy:RolePolicy":
			inputs["role"], inputs["policy"] = "r", readContent
		case "aws:ec2/securityGroup:SecurityGroup":
			inputs["vpcId"] = "vpc-1"
		}
		checked, failures := h.check(token, "Site", inputs)
		require.Empty(t, failures, token)
		name := checked.Get(property).AsString()
		want := `^Site-[0-9a-f]{7}$`
		if property == "bucket" {
			want = `^site-[0-9a-f]{7}$`
		}
		require.Regexp(t, want, name, token)

		again, err := h.server.Check(p.CheckRequest{Urn: urnOf(token, "Site"), State: checked, Inputs: toMap(inputs)})
		require.NoError(t, err)
		require.Equal(t, name, again.Inputs.Get(property).AsString(), token)
		replacement, _ := h.check(token, "Site", inputs)
		require.NotEqual(t, name, replacement.Get(property).AsString(), "a replacement gets a new name")
	}
	_, failures := h.check("aws:s3/bucketV2:BucketV2", strings.Repeat("a", 60), object{})
	require.Len(t, failures, 1)
	require.Contains(t, failures[0], "longer than 63 characters")
	checked, _ := h.check("aws:iam/instanceProfile:InstanceProfile", "p", object{"namePrefix": "site-"})
	require.False(t, checked.Get("name").IsString())
}

func TestTagsAllIsSetOnTaggableResourcesOnly(t *testing.T) {
	h := newHarness(t)
	tags := object{"project": "site", "stack": "local"}
	v := h.create("aws:ec2/vpc:Vpc", "v", object{"cidrBlock": "10.0.0.0/16", "tags": tags})
	require.True(t, v.outputs.Get("tagsAll").Equals(toValue(tags)))
	role := h.create("aws:iam/role:Role", "r", object{"assumeRolePolicy": trustEC2})
	p := h.create("aws:iam/rolePolicy:RolePolicy", "p", object{"role": role.id, "policy": readContent})
	require.True(t, p.outputs.Get("tagsAll").IsNull())
}

func TestSecretInputStaysSecretInOutputs(t *testing.T) {
	s := newSite(t)
	secret := property.New("#cloud-config\npassword: x\n").WithSecret(true)
	server := s.create("aws:ec2/instance:Instance", "server2", s.serverInputs(object{"userData": secret}))
	require.True(t, server.outputs.Get("userData").Secret())
	require.NotContains(t, server.get("userData"), "password")
	require.True(t, s.refresh(server))
	require.True(t, server.inputs.Get("userData").Equals(secret), "a refresh keeps the user data secret")
	require.True(t, server.outputs.Get("userData").Secret())
}

func TestEverySchemaPropertyReachesTheRecord(t *testing.T) {
	types, err := schema.Load()
	require.NoError(t, err)
	require.Len(t, types, len(kinds()))
	for token := range kinds() {
		require.Contains(t, types, token)
		inputs := property.Map{}
		for name, schema := range types[token].Inputs {
			inputs = inputs.Set(name, sample(schema, "x"))
		}
		record := types[token].Record(inputs)
		for name := range types[token].Inputs {
			require.Contains(t, record, name, token)
		}
	}
}

// sample returns a value for a property, derived from the text. A boolean is false only for "off".
func sample(s *schema.Property, text string) property.Value {
	switch s.Type {
	case "boolean":
		return property.New(text != "off")
	case "integer":
		return property.New(float64(len(text)))
	case "map":
		return property.New(map[string]property.Value{text: property.New(text)})
	case "object":
		return property.New(samples(s.Properties, text))
	case "array", "set":
		return property.New([]property.Value{sample(s.Items, text)})
	default:
		return property.New(text)
	}
}

// samples returns a sample value for each property.
func samples(properties map[string]*schema.Property, text string) property.Map {
	fields := map[string]property.Value{}
	for name, p := range properties {
		fields[name] = sample(p, text)
	}
	return property.NewMap(fields)
}
