package main

import (
	"cmp"
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

// acmeCAPath is the file of the certificates by which the ACME certificate authority
// is trusted besides those that every system trusts.
const acmeCAPath = "/etc/immutable-infra/acme-ca.pem"

// siteCertificates is the flags by which a verb finds the certificates, here and in
// the backup bucket.
type siteCertificates struct{ names, directory, ca, traefik *string }

func certificateFlags(flags *flag.FlagSet) siteCertificates {
	return siteCertificates{
		names:     flags.String("names", "", "the site's `names`, separated by commas (default: SITE_NAMES of --env-file)"),
		directory: flags.String("acme-directory", "", "`URL` of the ACME certificate authority's directory (default: ACME_DIRECTORY of --env-file)"),
		ca:        flags.String("acme-ca", acmeCAPath, "`file` with the certificates by which that authority is trusted"),
		traefik:   traefikFlag(flags),
	}
}

func traefikFlag(flags *flag.FlagSet) *string {
	return flags.String("traefik", "/srv/traefik", "`directory` of Traefik's state and certificates")
}

func projectFlag(flags *flag.FlagSet) *string {
	return flags.String("project", "/opt/site", "`directory` of the compose project")
}

// complete fills in what the flags leave to the server's environment.
func (c siteCertificates) complete(flags *flag.FlagSet, environment map[string]string) error {
	*c.names = cmp.Or(*c.names, environment["SITE_NAMES"])
	*c.directory = cmp.Or(*c.directory, environment["ACME_DIRECTORY"])
	switch {
	case *c.names == "":
		return fmt.Errorf("%w: %s: --names is missing, and the server's environment has no SITE_NAMES: give the site's names, separated by commas", errUsage, flags.Name())
	case *c.directory == "":
		return fmt.Errorf("%w: %s: --acme-directory is missing, and the server's environment has no ACME_DIRECTORY: give the URL of the certificate authority's directory", errUsage, flags.Name())
	}
	return nil
}

// list is the site's names.
func (c siteCertificates) list() []string { return strings.Split(*c.names, ",") }

// file is the path of acme.json, and record that of the restore's record.
func (c siteCertificates) file() string   { return acmeFile(*c.traefik) }
func (c siteCertificates) record() string { return restoreRecord(*c.traefik) }

// acmeFile is acme.json, below Traefik's directory.
func acmeFile(dir string) string { return filepath.Join(dir, "acme", "acme.json") }

// restoreRecord is what was restored, below Traefik's directory.
func restoreRecord(dir string) string { return filepath.Join(dir, "restored.json") }

// key is the key of the certificates in the backup bucket.
func (c siteCertificates) key() (string, error) {
	ca, err := os.ReadFile(*c.ca)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("find out how the certificate authority is trusted: %w", err)
	}
	return certificates.Key(*c.directory, string(ca)), nil
}

// roots are those that vouch for the site's certificates, where it is known which do: browsers trust
// what this authority issues. nil is that it is not known.
func (c siteCertificates) roots() *x509.CertPool {
	if *c.directory != "https://acme-v02.api.letsencrypt.org/directory" {
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
	return certificates.Restore{Store: store, Key: key, Names: c.list(), Roots: c.roots(), File: c.file(), Record: c.record()}, err
}

// data is the certificates as a handover sees them.
func (c siteCertificates) data(store certificates.Store, project string, out io.Writer, log *slog.Logger) (certificates.Data, error) {
	saving, err := c.backup(store, log)
	if err != nil {
		return certificates.Data{}, err
	}
	restoring, err := c.restore(store)
	return certificates.Data{Backup: saving, Restoring: restoring, Restart: traefikService(project).Restart, Out: out}, err
}

// traefikService is Traefik in the compose project.
func traefikService(project string) compose.Service {
	return compose.Service{Project: project, Name: "traefik"}
}

// Missing implements handover.Certificates.
func (c siteCertificates) Missing() ([]string, error) {
	storage, err := certificates.ReadFile(c.file())
	if err != nil {
		return nil, err
	}
	return storage.Missing(c.list()), nil
}

// exists tells whether a file is there.
func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for a flag file: %w", err)
	}
	return true, nil
}
