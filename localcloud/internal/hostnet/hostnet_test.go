package hostnet

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestInstancesReachNoServiceOfThisMachine(t *testing.T) {
	require.Contains(t, rules(true), `iifname "localcloud" ct state new drop`)
	require.Contains(t, rules(false), `iifname "localcloud" ct state new drop`)
}

func TestNeighboursOnTheLANReachNothing(t *testing.T) {
	require.Contains(t, rules(true),
		`oifname "localcloud" iifname != "localcloud" ct state != { established, related } drop`)
}

func TestAddressesAreTranslatedOnceOnly(t *testing.T) {
	require.Contains(t, rules(true), `ip saddr 198.18.0.0/15 oifname != "localcloud" masquerade`)
	require.NotContains(t, rules(false), "masquerade", "the user's engine has rules of its own")
}

func TestTheTableIsReplacedNotGrown(t *testing.T) {
	require.Contains(t, rules(false), "table ip localcloud\ndelete table ip localcloud\ntable ip localcloud {\n")
}
