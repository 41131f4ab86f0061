package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// siteURL is the URL of the site in the configuration of the stack local.
const siteURL = "https://site.localcloud.test"

// authority returns the path of a file with the CAs of the local cloud's certificates.
func (p *project) authority() string { return filepath.Join(p.home(), "tls", "acme.pem") }

// roots returns a pool of only these CAs.
func (p *project) roots(t *testing.T) *x509.CertPool {
	t.Helper()
	content, err := os.ReadFile(p.authority())
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(content), p.authority())
	return roots
}

// client returns a client that opens a new connection for each request and follows no redirects.
func (p *project) client(t *testing.T, timeout time.Duration) *http.Client {
	t.Helper()
	return &http.Client{
		Timeout:       timeout,
		Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: p.roots(t)}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// get requests a page like a visitor.
func (p *project) get(t *testing.T, url string) (status int, body string, header http.Header) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	response, err := p.client(t, 10*time.Second).Do(request)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(content), response.Header
}

// ask requests the id of the site's server or release.
func ask(ctx context.Context, client *http.Client, what string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, siteURL+"/.well-known/"+what, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	var answer map[string]any
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return "", fmt.Errorf("%s: %w", request.URL, err)
	}
	value, _ := answer[what].(string)
	return value, nil
}

// served returns which server responds, and with which release. Unknown values are empty.
func (p *project) served(t *testing.T) (server, release string) {
	t.Helper()
	client := p.client(t, 5*time.Second)
	server, _ = ask(t.Context(), client, "server")
	release, _ = ask(t.Context(), client, "release")
	return server, release
}
