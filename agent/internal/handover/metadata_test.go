package handover

import (
	"io"
	"net/http"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/imdstest"
)

// serveMetadata serves metadata with this response about the public address.
func serveMetadata(t *testing.T, status int, text string) {
	t.Helper()
	imdstest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/latest/meta-data/public-ipv4" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	})
}

func TestMetadataServiceReturnsThePublicAddress(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		text   string
		want   netip.Addr
		err    string
	}{
		"an address": {http.StatusOK, "198.51.100.7", vip, ""},
		"newline":    {http.StatusOK, "198.51.100.7\n", vip, ""},
		"no address": {http.StatusNotFound, "<h1>404</h1>", noAddress, ""},
		"turned off": {http.StatusForbidden, "", noAddress, "cannot get the public address: "},
		"not an IP":  {http.StatusOK, "soon", noAddress, "cannot parse the public address: "},
	} {
		t.Run(name, func(t *testing.T) {
			serveMetadata(t, test.status, test.text)
			address, err := NewIMDS().PublicIPv4(t.Context())
			if test.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.err)
			}
			require.Equal(t, test.want, address)
		})
	}
}
