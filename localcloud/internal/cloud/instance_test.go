package cloud

import (
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestInstanceTypeMemoryMatchesAWS(t *testing.T) {
	for instanceType, gibibytes := range map[string]float64{
		"t3.nano": 0.5, "t4g.micro": 1, "t3a.small": 2, "t3.medium": 4,
	} {
		bytes, err := memoryOf(instanceType)
		require.NoError(t, err)
		require.Equal(t, int64(gibibytes*(1<<30)), bytes, instanceType)
	}
}

func TestUnknownInstanceTypeErrorListsKnownTypes(t *testing.T) {
	for _, unknown := range []string{"m5.large", "t3.huge", "t3", ""} {
		_, err := memoryOf(unknown)
		require.ErrorContains(t, err, "the families t3, t3a, t4g in the sizes medium, micro, nano, small", unknown)
	}
}

func TestUnknownAMIErrorNamesTheServerAMI(t *testing.T) {
	local, err := Open(t.TempDir())
	require.NoError(t, err)
	_, err = local.Image(t.Context(), "ami-123")
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorContains(t, err, ServerAMI)
	image, err := local.Image(t.Context(), ServerAMI)
	require.NoError(t, err)
	require.Equal(t, RootDevice, image.RootDeviceName)
}

func TestEachVPCHasItsOwnGatewayAddress(t *testing.T) {
	local, err := Open(t.TempDir())
	require.NoError(t, err)
	block := netip.MustParsePrefix("10.42.0.0/16")
	first, err := local.ensureVPC(VPC{ID: "vpc-1", CIDRBlock: block})
	require.NoError(t, err)
	second, err := local.ensureVPC(VPC{ID: "vpc-2", CIDRBlock: block})
	require.NoError(t, err)
	require.NotEqual(t, first.Address, second.Address)
	again, err := local.ensureVPC(VPC{ID: "vpc-1", CIDRBlock: block})
	require.NoError(t, err)
	require.Equal(t, first, again)
	_, err = local.ensureVPC(VPC{ID: "vpc-1", CIDRBlock: netip.MustParsePrefix("10.43.0.0/16")})
	require.ErrorContains(t, err, "already exists with the CIDR block 10.42.0.0/16")
}

func TestInterruptedVPCCreationDoesNotBlockOthers(t *testing.T) {
	local, err := Open(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(local.vpcDir("vpc-1"), 0o700))
	block := netip.MustParsePrefix("10.42.0.0/16")
	_, err = local.ensureVPC(VPC{ID: "vpc-2", CIDRBlock: block})
	require.NoError(t, err)
	_, err = local.ensureVPC(VPC{ID: "vpc-1", CIDRBlock: block})
	require.NoError(t, err, "the interrupted call can be repeated")
	vpcs, err := local.vpcs()
	require.NoError(t, err)
	require.Len(t, vpcs, 2)
}

func TestRouterAndResolverAddressesMatchAWS(t *testing.T) {
	vpc := VPC{CIDRBlock: netip.MustParsePrefix("10.42.7.9/16")}
	require.Equal(t, "10.42.0.1", vpc.Router().String())
	require.Equal(t, "10.42.0.2", vpc.Resolver().String())
}

func TestS3BeforeFirstStartSaysHowToStart(t *testing.T) {
	local, err := Open(t.TempDir())
	require.NoError(t, err)
	_, err = local.S3()
	require.ErrorContains(t, err, "make up")
}
