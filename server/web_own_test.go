package server

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// Probes of the server use these names, whatever the site's rules say.
func TestCatchAllRulesDoNotOverrideTheServersOwnPaths(t *testing.T) {
	w := newWebServer(t)
	for _, rule := range []string{"/* https://example.com/:splat 301!", "/.well-known/* /index.html 200!"} {
		w.use(secondRelease)
		w.release(firstRelease, map[string]string{"_redirects": rule + "\n"})
		w.use(firstRelease)
		response, body := w.get("/.well-known/release")
		require.Equal(t, http.StatusOK, response.StatusCode, rule)
		require.Contains(t, body, firstRelease)
		response, body = w.get("/.well-known/server")
		require.Equal(t, http.StatusOK, response.StatusCode, rule)
		require.JSONEq(t, `{"server":"i-1"}`, body)
	}
}
