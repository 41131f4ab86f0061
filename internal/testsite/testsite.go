// Package testsite serves a local site for tests of probes.
package testsite

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Site is an HTTPS server on loopback.
type Site struct {
	Address netip.AddrPort
	// Roots is the path of a PEM file with the authority of the certificate.
	Roots string
	// Close stops the server before the test ends.
	Close func()
}

// Start serves handler with a certificate for name, until the test ends.
func Start(t *testing.T, name string, handler http.Handler) Site {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "certificate of " + name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}}}
	// Tests cause failed handshakes.
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	require.NoError(t, os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}), 0o600))
	return Site{Address: netip.MustParseAddrPort(server.Listener.Addr().String()), Roots: roots, Close: server.Close}
}

// Serving returns a handler that responds like a server with a release.
func Serving(server, release string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/server",
		func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"server":"`+server+`"}`) })
	mux.HandleFunc("/.well-known/release",
		func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"release": "`+release+`"}`) })
	return mux
}
