package main

import (
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"immutable-infra/agent/internal/certificates"
	"immutable-infra/agent/internal/compose"
)

// acmeCAPath is the file with the root certificates to trust for the ACME certificate authority, in addition to
// the system's roots.
const acmeCAPath = "/etc/immutable-infra/acme-ca.pem"

// siteCertificates are the site's certificates, on this server and in the backup bucket.
type siteCertificates struct {
	// ca and traefik are flags.
	ca, traefik *string
	names       []string
	// directory is the URL of the ACME directory.
	directory string
}

func certificateFlags(flags *flag.FlagSet) siteCertificates {
	return siteCertificates{
		ca: flags.String("acme-ca", acmeCAPath,
			"`file` with root certificates to trust for the ACME certificate authority"),
		traefik: flags.String("traefik", "/srv/traefik", "`directory` of Traefik's state and certificates"),
	}
}

func (c *siteCertificates) load(s *settings) {
	c.names, c.directory = strings.Split(s.required("SITE_NAMES"), ","), s.required("ACME_DIRECTORY")
}

// file returns the path of acme.json, and record that of the result of the last restore.
func (c siteCertificates) file() string   { return filepath.Join(*c.traefik, "acme", "acme.json") }
func (c siteCertificates) record() string { return filepath.Join(*c.traefik, "restored.json") }

// stateFile returns the path of Traefik's configuration for its state.
func (c siteCertificates) stateFile() string {
	return filepath.Join(*c.traefik, "dynamic", "state.yaml")
}

// key returns the key of the certificates in the backup bucket.
func (c siteCertificates) key() (string, error) {
	ca, err := os.ReadFile(*c.ca)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("cannot read the roots of the certificate authority: %w", err)
	}
	return certificates.Key(c.directory, string(ca)), nil
}

// roots returns the roots that the site's certificates must chain to, or nil if they are unknown: for an authority
// other than Let's Encrypt, or without system roots.
func (c siteCertificates) roots() *x509.CertPool {
	if c.directory != "https://acme-v02.api.letsencrypt.org/directory" {
		return nil
	}
	roots, err := x509.SystemCertPool()
	if err != nil || roots.Equal(x509.NewCertPool()) {
		return nil
	}
	return roots
}

func (c siteCertificates) backup(store certificates.Store, log *slog.Logger) (certificates.Backup, error) {
	key, err := c.key()
	return certificates.Backup{Store: store, Key: key, File: c.file(), Log: log}, err
}

func (c siteCertificates) restore(store certificates.Store) (certificates.Restore, error) {
	key, err := c.key()
	return certificates.Restore{
		Store: store, Key: key, Names: c.names, Roots: c.roots(), File: c.file(), Record: c.record(),
	}, err
}

// data returns the certificates as a handover.Data.
func (c siteCertificates) data(
	store certificates.Store, project string, out io.Writer, log *slog.Logger,
) (certificates.Data, error) {
	backup, err := c.backup(store, log)
	if err != nil {
		return certificates.Data{}, err
	}
	restore, err := c.restore(store)
	return certificates.Data{Backup: backup, Restoring: restore, Restart: traefikService(project).Restart, Out: out}, err
}

func traefikService(project string) compose.Service {
	return compose.Service{Project: project, Name: "traefik"}
}

func (c siteCertificates) Missing() ([]string, error) {
	storage, err := certificates.ReadFile(c.file())
	if err != nil {
		return nil, err
	}
	return storage.Missing(c.names), nil
}
