package pki_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/pki"
)

func open(t *testing.T, dir string) *pki.Authority {
	t.Helper()
	_, network, err := net.ParseCIDR("198.18.0.0/15")
	require.NoError(t, err)
	authority, err := pki.Open(dir, []string{"amazonaws.com", "docker.io", "localcloud.test"}, network)
	require.NoError(t, err)
	return authority
}

// verify checks a certificate file as a client that trusts the authority does.
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

func TestServersAreTrustedByNameAndAddress(t *testing.T) {
	authority := open(t, t.TempDir())
	certificate, _, err := authority.Issue("s3", []string{"s3.us-east-1.amazonaws.com", "*.s3.us-east-1.amazonaws.com"},
		[]net.IP{net.IPv4(198, 18, 0, 3)})
	require.NoError(t, err)
	for _, name := range []string{"s3.us-east-1.amazonaws.com", "bucket.s3.us-east-1.amazonaws.com", "198.18.0.3"} {
		require.NoError(t, verify(t, authority, certificate, name), name)
	}
}

func TestAuthorityCannotCertifyOtherNames(t *testing.T) {
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

func TestCertificateIsReusedUntilItsNamesChange(t *testing.T) {
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

func TestMismatchedKeyPairIsReissued(t *testing.T) {
	authority := open(t, t.TempDir())
	certificate, key, err := authority.Issue("s3", []string{"a.amazonaws.com"}, nil)
	require.NoError(t, err)
	_, otherKey, err := authority.Issue("other", []string{"a.amazonaws.com"}, nil)
	require.NoError(t, err)
	require.NoError(t, os.Rename(otherKey, key)) // an interrupted Issue has replaced the key, but not yet the certificate
	_, err = tls.LoadX509KeyPair(certificate, key)
	require.Error(t, err)

	_, _, err = authority.Issue("s3", []string{"a.amazonaws.com"}, nil)
	require.NoError(t, err)
	_, err = tls.LoadX509KeyPair(certificate, key)
	require.NoError(t, err, "a server can load the pair")
}

func TestVerifyRejectsWhatClientsReject(t *testing.T) {
	authority := open(t, t.TempDir())
	certificate, _, err := authority.Issue("s3", []string{"s3.us-east-1.amazonaws.com"}, nil)
	require.NoError(t, err)
	require.NoError(t, authority.Verify(certificate, "s3.us-east-1.amazonaws.com"))
	require.Error(t, authority.Verify(certificate, "sts.us-east-1.amazonaws.com"), "wrong name")
	certificate, _, err = authority.Issue("acme", []string{"acme.example.org"}, nil)
	require.NoError(t, err)
	require.ErrorContains(t, authority.Verify(certificate, "acme.example.org"), "not permitted")
}

func TestCrossSignedAuthorityIsTrustedOnlyForItsNames(t *testing.T) {
	authority := open(t, t.TempDir())
	// An authority without name constraints, such as Pebble's, and certificates that it issues.
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "another root"}, SubjectKeyId: []byte{1},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	require.NoError(t, err)
	issue := func(template x509.Certificate) *x509.Certificate {
		template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(2), root.NotBefore, root.NotAfter
		der, err := x509.CreateCertificate(rand.Reader, &template, root, rootKey.Public(), rootKey)
		require.NoError(t, err)
		leaf, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		return leaf
	}

	certified, err := authority.Certify(rootDER, []string{"localcloud.test"})
	require.NoError(t, err)
	again, err := authority.Certify(rootDER, []string{"localcloud.test"})
	require.NoError(t, err)
	require.Equal(t, certified, again, "otherwise each `make up` would replace the servers, which trust the certificate")
	own, err := os.ReadFile(authority.CertificateFile())
	require.NoError(t, err)
	for _, bundle := range [][]byte{own, slices.Concat(own, certified)} {
		trusted, intermediates := x509.NewCertPool(), x509.NewCertPool()
		require.True(t, trusted.AppendCertsFromPEM(bundle))
		require.True(t, intermediates.AppendCertsFromPEM(certified))
		verify := func(leaf *x509.Certificate) error {
			_, err := leaf.Verify(x509.VerifyOptions{Roots: trusted, Intermediates: intermediates})
			return err
		}
		require.NoError(t, verify(issue(x509.Certificate{DNSNames: []string{"site.localcloud.test"}})))
		require.ErrorContains(t, verify(issue(x509.Certificate{DNSNames: []string{"example.org"}})), "not permitted")
		require.ErrorContains(t, verify(issue(x509.Certificate{DNSNames: []string{"docker.io"}})), "not permitted",
			"permitted for the issuer but not for the cross-signed authority")
		require.ErrorContains(t, verify(issue(x509.Certificate{IPAddresses: []net.IP{net.IPv4(198, 18, 0, 3)}})),
			"excluded")
	}
}
