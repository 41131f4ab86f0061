package components

import (
	"fmt"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/require"
)

// updatedStack is an engine whose state has the outputs of a stack's last update, by the stack's
// name in the backend.
type updatedStack struct {
	noResources
	known   string
	outputs map[string]any
}

func (m updatedStack) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) {
	if args.Token != "pulumi:pulumi:readStackOutputs" || args.Args["name"].StringValue() != m.known {
		return nil, fmt.Errorf("unknown stack %s", args.Args["name"].StringValue())
	}
	return resource.PropertyMap{
		"name":    args.Args["name"],
		"outputs": resource.NewProperty(resource.NewPropertyMapFromMap(m.outputs)),
	}, nil
}

func (m updatedStack) require(stack, organization string) error {
	return pulumi.RunErr(func(ctx *pulumi.Context) error {
		return RequireStackName(ctx, "contentBucket", "content")
	}, pulumi.WithMocks("immutable-infra", stack, m), func(info *pulumi.RunInfo) { info.Organization = organization })
}

func TestRenamedStackIsRefused(t *testing.T) {
	for name, test := range map[string]struct{ stack, bucket, old string }{
		"another name":          {"live", "production-content-20261123", "production"},
		"a longer name":         {"production-2", "production-content-20261123", "production"},
		"a shorter name":        {"production", "production-2-content-20261123", "production-2"},
		"a name within another": {"a", "a-content-b-content-20261123", "a-content-b"},
	} {
		t.Run(name, func(t *testing.T) {
			m := updatedStack{noResources{t}, test.stack, map[string]any{"contentBucket": test.bucket}}
			err := m.require(test.stack, "organization")
			require.ErrorContains(t, err, "stack "+test.stack+" was deployed as "+test.old+":")
			require.ErrorContains(t, err, "pulumi stack rename "+test.old+" --stack "+test.stack)
		})
	}
}

func TestStackUnderItsOwnNameIsDeployed(t *testing.T) {
	for name, test := range map[string]struct {
		stack   string
		outputs map[string]any
	}{
		"first update":       {"production", nil},
		"update that failed": {"production", map[string]any{"url": "https://example.org/"}},
		"same name": {"production", map[string]any{
			"contentBucket": "production-content-20261123", "knownHosts": resource.MakeSecret(resource.NewProperty("x")),
		}},
		"name of other letters": {"The_Site", map[string]any{"contentBucket": "the-site-content-20261123"}},
		"bucket of no stack":    {"production", map[string]any{"contentBucket": "elsewhere"}},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, updatedStack{noResources{t}, test.stack, test.outputs}.require(test.stack, "organization"))
		})
	}
}

func TestStackOfAnOrganizationIsReadByItsFullName(t *testing.T) {
	m := updatedStack{
		noResources{t}, "example/immutable-infra/production", map[string]any{"contentBucket": "live-content-1"},
	}
	require.ErrorContains(t, m.require("production", "example"), "was deployed as live")
	require.ErrorContains(t, m.require("production", "another"), "cannot read the outputs of stack production: ")
}
