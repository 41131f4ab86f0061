// Package certificates backs up and restores the certificates of the site's names: Traefik's
// certificates and account must outlive the server that requested them.
package certificates

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/server/atomicfile"
)

// MinimumValidity is how long a certificate must be valid to be useful for a new server. Traefik
// renews once a day, but not while the VIP is elsewhere: this leaves it at least one day to do so.
const MinimumValidity = 48 * time.Hour

// trusted reports whether the certificate chains to one of the roots. If roots is nil, every certificate is
// trusted.
func (c Certificate) trusted(roots *x509.CertPool) bool {
	if roots == nil {
		return true
	}
	intermediates := x509.NewCertPool()
	for _, der := range c.chain {
		if certificate, err := x509.ParseCertificate(der); err == nil {
			intermediates.AddCert(certificate)
		}
	}
	_, err := c.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates})
	return err == nil
}

// Storage is the content of Traefik's acme.json. Its zero value is empty.
type Storage struct {
	resolvers    map[string]resolver
	certificates []Certificate
}

// Certificate is a certificate in acme.json, with its private key.
type Certificate struct {
	Leaf *x509.Certificate
	// chain holds the certificates of the issuers, in DER.
	chain [][]byte

	resolver string
	raw      json.RawMessage
}

// resolver is a part of acme.json. Fields that are not parsed are kept unchanged.
type resolver struct {
	Account      json.RawMessage
	Certificates []json.RawMessage
}

// account is the parsed part of an account with a certificate authority.
type account struct {
	Registration *struct {
		URI string `json:"uri"`
	}
	PrivateKey []byte
}

// Parse parses acme.json. All of it must have Traefik's format: each certificate must be readable
// and have its key.
func Parse(text []byte) (Storage, error) {
	storage := Storage{resolvers: map[string]resolver{}}
	if err := json.Unmarshal(text, &storage.resolvers); err != nil {
		return Storage{}, fmt.Errorf("it is not in the format of Traefik: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(storage.resolvers)) {
		for i, raw := range storage.resolvers[name].Certificates {
			var pair struct {
				Certificate []byte `json:"certificate"`
				Key         []byte `json:"key"`
			}
			if err := json.Unmarshal(raw, &pair); err != nil {
				return Storage{}, fmt.Errorf("its certificate %d of %s is not in the format of Traefik: %w", i+1, name, err)
			}
			read, err := tls.X509KeyPair(pair.Certificate, pair.Key)
			if err != nil {
				return Storage{}, fmt.Errorf("its certificate %d of %s is broken: %w", i+1, name, err)
			}
			storage.certificates = append(storage.certificates,
				Certificate{Leaf: read.Leaf, chain: read.Certificate[1:], resolver: name, raw: raw})
		}
	}
	return storage, nil
}

// ReadFile reads acme.json. A missing or empty file, as before Traefik's first request, has no
// certificates.
func ReadFile(path string) (Storage, error) {
	text, err := atomicfile.Read(path, sizeLimit)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(text) == 0 {
		return Storage{}, nil
	}
	if err != nil {
		return Storage{}, fmt.Errorf("cannot read the certificates: %w", err)
	}
	storage, err := Parse(text)
	if err != nil {
		return Storage{}, fmt.Errorf("cannot read the certificates: %s: %w", path, err)
	}
	return storage, nil
}

func (s Storage) Certificates() []Certificate { return s.certificates }

// For returns the certificate for a name that is valid longest; exists is false if there is none.
func (s Storage) For(name string) (longest Certificate, exists bool) {
	for _, certificate := range s.certificates {
		if certificate.Leaf.VerifyHostname(name) == nil &&
			(!exists || certificate.Leaf.NotAfter.After(longest.Leaf.NotAfter)) {
			longest, exists = certificate, true
		}
	}
	return longest, exists
}

// Accounts returns the URLs of the accounts with certificate authorities, sorted.
func (s Storage) Accounts() []string {
	var accounts []string
	for _, resolver := range s.resolvers {
		var owner account
		if json.Unmarshal(resolver.Account, &owner) == nil && owner.Registration != nil && owner.Registration.URI != "" {
			accounts = append(accounts, owner.Registration.URI)
		}
	}
	slices.Sort(accounts)
	return accounts
}

// Holds reports whether a certificate is in acme.json.
func (s Storage) Holds(leaf *x509.Certificate) bool {
	return slices.ContainsFunc(s.certificates,
		func(certificate Certificate) bool { return bytes.Equal(certificate.Leaf.Raw, leaf.Raw) })
}

// Missing returns the names without a certificate.
func (s Storage) Missing(names []string) []string {
	var missing []string
	for _, name := range names {
		if _, exists := s.For(name); !exists {
			missing = append(missing, name)
		}
	}
	return missing
}

// validate returns an error unless acme.json is worth a backup: it must have a certificate, and for each
// certificate the account that renews it.
func (s Storage) validate() error {
	if len(s.certificates) == 0 {
		return errors.New("it has no certificate")
	}
	for _, certificate := range s.certificates {
		var owner account
		if err := json.Unmarshal(s.resolvers[certificate.resolver].Account, &owner); err != nil {
			return fmt.Errorf("its account of %s is not in the format of Traefik: %w", certificate.resolver, err)
		}
		if owner.Registration == nil || owner.Registration.URI == "" || !isKey(owner.PrivateKey) {
			return fmt.Errorf("it has no account for %s, and certificates are unusable without the account that renews them",
				certificate.resolver)
		}
	}
	return nil
}

// isKey reports whether der is a private key, in the format of PKCS #1, SEC 1 or PKCS #8.
func isKey(der []byte) bool {
	_, err := x509.ParsePKCS1PrivateKey(der)
	if err != nil {
		_, err = x509.ParseECPrivateKey(der)
	}
	if err != nil {
		_, err = x509.ParsePKCS8PrivateKey(der)
	}
	return err == nil
}

// filter returns the storage without the certificates that keep rejects, and its text in the format of acme.json.
func (s Storage) filter(keep func(Certificate) bool) (kept Storage, text []byte, err error) {
	kept.resolvers = map[string]resolver{}
	for name, all := range s.resolvers {
		kept.resolvers[name] = resolver{Account: all.Account}
	}
	for _, certificate := range s.certificates {
		if !keep(certificate) {
			continue
		}
		kept.certificates = append(kept.certificates, certificate)
		entry := kept.resolvers[certificate.resolver]
		entry.Certificates = append(entry.Certificates, certificate.raw)
		kept.resolvers[certificate.resolver] = entry
	}
	// Indented, like Traefik's own file.
	text, err = json.MarshalIndent(kept.resolvers, "", "  ")
	if err != nil {
		return Storage{}, nil, fmt.Errorf("cannot write the certificates: %w", err)
	}
	return kept, text, nil
}

// Key returns the key, in the backup bucket, of Traefik's certificates and account for a certificate authority.
// directory is the URL of the authority's ACME directory, and ca its root certificates, in PEM. Certificates and
// accounts of one authority are useless with another, even if both have the same URL, as with a test authority
// that was recreated.
func Key(directory, ca string) string {
	sum := sha256.Sum256([]byte(directory + "\n" + ca))
	return "certificates/" + hex.EncodeToString(sum[:8]) + "/acme.json"
}

const (
	// sizeLimit exceeds the size of any acme.json, in bytes.
	sizeLimit = 1 << 20
	// requestTimeout bounds one request to the bucket, including its retries.
	requestTimeout = 15 * time.Second
)

// Store is the backup bucket. Its errors are those of package bucket.
type Store interface {
	// Read returns an object of at most limit bytes, and its ETag.
	Read(ctx context.Context, key, knownETag string, limit int64) (content []byte, etag string, err error)
	// Put writes an object: a reader gets either the old one or the new one.
	Put(ctx context.Context, key string, content []byte, contentType string) error
}

func fetch(ctx context.Context, store Store, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	content, _, err := store.Read(ctx, key, "", sizeLimit)
	return content, bucket.WithAdvice(err)
}
