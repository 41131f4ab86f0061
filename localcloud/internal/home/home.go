// Package home knows the layout of .localcloud, the one directory in which
// localcloud keeps everything it makes.
package home

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Variable is the environment variable that names another home than
// .localcloud in the project's root.
const Variable = "LOCALCLOUD_HOME"

// Home is an absolute path of a .localcloud directory.
type Home string

// FindRoot returns the project's root: the nearest directory, from dir
// upwards, with a Pulumi.yaml.
func FindRoot(dir string) (string, error) {
	start, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the project's root: %w", err)
	}
	for at := start; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "Pulumi.yaml")); err == nil {
			return at, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("find the project's root: %w", err)
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("no Pulumi.yaml in %s or above it: run localcloud in the project", start)
		}
	}
}

// Find returns the home of the project in root, or the one that
// LOCALCLOUD_HOME names. Of a link it is what the link leads to.
func Find(root string) (Home, error) {
	dir := filepath.Join(root, ".localcloud")
	if named := os.Getenv(Variable); named != "" {
		dir = named
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("%s: %w", Variable, err)
	}
	// A link to another checkout's home is that home: its containers are known by its path.
	switch target, err := os.Readlink(dir); {
	case err != nil:
		return Home(dir), nil // no link, or not made yet
	case filepath.IsAbs(target):
		return Home(filepath.Clean(target)), nil
	default:
		return Home(filepath.Join(filepath.Dir(dir), target)), nil
	}
}

func (h Home) String() string { return string(h) }

// Bin holds localcloud itself and the tools that it builds.
func (h Home) Bin() string { return filepath.Join(string(h), "bin") }

// Programs holds the executables of Pulumi programs, one for each checkout that
// was deployed from.
func (h Home) Programs() string { return filepath.Join(string(h), "programs") }

// Cache holds root file systems and what was learnt about this machine; it
// survives `down`.
func (h Home) Cache() string { return filepath.Join(string(h), "cache") }

// Pulumi is PULUMI_HOME.
func (h Home) Pulumi() string { return filepath.Join(string(h), "pulumi") }

// Cloud holds what localcloud knows of its own resources.
func (h Home) Cloud() string { return filepath.Join(string(h), "cloud") }

// AWSFile keeps what AWS's control plane would know.
func (h Home) AWSFile() string { return filepath.Join(h.Cloud(), "aws.json") }

// TLS holds the certificate authority and the servers' certificates.
func (h Home) TLS() string { return filepath.Join(string(h), "tls") }

// AuthorityFile has the certificates of the authorities that the local cloud's
// certificates are from, the site's included.
func (h Home) AuthorityFile() string { return filepath.Join(h.TLS(), "acme.pem") }

// SSH holds the key of the local stack's admin user.
func (h Home) SSH() string { return filepath.Join(string(h), "ssh") }

// S3 holds the S3 server's data.
func (h Home) S3() string { return filepath.Join(string(h), "s3") }

// Engine is the data root of localcloud's own Docker engine.
func (h Home) Engine() string { return filepath.Join(string(h), "docker") }

// Run holds the own engine's pid file and log.
func (h Home) Run() string { return filepath.Join(string(h), "run") }

// Executable is localcloud itself.
func (h Home) Executable() string { return filepath.Join(h.Bin(), "localcloud") }

// Make creates the home's directories; those with secrets are closed to
// others.
func (h Home) Make() error {
	modes := map[string]fs.FileMode{
		h.Bin(): 0o755, h.Cache(): 0o755, h.Pulumi(): 0o700,
		h.Cloud(): 0o700, h.TLS(): 0o700, h.SSH(): 0o700, h.S3(): 0o700, h.Run(): 0o700,
	}
	for dir, mode := range modes {
		if err := os.MkdirAll(dir, mode); err != nil {
			return fmt.Errorf("make localcloud's home: %w", err)
		}
	}
	return nil
}
