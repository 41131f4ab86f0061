// Package certificatestest is certificates, and Traefik's files of them, for tests.
package certificatestest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Pair is a certificate for some names, and its key, in PEM.
type Pair struct {
	Names            []string
	Certificate, Key []byte
}

// New makes a certificate that nobody vouches for, valid until end.
func New(t *testing.T, end time.Time, names ...string) Pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	// Without a subject, as those of ACME certificate authorities are.
	template := &x509.Certificate{SerialNumber: serial, DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: end}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	return Pair{
		Names:       names,
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}),
	}
}

// TLS is the pair for a server.
func (p Pair) TLS(t *testing.T) tls.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(p.Certificate, p.Key)
	require.NoError(t, err)
	return pair
}

// Storage is Traefik's acme.json with an account and these certificates.
func Storage(t *testing.T, pairs ...Pair) string {
	t.Helper()
	type domain struct {
		Main string   `json:"main"`
		SANs []string `json:"sans,omitempty"`
	}
	type stored struct {
		Domain      domain `json:"domain"`
		Certificate []byte `json:"certificate"`
		Key         []byte `json:"key"`
		Store       string
	}
	type registration struct {
		Body map[string]any `json:"body"`
		URI  string         `json:"uri"`
	}
	type account struct {
		Email        string
		Registration registration
		PrivateKey   []byte
		KeyType      string
	}
	type resolver struct {
		Account      account
		Certificates []stored
	}
	written := resolver{Account: account{
		Email:        "ada@example.org",
		Registration: registration{Body: map[string]any{"status": "valid"}, URI: "https://acme.example.org/account/1"},
		PrivateKey:   []byte("a key"),
		KeyType:      "P256",
	}}
	for _, pair := range pairs {
		written.Certificates = append(written.Certificates, stored{
			Domain:      domain{Main: pair.Names[0], SANs: pair.Names[1:]},
			Certificate: pair.Certificate, Key: pair.Key, Store: "default",
		})
	}
	text, err := json.MarshalIndent(map[string]resolver{"acme": written}, "", "  ")
	require.NoError(t, err)
	return string(text)
}
