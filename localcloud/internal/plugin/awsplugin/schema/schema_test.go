package schema

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const recorded = "../../../../../testdata/provider/schema.json"

// flags are what a change and the lack of an input mean, as the recording writes them.
func flags(p *Property) string {
	words := []string{"optional"}
	if p.Required {
		words[0] = "required"
	}
	if p.Computed {
		words = append(words, "computed")
	}
	if p.ForceNew {
		words = append(words, "forceNew")
	}
	return strings.Join(words, " ")
}

// paths are the inputs with their flags, and those that localcloud refuses with "unsupported".
func paths(prefix string, properties map[string]*Property, unsupported []string, into map[string]string) {
	for _, name := range unsupported {
		into[prefix+name] = "unsupported"
	}
	for name, p := range properties {
		path := prefix + name
		into[path] = flags(p)
		if p.Items != nil {
			path, p = path+"[]", p.Items
		}
		paths(path+".", p.Properties, p.Unsupported, into)
	}
}

// refused reports whether localcloud does not support an input, or what the input is a part of.
func refused(inputs map[string]string, path string) bool {
	for i, r := range path + "." {
		if r == '.' && inputs[path[:i]] == "unsupported" {
			return true
		}
	}
	return false
}

// stricter are the inputs that localcloud requires and AWS does not.
func stricter() map[string]string {
	const (
		noDefault   = "AWS has a default VPC, IPAM or a launch template in its place, and localcloud has not"
		onlyGateway = "localcloud has no other target of a route, and no other destination"
		noAlias     = "AWS has an alias in its place, and localcloud has not"
		onlyBlocks  = "AWS takes groups and prefix lists in its place"
		blocked     = "no bucket may be public here"
		ofLifecycle = "aws:s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2 "
		ofBlock     = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock "
		encryption  = "aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2 rules[]"
	)
	return map[string]string{
		"aws:ec2/eipAssociation:EipAssociation allocationId":           "AWS takes publicIp in its place",
		"aws:ec2/eipAssociation:EipAssociation instanceId":             "AWS takes networkInterfaceId in its place",
		"aws:ec2/instance:Instance ami":                                noDefault,
		"aws:ec2/instance:Instance instanceType":                       noDefault,
		"aws:ec2/instance:Instance subnetId":                           noDefault,
		"aws:ec2/instance:Instance vpcSecurityGroupIds":                "AWS takes the VPC's default group in its place",
		"aws:ec2/securityGroup:SecurityGroup egress[].cidrBlocks":      onlyBlocks,
		"aws:ec2/securityGroup:SecurityGroup ingress[].cidrBlocks":     onlyBlocks,
		"aws:ec2/securityGroup:SecurityGroup vpcId":                    noDefault,
		"aws:ec2/securityGroupRule:SecurityGroupRule cidrBlocks":       "AWS takes other sources in its place",
		"aws:ec2/subnet:Subnet cidrBlock":                              noDefault,
		"aws:ec2/vpc:Vpc cidrBlock":                                    noDefault,
		"aws:ec2/routeTable:RouteTable routes[].cidrBlock":             onlyGateway,
		"aws:ec2/routeTable:RouteTable routes[].gatewayId":             onlyGateway,
		"aws:ec2/routeTableAssociation:RouteTableAssociation subnetId": "AWS takes gatewayId in its place",
		"aws:route53/record:Record records":                            noAlias,
		"aws:route53/record:Record ttl":                                noAlias,

		ofBlock + "blockPublicAcls":       blocked,
		ofBlock + "blockPublicPolicy":     blocked,
		ofBlock + "ignorePublicAcls":      blocked,
		ofBlock + "restrictPublicBuckets": blocked,
		ofLifecycle + "rules":             "S3 refuses a configuration without rules",
		ofLifecycle + "rules[].abortIncompleteMultipartUpload.daysAfterInitiation": "S3 refuses the action without it",
		ofLifecycle + "rules[].expiration.expiredObjectDeleteMarker":               "AWS takes a date or days in its place",
		encryption + ".applyServerSideEncryptionByDefault":                         "S3 refuses a rule without it",
	}
}

// otherwise are the inputs whose recorded flags are known to be others by now.
func otherwise() map[string]string {
	return map[string]string{
		// Required in 5.54; pulumi-aws 6.83's SDK does not require it.
		"aws:iam/openIdConnectProvider:OpenIdConnectProvider thumbprintLists": "optional computed",
	}
}

func TestTheSchemaIsThatOfTheRealProvider(t *testing.T) {
	content, err := os.ReadFile(recorded)
	require.NoError(t, err)
	var document struct{ Types map[string]map[string]string }
	require.NoError(t, json.Unmarshal(content, &document))
	types, err := Load()
	require.NoError(t, err)
	expected, actual := map[string]string{}, map[string]string{}
	for token, s := range types {
		require.Contains(t, document.Types, token,
			"testdata/provider/schema.json lacks %s: read the provider's schema of the type, and add it", token)
		inputs := map[string]string{}
		paths("", s.Inputs, s.Unsupported, inputs)
		for path, what := range document.Types[token] {
			input := token + " " + path
			switch {
			case refused(inputs, path):
				continue // which flags it has is of no importance
			case stricter()[input] != "":
				what = strings.Replace(what, "optional", "required", 1)
			case otherwise()[input] != "":
				what = otherwise()[input]
			}
			expected[input], actual[input] = what, inputs[path]
		}
		for path, what := range inputs {
			if what != "unsupported" {
				actual[token+" "+path] = what
			}
		}
	}
	require.Equal(t, expected, actual,
		"for an input that localcloud must require and AWS does not, add the reason to stricter")
	for input := range stricter() {
		require.True(t, strings.HasPrefix(actual[input], "required"), "stricter names %s, which localcloud does not require",
			input)
	}
}
