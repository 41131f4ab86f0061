package handover

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// serveMetadata is a metadata service of version 2 with this answer about the
// public address.
func serveMetadata(t *testing.T, status int, text string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token":
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds"))
			_, _ = io.WriteString(w, "token")
		case r.Header.Get("X-Aws-Ec2-Metadata-Token") != "token":
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/latest/meta-data/public-ipv4":
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
		default:
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	t.Cleanup(server.Close)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.URL)
}

func TestTheMetadataServiceTellsThePublicAddress(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		text   string
		want   netip.Addr
		err    string
	}{
		"an address":  {http.StatusOK, "198.51.100.7", vip, ""},
		"a line":      {http.StatusOK, "198.51.100.7\n", vip, ""},
		"no address":  {http.StatusNotFound, "<h1>404</h1>", none, ""},
		"turned off":  {http.StatusForbidden, "", none, "ask for the public address: "},
		"other words": {http.StatusOK, "soon", none, "understand the public address: "},
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
