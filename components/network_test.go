package components

import (
	"fmt"
	"sync"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/require"
)

// offeringZones mocks a region in which only zones offer the instance type. The subnet is new if existing is "".
// Otherwise it was created in that zone, which was an input unless withoutInput is set.
type offeringZones struct {
	zones        []string
	existing     string
	withoutInput bool

	mutex sync.Mutex
	// request has the arguments of the lookup of zones, zone the subnet's new zone, changed whether the subnet would
	// change.
	request resource.PropertyMap
	zone    string
	changed bool
}

func (m *offeringZones) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	outputs := args.Inputs.Copy()
	if args.TypeToken == "aws:ec2/subnet:Subnet" {
		m.zone = args.Inputs["availabilityZone"].StringValue()
		if m.existing != "" {
			before, after := args.Inputs.Copy(), args.Inputs.Copy()
			before["availabilityZone"] = resource.NewStringProperty(m.existing)
			if m.withoutInput {
				delete(before, "availabilityZone")
			}
			// The engine does the same for ignored changes.
			for _, ignored := range args.RegisterRPC.GetIgnoreChanges() {
				path, err := resource.ParsePropertyPath(ignored)
				if err != nil || !path.Reset(before, after) {
					return "", nil, fmt.Errorf("ignore changes of %q: %w", ignored, err)
				}
			}
			m.changed = !after.DeepEquals(before)
			outputs["availabilityZone"] = resource.NewStringProperty(m.existing)
		}
	}
	return args.Name + "-id", outputs, nil
}

func (m *offeringZones) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) {
	m.request = args.Args
	return resource.NewPropertyMapFromMap(map[string]any{"locations": m.zones}), nil
}

func (m *offeringZones) network() error {
	return pulumi.RunErr(func(ctx *pulumi.Context) error {
		_, err := NewNetwork(ctx, "network",
			&NetworkArgs{CIDRBlock: "10.0.0.0/16", Region: "us-east-1", InstanceType: "t3.micro"})
		return err
	}, pulumi.WithMocks("immutable-infra", "test", m))
}

func TestTheSubnetIsInAZoneThatOffersTheInstanceType(t *testing.T) {
	for name, zones := range map[string][]string{
		"in any order":        {"us-east-1f", "us-east-1b", "us-east-1c"},
		"besides Local Zones": {"us-east-1-atl-1a", "us-east-1c", "us-east-1b", "us-east-1-wl1-bos-wlz-1"},
		"the only one":        {"us-east-1b"},
	} {
		t.Run(name, func(t *testing.T) {
			mocks := &offeringZones{zones: zones}
			require.NoError(t, mocks.network())
			require.Equal(t, "us-east-1b", mocks.zone)
			require.Equal(t, "availability-zone", mocks.request["locationType"].StringValue())
			filter := mocks.request["filters"].ArrayValue()[0].ObjectValue()
			require.Equal(t, "instance-type", filter["name"].StringValue())
			require.Equal(t, "t3.micro", filter["values"].ArrayValue()[0].StringValue())
		})
	}
}

func TestAnExistingSubnetStaysInItsZone(t *testing.T) {
	for name, withoutInput := range map[string]bool{"that the program chose": false, "that AWS chose": true} {
		t.Run(name, func(t *testing.T) {
			mocks := &offeringZones{
				zones:        []string{"us-east-1a", "us-east-1f"},
				existing:     "us-east-1f",
				withoutInput: withoutInput,
			}
			require.NoError(t, mocks.network())
			require.Equal(t, "us-east-1a", mocks.zone, "a replacement would be in this zone")
			require.False(t, mocks.changed, "another zone replaces the subnet")
		})
	}
}

func TestSubnetInAZoneWithoutTheInstanceTypeIsReportedBeforeAServerIsLaunched(t *testing.T) {
	mocks := &offeringZones{zones: []string{"us-east-1f", "us-east-1a"}, existing: "us-east-1e"}
	require.ErrorContains(t, mocks.network(),
		"the zone of its subnet, us-east-1e, does not offer the instance type t3.micro: "+
			"choose another instance type, or another vpcCidr for a new network in one of us-east-1a, us-east-1f")
}

func TestInstanceTypeThatNoZoneOffersIsRejectedFirst(t *testing.T) {
	mocks := &offeringZones{zones: []string{"us-east-1-atl-1a"}}
	require.ErrorContains(t, mocks.network(),
		"no availability zone of us-east-1 offers the instance type t3.micro: choose another type or region")
	require.Empty(t, mocks.zone)
}
