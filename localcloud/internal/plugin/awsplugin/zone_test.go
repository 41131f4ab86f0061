package awsplugin

import (
	"testing"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// zonesOffering calls the function with the program's arguments.
func (h *harness) zonesOffering(instanceType string) ([]string, error) {
	h.t.Helper()
	response, err := h.server.Invoke(p.InvokeRequest{
		Token: "aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings",
		Args: toMap(object{
			"locationType": "availability-zone",
			"filters":      []object{{"name": "instance-type", "values": []string{instanceType}}},
		}),
	})
	if err != nil {
		return nil, err
	}
	require.Equal(h.t, response.Return.Get("instanceTypes").AsArray().Len(),
		response.Return.Get("locations").AsArray().Len())
	return store.Record(schema.Record(response.Return)).Texts("locations"), nil
}

func TestInstanceTypeOfferingsDifferByZone(t *testing.T) {
	h := newHarness(t)
	for instanceType, letters := range map[string]string{
		"t3.micro": "abcdf", "t4g.small": "abcdf", "t2.micro": "abcdef", "t3.mcro": "",
	} {
		zones, err := h.zonesOffering(instanceType)
		require.NoError(t, err)
		expected := []string{}
		for _, letter := range letters {
			expected = append(expected, "us-east-1"+string(letter))
		}
		require.ElementsMatch(t, expected, zones, instanceType)
	}
	frankfurt := newHarness(t, object{"region": "eu-central-1"})
	zones, err := frankfurt.zonesOffering("t4g.small")
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"eu-central-1a", "eu-central-1b", "eu-central-1c"}, zones)
}

func TestInstanceTypeOfferingsRequirePermission(t *testing.T) {
	h := newHarness(t)
	h.grant("preview", `{"Effect":"Allow","Action":"ec2:DescribeInstances","Resource":"*"}`)
	defer h.as("preview")()
	_, err := h.zonesOffering("t3.micro")
	require.ErrorContains(t, err, "not authorized to perform: ec2:DescribeInstanceTypeOfferings")
}

func TestLaunchFailsInZoneWithoutTheInstanceType(t *testing.T) {
	s := newSite(t)
	subnet := s.create("aws:ec2/subnet:Subnet", "e",
		object{"vpcId": s.vpc.id, "cidrBlock": "10.0.2.0/24", "availabilityZone": "us-east-1e"})
	for _, instanceType := range []string{"t3.small", "t4g.small"} {
		message := s.createFails("Unsupported", "aws:ec2/instance:Instance",
			s.serverInputs(object{"subnetId": subnet.id, "instanceType": instanceType}))
		require.Contains(t, message,
			"Unsupported: Your requested instance type ("+instanceType+") is not supported in your requested Availability "+
				"Zone (us-east-1e). "+
				"Please retry your request by not specifying an Availability Zone or choosing us-east-1a, us-east-1b, "+
				"us-east-1c, us-east-1d, us-east-1f.")
	}
	s.create("aws:ec2/instance:Instance", "old", s.serverInputs(object{"subnetId": subnet.id, "instanceType": "t2.small"}))
}
