package hostnet

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestInstancesCannotReachHostServices(t *testing.T) {
	require.Contains(t, rules(true), `iifname "localcloud" ct state new drop`)
	require.Contains(t, rules(false), `iifname "localcloud" ct state new drop`)
}

func TestLANNeighborsCannotReachInstances(t *testing.T) {
	require.Contains(t, rules(true),
		`oifname "localcloud" iifname != "localcloud" ct state != { established, related } drop`)
}

func TestAddressesAreTranslatedOnlyOnce(t *testing.T) {
	require.Contains(t, rules(true), `ip saddr 198.18.0.0/15 oifname != "localcloud" masquerade`)
	require.NotContains(t, rules(false), "masquerade", "the user's Docker engine has its own rules")
}

func TestRulesReplaceExistingTable(t *testing.T) {
	require.Contains(t, rules(false), "table ip localcloud\ndelete table ip localcloud\ntable ip localcloud {\n")
}
