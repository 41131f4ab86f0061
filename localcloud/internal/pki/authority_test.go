package pki_test

import (
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/pki"
)

func open(t *testing.T, dir string) *pki.Authority {
	t.Helper()
	_, network, err := net.ParseCIDR("198.18.0.0/15")
	require.NoError(t, err)
	authority, err := pki.Open(dir, []string{"amazonaws.com", "docker.io"}, network)
	require.NoError(t, err)
	return authority
}

// verify checks a certificate file as a client that trusts the authority.
func verify(t *testing.T, authority *pki.Authority, certificateFile, name string) error {
	t.Helper()
	ca, err := os.ReadFile(authority.CertificateFile())
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(ca))
	text, err := os.ReadFile(certificateFile)
	require.NoError(t, err)
	block, _ := pem.Decode(text)
	certificate, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	_, err = certificate.Verify(x509.VerifyOptions{Roots: roots, DNSName: name})
	return err
}

func TestServersAreTrustedByNameAndByAddress(t *testing.T) {
	authority := open(t, t.TempDir())
	certificate, _, err := authority.Issue("s3", []string{"s3.us-east-1.amazonaws.com", "*.s3.us-east-1.amazonaws.com"}, []net.IP{net.IPv4(198, 18, 0, 3)})
	require.NoError(t, err)
	for _, name := range []string{"s3.us-east-1.amazonaws.com", "bucket.s3.us-east-1.amazonaws.com", "198.18.0.3"} {
		require.NoError(t, verify(t, authority, certificate, name), name)
	}
}

func TestTheAuthorityCannotVouchForOtherNames(t *testing.T) {
	authority := open(t, t.TempDir())
	for _, name := range []string{"example.org", "amazonaws.com.example.org"} {
		certificate, _, err := authority.Issue("other", []string{name}, nil)
		require.NoError(t, err)
		require.Error(t, verify(t, authority, certificate, name), name)
	}
	certificate, _, err := authority.Issue("other", nil, []net.IP{net.IPv4(192, 0, 2, 1)})
	require.NoError(t, err)
	require.Error(t, verify(t, authority, certificate, "192.0.2.1"))
}

func TestACertificateIsKeptUntilItsNamesChange(t *testing.T) {
	dir := t.TempDir()
	file, key, err := open(t, dir).Issue("s3", []string{"a.amazonaws.com"}, nil)
	require.NoError(t, err)
	first, err := os.ReadFile(file)
	require.NoError(t, err)
	info, err := os.Stat(key)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	_, _, err = open(t, dir).Issue("s3", []string{"a.amazonaws.com"}, nil)
	require.NoError(t, err)
	again, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, first, again)

	_, _, err = open(t, dir).Issue("s3", []string{"b.amazonaws.com"}, nil)
	require.NoError(t, err)
	changed, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NotEqual(t, first, changed)
}

func TestTheAuthorityKnowsWhatAClientWouldRefuse(t *testing.T) {
	authority := open(t, t.TempDir())
	certificate, _, err := authority.Issue("s3", []string{"s3.us-east-1.amazonaws.com"}, nil)
	require.NoError(t, err)
	require.NoError(t, authority.Verify(certificate, "s3.us-east-1.amazonaws.com"))
	require.Error(t, authority.Verify(certificate, "sts.us-east-1.amazonaws.com"), "another name")
	certificate, _, err = authority.Issue("acme", []string{"acme.example.org"}, nil)
	require.NoError(t, err)
	require.ErrorContains(t, authority.Verify(certificate, "acme.example.org"), "not permitted")
}
