package schema

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const recorded = "../../../../../testdata/provider/schema.json"

// flags formats a property's flags as the recording does.
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

// paths maps the path of each input to its flags, or to "unsupported" if localcloud rejects the input.
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

// isUnsupported reports whether localcloud does not support an input, or an object that contains the input.
func isUnsupported(inputs map[string]string, path string) bool {
	for i, r := range path + "." {
		if r == '.' && inputs[path[:i]] == "unsupported" {
			return true
		}
	}
	return false
}

// stricter returns the inputs that localcloud requires and AWS does not, with the reason.
func stricter() map[string]string {
	const (
		noDefault   = "AWS can use a default VPC, IPAM or a launch template instead; localcloud has none of them"
		onlyGateway = "localcloud supports no other route target and no other destination"
		noAlias     = "AWS accepts an alias instead; localcloud does not support aliases"
		onlyBlocks  = "AWS also accepts groups and prefix lists"
		blocked     = "localcloud allows no public buckets"
		ofLifecycle = "aws:s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2 "
		ofBlock     = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock "
		encryption  = "aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2 rules[]"
	)
	return map[string]string{
		"aws:ec2/eipAssociation:EipAssociation allocationId":           "AWS accepts publicIp instead",
		"aws:ec2/eipAssociation:EipAssociation instanceId":             "AWS accepts networkInterfaceId instead",
		"aws:ec2/instance:Instance ami":                                noDefault,
		"aws:ec2/instance:Instance instanceType":                       noDefault,
		"aws:ec2/instance:Instance subnetId":                           noDefault,
		"aws:ec2/instance:Instance vpcSecurityGroupIds":                "AWS uses the VPC's default group instead",
		"aws:ec2/securityGroup:SecurityGroup egress[].cidrBlocks":      onlyBlocks,
		"aws:ec2/securityGroup:SecurityGroup ingress[].cidrBlocks":     onlyBlocks,
		"aws:ec2/securityGroup:SecurityGroup vpcId":                    noDefault,
		"aws:ec2/securityGroupRule:SecurityGroupRule cidrBlocks":       "AWS also accepts other sources",
		"aws:ec2/subnet:Subnet cidrBlock":                              noDefault,
		"aws:ec2/vpc:Vpc cidrBlock":                                    noDefault,
		"aws:ec2/routeTable:RouteTable routes[].cidrBlock":             onlyGateway,
		"aws:ec2/routeTable:RouteTable routes[].gatewayId":             onlyGateway,
		"aws:ec2/routeTableAssociation:RouteTableAssociation subnetId": "AWS accepts gatewayId instead",
		"aws:route53/record:Record records":                            noAlias,
		"aws:route53/record:Record ttl":                                noAlias,

		ofBlock + "blockPublicAcls":       blocked,
		ofBlock + "blockPublicPolicy":     blocked,
		ofBlock + "ignorePublicAcls":      blocked,
		ofBlock + "restrictPublicBuckets": blocked,
		ofLifecycle + "rules":             "S3 rejects a configuration without rules",
		ofLifecycle + "rules[].abortIncompleteMultipartUpload.daysAfterInitiation": "S3 rejects the action without it",
		ofLifecycle + "rules[].expiration.expiredObjectDeleteMarker":               "AWS accepts a date or days instead",
		encryption + ".applyServerSideEncryptionByDefault":                         "S3 rejects a rule without it",
	}
}

// updatedFlags returns the current flags of the inputs whose recorded flags are out of date.
func updatedFlags() map[string]string {
	return map[string]string{
		// Required in 5.54; pulumi-aws 6.83's SDK does not require it.
		"aws:iam/openIdConnectProvider:OpenIdConnectProvider thumbprintLists": "optional computed",
	}
}

func TestSchemaMatchesRealProvider(t *testing.T) {
	content, err := os.ReadFile(recorded)
	require.NoError(t, err)
	var document struct{ Types map[string]map[string]string }
	require.NoError(t, json.Unmarshal(content, &document))
	types, err := Load()
	require.NoError(t, err)
	expected, actual := map[string]string{}, map[string]string{}
	for token, s := range types {
		require.Contains(t, document.Types, token,
			"testdata/provider/schema.json lacks %s: add the type's inputs from the provider's schema", token)
		inputs := map[string]string{}
		paths("", s.Inputs, s.Unsupported, inputs)
		for path, flags := range document.Types[token] {
			input := token + " " + path
			switch {
			case isUnsupported(inputs, path):
				continue // its flags do not matter
			case stricter()[input] != "":
				flags = strings.Replace(flags, "optional", "required", 1)
			case updatedFlags()[input] != "":
				flags = updatedFlags()[input]
			}
			expected[input], actual[input] = flags, inputs[path]
		}
		for path, flags := range inputs {
			if flags != "unsupported" {
				actual[token+" "+path] = flags
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
