package components

import (
	"fmt"
	"sync"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/require"
)

// updatedStack mocks an engine that has the state of a stack.
type updatedStack struct {
	noResources
	// known is the name by which the backend knows the stack.
	known string
	// resources maps the type and name of each resource in the state to the value of its output "bucket".
	resources map[string]any
}

const contentBucket = bucketType + "::content"

func (m updatedStack) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) {
	name := args.Args["stackName"]
	if args.Token != "pulumi:pulumi:readStackResourceOutputs" || name.StringValue() != m.known {
		return nil, fmt.Errorf("unknown stack %s", name.StringValue())
	}
	state := map[string]any{
		"urn:pulumi:x::immutable-infra::pulumi:pulumi:Stack::immutable-infra-x": map[string]any{
			"type": "pulumi:pulumi:Stack", "outputs": map[string]any{"url": "https://example.org/"},
		},
	}
	for id, bucket := range m.resources {
		state["urn:pulumi:x::immutable-infra::immutable-infra:index:ContentBucket$"+id] = map[string]any{
			"type": "x", "outputs": map[string]any{"bucket": bucket, "secret": resource.MakeSecret(resource.NewProperty("x"))},
		}
	}
	return resource.PropertyMap{
		"name": name, "outputs": resource.NewProperty(resource.NewPropertyMapFromMap(state)),
	}, nil
}

func (m updatedStack) require(stack, organization string) error {
	return pulumi.RunErr(func(ctx *pulumi.Context) error {
		return RequireStackName(ctx, "content")
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
			m := updatedStack{noResources{t}, test.stack, map[string]any{contentBucket: test.bucket}}
			err := m.require(test.stack, "organization")
			require.ErrorContains(t, err, "stack "+test.stack+" was deployed as "+test.old+":")
			require.ErrorContains(t, err, "pulumi stack rename "+test.old+" --stack "+test.stack)
		})
	}
}

// A first update that fails leaves its buckets in the state, and no outputs of the stack.
func TestStackThatIsRenamedAfterAFailedFirstUpdateIsRefused(t *testing.T) {
	m := updatedStack{noResources{t}, "live", map[string]any{
		contentBucket: "production-content-20261123", "aws:ec2/eip:Eip::vip": nil,
	}}
	require.ErrorContains(t, m.require("live", "organization"), "stack live was deployed as production:")
}

// registeredTypes records the type and name of each registered resource.
type registeredTypes struct {
	noResources
	registered *sync.Map
}

func (m registeredTypes) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	m.registered.Store(args.TypeToken+"::"+args.Name, true)
	return args.Name + "-id", args.Inputs, nil
}

func TestRenameCheckKnowsTheTypeOfABucket(t *testing.T) {
	m := registeredTypes{noResources{t}, &sync.Map{}}
	require.NoError(t, pulumi.RunErr(func(ctx *pulumi.Context) error {
		parent := &DeletionGuard{}
		if err := ctx.RegisterComponentResource("immutable-infra:index:Test", "parent", parent); err != nil {
			return err
		}
		_, err := newPrivateBucket(ctx, "content", false, parent)
		return err
	}, pulumi.WithMocks("immutable-infra", "production", m)))
	_, ok := m.registered.Load(contentBucket)
	require.True(t, ok, "no resource %s: a renamed stack would not be noticed", contentBucket)
}

func TestStackUnderItsOwnNameIsDeployed(t *testing.T) {
	for name, test := range map[string]struct {
		stack     string
		resources map[string]any
	}{
		"first update":                  {"production", nil},
		"update that failed at once":    {"production", map[string]any{"aws:ec2/vpc:Vpc::network": nil}},
		"same name":                     {"production", map[string]any{contentBucket: "production-content-20261123"}},
		"name in a different case":      {"The_Site", map[string]any{contentBucket: "the-site-content-20261123"}},
		"bucket of no known stack":      {"production", map[string]any{contentBucket: "elsewhere"}},
		"bucket not created yet":        {"production", map[string]any{contentBucket: nil}},
		"another resource of that name": {"production", map[string]any{"x:y:Z::content": "live-content-1"}},
		"another bucket":                {"production", map[string]any{bucketType + "::other": "live-content-1"}},
		"a bucket property of an odd type": {"production", map[string]any{
			contentBucket: "production-content-1", "x:y:Z::odd": map[string]any{"name": "live-content-1"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, updatedStack{noResources{t}, test.stack, test.resources}.require(test.stack, "organization"))
		})
	}
}

func TestStackOfAnOrganizationIsReadByItsFullName(t *testing.T) {
	m := updatedStack{
		noResources{t}, "example/immutable-infra/production", map[string]any{contentBucket: "live-content-1"},
	}
	require.ErrorContains(t, m.require("production", "example"), "was deployed as live")
	require.ErrorContains(t, m.require("production", "another"), "cannot read the state of stack production: ")
}
