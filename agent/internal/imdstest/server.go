// Package imdstest provides an instance metadata service for tests. Like version 2, it rejects requests without a
// token.
package imdstest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// Server is a metadata service.
type Server struct {
	// Refused counts the requests without the token.
	Refused atomic.Int32
}

// Serve passes requests with the token to handler until the test ends, and points the SDK at the service. The
// paths of the requests begin with /latest/meta-data/.
func Serve(t *testing.T, handler http.HandlerFunc) *Server {
	t.Helper()
	server := &Server{}
	listener := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token":
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds"))
			_, _ = io.WriteString(w, "token")
		case r.Header.Get("X-Aws-Ec2-Metadata-Token") != "token":
			server.Refused.Add(1)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			handler(w, r)
		}
	}))
	t.Cleanup(listener.Close)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", listener.URL)
	return server
}
