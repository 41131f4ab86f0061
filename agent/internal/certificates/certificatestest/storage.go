// Package certificatestest creates certificates, and Traefik's files with them, for tests.
package certificatestest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
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

// New creates a self-signed certificate that is valid until end.
func New(t *testing.T, end time.Time, names ...string) Pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	// Without a subject, like the certificates of ACME authorities.
	template := &x509.Certificate{
		SerialNumber: serial,
		DNSNames:     names,
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     end,
	}
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

// accountKey returns the private key of a fictitious account.
func accountKey(t *testing.T) []byte {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString("" +
		"MIIEowIBAAKCAQEAnSw/U80GJSeWvS854ESbbOdcKd4JNxuZ5Ij6MkkeJt459FpTHCfWjrZkZZrIDdU/rhohg0PlH0Gh7H6sJ979" +
		"EW9dIAxBPEpVy4hzm3OWdRrUz9O9pTxnVftWIkq5StWfbvUkm8ys3d+ZdrvK3FrKQPExAW8xRa/bfDAV3vjHP0FOj3DQwWwbfuZ2" +
		"d6vnpsOHyH5wyDI5gzjwuE36u/92KgU4mjSaWxBcdKfGOGXxFQ4fZB8hZ7ZfK9tHriu7Z6zghOmexWj7id5FoBAuwUlGpXykhXWh" +
		"pToJQdZMytBpPm168lbQa7/qxGvSbNjf9MebudH6VtzKyVAGalgFeZtZDQIDAQABAoIBAAMvRUA4MFvv3lV1Km3MI2m/PVuUJhPR" +
		"sW+omTM2zo+DOLbmCUw8gBPdB7yUTeHpNH9dWa5RzEfIGhUTPantfNYN2jFJoPJtCinT2Q3Tt38mHPJHbCQNN4XN5YFP33XFTX6f" +
		"enoABBpXIG0ADJykPU1iuwy4TqNcFxfVge1GQAPyJsHVN1hgADo22GSmHi7rSNW4bzRHn7GS4OIhAH9dN/081kEmQnQ4VmTOt62u" +
		"sAirxuuAa5SV7TqkGN950sZAhzg9HzHNX9Hruyia1A5sysm1JC4oVCDCfdru/HhGcGfoie/oinnQAdqwe+lUtRDr5f5I0mwNChe4" +
		"ppPGqcCOgrECgYEA0pAswnEFML9D9jifm3pMD2AGymsUoLthAwjmRtX/I6R3GMA9wjwcz/0AEGZp76y2TGG5igpSXsYzgcCDfBr6" +
		"NTExl2YeQ9VXe3Inq3LG3BxDiMIBU8YGhw6KHtLeZB+PKlDOVa+ntp9CjQyEG2P4aFqoSj1ob1Dtn1poM4asrRECgYEAvxa1z9Wx" +
		"bIvsOEZnXyv5kOw3BIuTz2WGtfQO2n844mDlR64KAZbawQ2edZg1F4ZLBM5gTljXwWBGXeRE9sAZw/fGmMcLTO0+PWICqxFMQFEK" +
		"WRdciWzC5qvA3TjqMYWyX8ZPjOaTCedfjVor2nhM9b4EAdT1q8tlF5n8y6AEXD0CgYA75rAVELn9SCw5W5psTLpelV7ZLuVLZIMQ" +
		"rfN0q2RN63fGHspy+07nDH58K+ZvPJ8P061Iy+7q70+v1eiR4crUXw5Ql8h8W7DreWo3qAtSiufbe/WMs4Uf3s8EPdDugtvjmeFZ" +
		"FwOLPHteTPU4JZSBe2js1dNj943iC4IhRmrRQQKBgBLtEeba2G7S0Pul5Xkkptw2uSBHHsWs3ZHJ8WqsrRqm1C6sSytrIJF8YtRs" +
		"1d1VnLqGIj3ASOZLPczw3e++iQ7CzLW3CSR+Xuq/eVouJWo9XJQEX1LxJcCpBDok9/Uds9QOlTR0Zd3WP72FT9Ccl6rDPixcRlTU" +
		"mVekFcipOaVVAoGBAJ6lYy0wy4LGEZeC+Zw8CyExeR9T+U9psw0xsELSdW3S7Yx4q1/mqZRuDNWF9hzGLqHs6dw2nF5zmfcm1qJw" +
		"lPD6n5g2Oapo5/AVT3kikW8BPpxAX1NHCumlU23eFdpgZHpQb5KCDPH1ncfVMYmp7eStPUd0NlHbM/DT3hzr9g17")
	require.NoError(t, err)
	return key
}

// TLS returns the pair for a TLS server.
func (p Pair) TLS(t *testing.T) tls.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(p.Certificate, p.Key)
	require.NoError(t, err)
	return pair
}

// Storage returns the content of Traefik's acme.json with an account and these certificates.
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
		PrivateKey:   accountKey(t),
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
