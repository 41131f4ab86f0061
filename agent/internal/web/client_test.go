package web

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// newClient returns a client of a web server with this handler.
func newClient(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	address, err := url.Parse(server.URL)
	require.NoError(t, err)
	return NewClient(address, "site.example.org", "agent-test")
}

func TestReleaseIsRequestedLikeByAVisitor(t *testing.T) {
	client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "site.example.org" || r.TLS.ServerName != "site.example.org" || r.UserAgent() != "agent-test" ||
			r.URL.Path != "/.well-known/release" {
			w.WriteHeader(http.StatusMisdirectedRequest)
			return
		}
		fmt.Fprint(w, `{"release": "3f0c6f1b2a9d8e47", "files": 42, "bytes": 1}`)
	})
	id, err := client.Release(t.Context())
	require.NoError(t, err)
	require.Equal(t, "3f0c6f1b2a9d8e47", id)
}

func TestResponseWithoutReleaseIsAnError(t *testing.T) {
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		reason  string
	}{
		"no nginx": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(
					http.StatusBadGateway,
				)
			}, "/.well-known/release: status 502 Bad Gateway",
		},
		"a redirect": {
			func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(
					w, r, "/", http.StatusFound,
				)
			}, "/.well-known/release: status 302 Found",
		},
		"a page": {
			func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprint(
					w, "<html>",
				)
			}, "/.well-known/release: invalid character '<' looking for beginning of value",
		},
		"empty": {func(http.ResponseWriter, *http.Request) {}, "/.well-known/release: EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newClient(t, test.handler).Release(t.Context())
			require.EqualError(t, err, test.reason)
		})
	}
}

func TestRefusedConnectionAndTimeoutDiffer(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	address, err := url.Parse(server.URL)
	require.NoError(t, err)
	server.Close()
	_, err = NewClient(address, "site.example.org", "agent-test").Release(t.Context())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)

	silent := newClient(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = silent.Release(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, syscall.ECONNREFUSED)
}

func TestAddressWithPathIsRejected(t *testing.T) {
	address, err := ParseAddress("https://127.0.0.1:8443/")
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:8443", address.Host)
	for _, text := range []string{
		"", "example.org", "http://127.0.0.1", "https://127.0.0.1/blog", "https://", "https://[::1",
	} {
		_, err := ParseAddress(text)
		require.ErrorContains(t, err, "give an address without a path, such as https://127.0.0.1", text)
	}
}

func TestReloadIsRequestedByFile(t *testing.T) {
	request := filepath.Join(t.TempDir(), "reload")
	server := Server{ReloadRequest: request}
	require.NoError(t, server.Reload())
	require.FileExists(t, request)
	require.NoError(t, server.Reload(), "the previous request may still be pending")
	require.NoError(t, os.Remove(request))

	server.ReloadRequest = filepath.Join(request, "reload")
	require.ErrorContains(t, server.Reload(), "cannot request a reload of the web server: ")
}
