package awsplugin

import (
	"testing"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"github.com/stretchr/testify/require"
)

func TestProviderConfigurationErrorsNameTheKey(t *testing.T) {
	h := newHarness(t)
	for name, c := range map[string]struct {
		inputs object
		key    string
		want   string
	}{
		"no region":         {object{}, "region", "pulumi config set aws:region us-east-1"},
		"an invalid region": {object{"region": "mars"}, "region", `"mars" is not an AWS region`},
		"an unknown key": {object{"region": "us-east-1", "regoin": "x"}, "regoin",
			"localcloud does not support the configuration key aws:regoin"},
		"an unsupported key": {object{"region": "us-east-1", "profile": "x"}, "profile",
			"localcloud does not support the configuration key aws:profile"},
		"allowed accounts": {object{"region": "us-east-1", "allowedAccountIds": `["210987654321"]`}, "allowedAccountIds",
			"localcloud does not support the configuration key aws:allowedAccountIds; it supports region"},
		"default tags": {object{"region": "us-east-1", "defaultTags": `{"tags":{"a":"b"}}`}, "defaultTags",
			"localcloud does not support the configuration key aws:defaultTags"},
		"a skipped check": {object{"region": "us-east-1", "skipMetadataApiCheck": "true"}, "skipMetadataApiCheck",
			"localcloud does not support the configuration key aws:skipMetadataApiCheck"},
	} {
		t.Run(name, func(t *testing.T) {
			response, err := h.server.CheckConfig(p.CheckRequest{Inputs: toMap(c.inputs)})
			require.NoError(t, err)
			require.Len(t, response.Failures, 1, "%v", response.Failures)
			require.Equal(t, c.key, response.Failures[0].Property)
			require.Contains(t, response.Failures[0].Reason, c.want)
			require.ErrorContains(t, h.server.Configure(p.ConfigureRequest{Args: toMap(c.inputs)}), c.want)
		})
	}
}

func TestProgramConfigurationIsAccepted(t *testing.T) {
	h := newHarness(t)
	response, err := h.server.CheckConfig(p.CheckRequest{Inputs: toMap(object{
		"region": "eu-central-1", "version": version,
	})})
	require.NoError(t, err)
	require.Empty(t, response.Failures)
	require.Equal(t, "eu-central-1", response.Inputs.Get("region").AsString())
}

func TestRegionChangeReplacesProvider(t *testing.T) {
	h := newHarness(t)
	response, err := h.server.DiffConfig(p.DiffRequest{
		OldInputs: toMap(object{"region": "us-east-1"}), Inputs: toMap(object{"region": "us-east-2"}),
	})
	require.NoError(t, err)
	require.True(t, replaces(response))
	response, err = h.server.DiffConfig(p.DiffRequest{
		OldInputs: toMap(object{"region": "us-east-1"}), Inputs: toMap(object{"region": "us-east-1", "version": version}),
	})
	require.NoError(t, err)
	require.False(t, response.HasChanges)
}

func TestUnknownFunctionsAndArgumentsAreRejectedByName(t *testing.T) {
	h := newHarness(t)
	_, err := h.server.Invoke(p.InvokeRequest{Token: "aws:ec2/getAmi:getAmi"})
	require.ErrorContains(t, err, "localcloud does not support function aws:ec2/getAmi:getAmi")
	_, err = h.server.Invoke(p.InvokeRequest{
		Token: "aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings", Args: toMap(object{"id": property.New("x")}),
	})
	require.ErrorContains(t, err, `unknown argument "id"`)
}
