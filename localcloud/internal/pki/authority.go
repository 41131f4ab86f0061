// Package pki implements localcloud's certificate authority. Name constraints limit it to the names that
// localcloud serves, so that a server can trust it without further risk.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"immutable-infra/localcloud/internal/state"
)

const (
	authorityLifetime   = 10 * 365 * 24 * time.Hour
	certificateLifetime = 365 * 24 * time.Hour
	renewBefore         = 30 * 24 * time.Hour // so that a long-lived local cloud can run for a month after a start
)

// Authority is a certificate authority, stored as ca.pem and ca.key in one directory.
type Authority struct {
	dir         string
	certificate *x509.Certificate
	key         crypto.Signer
}

// Open loads the authority in a directory, or creates it. The authority is constrained to domains, their
// subdomains, and addresses in network.
func Open(dir string, domains []string, network *net.IPNet) (*Authority, error) {
	a := &Authority{dir: dir}
	var err error
	a.certificate, a.key, err = load(a.CertificateFile())
	if err == nil && a.certificate.MaxPathLen == 0 {
		err = fmt.Errorf("%s is from an earlier version of the local cloud: run `make down`, then `make up`",
			a.CertificateFile())
	}
	switch {
	case err == nil:
		return a, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("open certificate authority: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "localcloud certificate authority"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(authorityLifetime),
		IsCA:                  true,
		BasicConstraintsValid: true,
		// Certify signs an authority that has its own intermediate.
		MaxPathLen:                  2,
		KeyUsage:                    x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         domains,
		PermittedIPRanges:           []*net.IPNet{network},
	}
	if a.certificate, a.key, err = a.create(template, "ca"); err != nil {
		return nil, fmt.Errorf("create certificate authority: %w", err)
	}
	return a, nil
}

// CertificateFile returns the path of the authority's own certificate, in PEM.
func (a *Authority) CertificateFile() string { return filepath.Join(a.dir, "ca.pem") }

// Issue returns the paths of a server certificate for the given names and addresses, and its key: <name>.pem and
// <name>.key in the authority's directory. It issues a new certificate unless the existing pair is valid.
func (a *Authority) Issue(
	name string, names []string, addresses []net.IP,
) (certificateFile, keyFile string, err error) {
	certificateFile, keyFile = filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+".key")
	// Replace an unreadable pair, such as a key without the certificate after a kill.
	current, _, err := load(certificateFile)
	now := time.Now()
	if err == nil && current.CheckSignatureFrom(a.certificate) == nil &&
		slices.Equal(current.DNSNames, names) &&
		slices.EqualFunc(current.IPAddresses, addresses, net.IP.Equal) &&
		now.Before(current.NotAfter.Add(-renewBefore)) {
		return certificateFile, keyFile, nil
	}
	if _, _, err := a.create(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "localcloud " + name},
		NotBefore:   now.Add(-time.Hour),
		NotAfter:    now.Add(certificateLifetime),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    names,
		IPAddresses: addresses,
	}, name); err != nil {
		return "", "", fmt.Errorf("issue certificate %s: %w", name, err)
	}
	return certificateFile, keyFile, nil
}

// Certify issues a certificate (PEM) for the key of another authority, whose own certificate (DER) has no
// constraints. Clients that trust the result trust that authority only for domains and their subdomains. The
// result is the same each time, because it is part of the servers' user data.
func (a *Authority) Certify(der []byte, domains []string) ([]byte, error) {
	other, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certify an authority: %w", err)
	}
	// Without a source of randomness, the signature is deterministic.
	signed, err := x509.CreateCertificate(nil, &x509.Certificate{
		SerialNumber:                other.SerialNumber,
		RawSubject:                  other.RawSubject,
		SubjectKeyId:                other.SubjectKeyId,
		NotBefore:                   other.NotBefore,
		NotAfter:                    a.certificate.NotAfter,
		IsCA:                        true,
		BasicConstraintsValid:       true,
		MaxPathLen:                  1,
		KeyUsage:                    other.KeyUsage,
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         domains,
		// A constraint on DNS names does not constrain IP addresses.
		ExcludedIPRanges: []*net.IPNet{
			{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
			{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
		},
	}, a.certificate, other.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("certify an authority: %w", err)
	}
	return encode("CERTIFICATE", signed), nil
}

// Verify checks that a client that trusts the authority accepts one of its certificates for a name.
func (a *Authority) Verify(certificateFile, name string) error {
	certificate, _, err := load(certificateFile)
	if err == nil {
		roots := x509.NewCertPool()
		roots.AddCert(a.certificate)
		_, err = certificate.Verify(x509.VerifyOptions{Roots: roots, DNSName: name})
	}
	if err != nil {
		return fmt.Errorf("verify certificate %s: %w", certificateFile, err)
	}
	return nil
}

// create generates a key and issues a certificate for it, self-signed if the authority has no certificate yet, and
// writes both. The serial number is random.
func (a *Authority) create(template *x509.Certificate, name string) (*x509.Certificate, crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	// Write the key first, because an existing certificate means that the pair is complete.
	if err := state.WriteFile(filepath.Join(a.dir, name+".key"), encode("PRIVATE KEY", keyDER), 0o600); err != nil {
		return nil, nil, err
	}
	if err := state.WriteFile(filepath.Join(a.dir, name+".pem"), encode("CERTIFICATE", der), 0o644); err != nil {
		return nil, nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return certificate, key, err
}

// load reads a certificate and its key from the same directory. The error for a missing file wraps fs.ErrNotExist.
func load(certificateFile string) (*x509.Certificate, crypto.Signer, error) {
	pair, err := tls.LoadX509KeyPair(certificateFile, strings.TrimSuffix(certificateFile, ".pem")+".key")
	if err != nil {
		return nil, nil, err
	}
	return pair.Leaf, pair.PrivateKey.(crypto.Signer), nil // all keys that the package generates can sign
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
