package awsplugin

import (
	"net/netip"
)

// parseCIDR reads an IPv4 block in the form that AWS wants.
func parseCIDR(text string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil || !prefix.Addr().Is4() {
		return netip.Prefix{}, apiError("InvalidParameterValue", "%q is not an IPv4 CIDR block; write one such as 10.0.0.0/16", text)
	}
	if prefix != prefix.Masked() {
		return netip.Prefix{}, apiError("InvalidParameterValue", "the CIDR block %q has host bits set; write %s", text, prefix.Masked())
	}
	return prefix, nil
}

// storedCIDR reads a block that was checked before it was stored.
func storedCIDR(text string) netip.Prefix {
	return netip.MustParsePrefix(text)
}

// contains says whether inner lies wholly within outer.
func contains(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}
