package awsplugin

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const trustGitHub = `{"Version":"2012-10-17","Statement":{"Effect":"Allow",
	"Principal":{"Federated":"arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"},
	"Action":"sts:AssumeRoleWithWebIdentity",
	"Condition":{"StringEquals":{"token.actions.githubusercontent.com:aud":"sts.amazonaws.com","token.actions.githubusercontent.com:sub":"repo:ada/site:pull_request"}}}}`

func gitHub(changes ...object) object {
	inputs := object{"url": "https://token.actions.githubusercontent.com", "clientIdLists": []string{"sts.amazonaws.com"}}
	for _, change := range changes {
		for name, value := range change {
			inputs[name] = value
		}
	}
	return inputs
}

func TestGitHubOIDCProviderLifecycle(t *testing.T) {
	const token = "aws:iam/openIdConnectProvider:OpenIdConnectProvider"
	h := newHarness(t)
	provider := h.create(token, "github", gitHub(object{"tags": object{"Stack": "access"}}))
	require.Equal(t, "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com", provider.get("arn"))
	require.Equal(t, "token.actions.githubusercontent.com", provider.get("url"),
		"IAM drops the scheme; condition keys begin with the host")
	h.create("aws:iam/role:Role", "preview", object{"name": "preview", "assumeRolePolicy": trustGitHub})

	before := *provider
	require.True(t, h.refresh(provider))
	require.True(t, before.inputs.Equals(provider.inputs), "%v became %v", before.inputs, provider.inputs)
	_, diff := h.diff(provider, gitHub(object{"tags": object{"Stack": "access"}}))
	require.False(t, diff.HasChanges, "%v", diff.DetailedDiff)
	h.update(provider, gitHub(object{"thumbprintLists": []string{strings.Repeat("0f", 20)}}))
	h.update(provider, gitHub(object{"clientIdLists": []string{"sts.amazonaws.com", "example"}}))
	require.True(t, h.refresh(provider))
	require.Equal(t, toValue([]string{"sts.amazonaws.com", "example"}), provider.outputs.Get("clientIdLists"))
	require.ErrorContains(t, h.tryUpdate(provider, gitHub(object{"clientIdLists": []string{}}), false), "LimitExceeded")

	h.createFails("EntityAlreadyExists", token, gitHub())
	h.createFails("ValidationError", token, gitHub(object{"url": "http://example.com"}))
	h.createFails("ValidationError", token,
		gitHub(object{"url": "https://example.com", "thumbprintLists": []string{"abc"}}))
	h.createFails("every repository on GitHub", "aws:iam/role:Role", object{
		"assumeRolePolicy": strings.Replace(trustGitHub, "repo:ada/site:pull_request", "*", 1),
	})

	h.grant("reader", `{"Effect":"Allow","Action":"iam:Get*","Resource":"arn:aws:iam::123456789012:oidc-provider/*"}`)
	restore := h.as("reader")
	require.True(t, h.refresh(provider))
	require.ErrorContains(t, h.delete(provider), "iam:DeleteOpenIDConnectProvider on resource: "+provider.id)
	restore()
	require.NoError(t, h.delete(provider))
	require.False(t, h.refresh(provider))
}
