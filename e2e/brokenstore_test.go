package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// brokenStore starts a proxy for an S3 server that accepts one file of a site and rejects all later uploads, and
// returns its URL. The proxy verifies the server's certificate with the CAs in a file, if given.
func brokenStore(t *testing.T, endpoint, authorities string) string {
	t.Helper()
	target, err := url.Parse(endpoint)
	require.NoError(t, err)
	transport := &http.Transport{DisableCompression: true}
	if authorities != "" {
		pem, err := os.ReadFile(authorities)
		require.NoError(t, err)
		roots := x509.NewCertPool()
		require.True(t, roots.AppendCertsFromPEM(pem), authorities)
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // the signature covers it
	}}
	var uploads atomic.Int32
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/site/") && uploads.Add(1) > 1 {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	return front.URL
}

// variable returns a variable of the commands' environment.
func (p *project) variable(name string) string {
	value := ""
	for _, entry := range p.env {
		if after, found := strings.CutPrefix(entry, name+"="); found {
			value = after
		}
	}
	return value
}
