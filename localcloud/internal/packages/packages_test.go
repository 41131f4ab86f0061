package packages

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMissingProgramsAreListedWithTheirPackages(t *testing.T) {
	text := instructions([]requirement{{"nft", "nftables", "the host's firewall table"}})
	require.True(t, strings.HasSuffix(text, "\n  nft: the host's firewall table (Debian package nftables)"), text)
}
