package gateway

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/cloud"
)

func config() cloud.GatewayConfig {
	return cloud.GatewayConfig{
		VPC:     cloud.VPC{ID: "vpc-1", CIDRBlock: netip.MustParsePrefix("10.42.0.0/16")},
		Address: netip.MustParseAddr("198.18.0.16"),
	}
}

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// twoServers returns the state in the middle of an update, when the old server still holds the Elastic IP.
func twoServers() cloud.GatewayState {
	return cloud.GatewayState{Interfaces: []cloud.NetworkInterface{
		{
			InstanceID: "i-old", PrivateIP: netip.MustParseAddr("10.42.1.10"), PublicIP: netip.MustParseAddr("198.18.1.1"),
			Ingress: []cloud.Rule{
				{Protocol: "tcp", FromPort: 80, ToPort: 80, CIDRs: prefixes("0.0.0.0/0", "::/0")},
				{Protocol: "tcp", FromPort: 12222, ToPort: 12222, CIDRs: prefixes("198.18.0.1/32", "192.0.2.0/24")},
				{Protocol: "icmp", FromPort: -1, ToPort: -1, CIDRs: prefixes("0.0.0.0/0")},
			},
			Egress:   []cloud.Rule{{Protocol: "-1", CIDRs: prefixes("0.0.0.0/0")}},
			Metadata: cloud.Metadata{HopLimit: 1},
		},
		{
			InstanceID: "i-new", PrivateIP: netip.MustParseAddr("10.42.1.11"),
			Egress:   []cloud.Rule{{Protocol: "udp", FromPort: 123, ToPort: 123, CIDRs: prefixes("169.254.169.123/32")}},
			Metadata: cloud.Metadata{HopLimit: 2},
		},
	}}
}

func TestRulesetMatchesGoldenFile(t *testing.T) {
	began := time.Now()
	rules, err := Ruleset(config(), twoServers(), []window{
		{
			netip.MustParseAddr("198.18.1.1"), began.Add(2 * time.Second), cloud.AtOld,
			holder{"i-new", netip.MustParseAddr("10.42.1.11")},
		},
		{
			netip.MustParseAddr("198.18.1.1"), began.Add(6500*time.Millisecond + 1), cloud.AtNothing,
			holder{"i-old", netip.MustParseAddr("10.42.1.10")},
		},
	}, began)
	require.NoError(t, err)
	golden := filepath.Join("testdata", "two-servers.nft")
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(rules), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), rules, "run the test with -update if the change is intended")
}

var update = flag.Bool("update", false, "rewrite the golden files")

func TestInstanceWithoutRulesDropsAllTraffic(t *testing.T) {
	rules, err := Ruleset(config(), cloud.GatewayState{Interfaces: []cloud.NetworkInterface{
		{InstanceID: "i-1", PrivateIP: netip.MustParseAddr("10.42.1.10"), PublicIP: netip.MustParseAddr("198.18.1.1")},
	}}, nil, time.Now())
	require.NoError(t, err)
	require.Contains(t, rules, "chain ingress-0 {\n\t\tdrop\n\t}")
	require.Contains(t, rules, "chain egress-0 {\n\t\tdrop\n\t}")
}

func TestIPv6OnlyRuleOpensNothing(t *testing.T) {
	statements, err := match(cloud.Rule{Protocol: "tcp", FromPort: 22, ToPort: 22, CIDRs: prefixes("::/0")}, "saddr")
	require.NoError(t, err)
	require.Empty(t, statements)
}

func TestInvalidRuleErrorNamesInstance(t *testing.T) {
	for name, rule := range map[string]cloud.Rule{
		`protocol "sctp": localcloud knows tcp, udp, icmp and -1 (all)`: {Protocol: "sctp", CIDRs: prefixes("0.0.0.0/0")},
		"tcp ports 90 to 80: write two ports between 0 and 65535, the lower one first": {Protocol: "tcp", FromPort: 90,
			ToPort: 80, CIDRs: prefixes("0.0.0.0/0")},
		"udp ports 0 to 65536: write two ports between 0 and 65535, the lower one first": {Protocol: "udp", ToPort: 65536,
			CIDRs: prefixes("0.0.0.0/0")},
	} {
		_, err := Ruleset(config(), cloud.GatewayState{Interfaces: []cloud.NetworkInterface{
			{InstanceID: "i-1", PrivateIP: netip.MustParseAddr("10.42.1.10"), Ingress: []cloud.Rule{rule}},
		}}, nil, time.Now())
		require.EqualError(t, err, "ingress rule of i-1: "+name)
	}
}

func TestAWSNamesResolveLocally(t *testing.T) {
	text, err := dnsmasqConfig(config())
	require.NoError(t, err)
	require.Contains(t, text, "\nlocal=/amazonaws.com/\n")
	require.Contains(t, text, "\naddress=/s3.us-east-1.amazonaws.com/198.18.0.3\n")
	require.Contains(t, text, "\naddress=/registry-1.docker.io/198.18.0.4\n")
	require.Contains(t, text, "\ndhcp-option=option:dns-server,10.42.0.2\n")
}

func TestZoneNamesAreForwardedToNameServer(t *testing.T) {
	text, err := dnsmasqConfig(config())
	require.NoError(t, err)
	require.Contains(t, text, "\nserver=/localcloud.test/198.18.0.5\n")
	require.NotContains(t, text, "local=/localcloud.test/", "it would keep queries from being forwarded")
}

func TestVictorOpsNameResolvesLocally(t *testing.T) {
	text, err := dnsmasqConfig(config())
	require.NoError(t, err)
	require.Contains(t, text, "\naddress=/alert.victorops.com/198.18.0.7\n")
	require.Contains(t, text, "\nlocal=/alert.victorops.com/\n", "queries for an IPv6 address stay local too")
}

func TestEveryInterfaceHasALeaseAndAName(t *testing.T) {
	require.Equal(t, "02:00:0a:2a:01:0a,10.42.1.10,ip-10-42-1-10\n02:00:0a:2a:01:0b,10.42.1.11,ip-10-42-1-11\n",
		dhcpHosts(twoServers()))
	require.Contains(t, hosts(twoServers()), "10.42.1.10 ip-10-42-1-10.ec2.internal ip-10-42-1-10\n")
}
