// Package state defines the layout of .localcloud, the directory in which localcloud keeps its files.
package state

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Variable is the environment variable for the home. Default: .localcloud in the project's root.
const Variable = "LOCALCLOUD_HOME"

// Home is the absolute path of a .localcloud directory.
type Home string

// FindRoot returns the project's root: the nearest directory with a Pulumi.yaml, from dir upwards.
func FindRoot(dir string) (string, error) {
	start, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("cannot find the project's root: %w", err)
	}
	for at := start; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "Pulumi.yaml")); err == nil {
			return at, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("cannot find the project's root: %w", err)
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("no Pulumi.yaml in %s or above it: run localcloud in the project", start)
		}
	}
}

// Find returns the home of the project in root, or the home in LOCALCLOUD_HOME. It resolves a symbolic link.
func Find(root string) (Home, error) {
	dir, err := filepath.Abs(cmp.Or(os.Getenv(Variable), filepath.Join(root, ".localcloud")))
	if err != nil {
		return "", fmt.Errorf("%s: %w", Variable, err)
	}
	// A link to another checkout's home means that home: its containers are labeled with its path.
	target, err := os.Readlink(dir)
	if err != nil {
		return Home(dir), nil // not a link, or not created yet
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join(filepath.Dir(dir), target)
	}
	return Home(filepath.Clean(target)), nil
}

func (h Home) String() string { return string(h) }

func (h Home) path(name string) string { return filepath.Join(string(h), name) }

// Bin holds localcloud and its tools, Cache holds root file systems and downloads. Both survive `down`.
func (h Home) Bin() string   { return h.path("bin") }
func (h Home) Cache() string { return h.path("cache") }

// Programs holds the executables of the Pulumi programs, one per checkout.
func (h Home) Programs() string { return h.path("programs") }

// Pulumi is PULUMI_HOME.
func (h Home) Pulumi() string { return h.path("pulumi") }

// Cloud holds the state of localcloud's data plane, AWSFile that of its control plane.
func (h Home) Cloud() string   { return h.path("cloud") }
func (h Home) AWSFile() string { return h.path("cloud/aws.json") }

// TLS holds the certificate authority and the servers' certificates. AuthorityFile is the bundle of all
// authorities that issue certificates in the local cloud, including the site's.
func (h Home) TLS() string           { return h.path("tls") }
func (h Home) AuthorityFile() string { return h.path("tls/acme.pem") }

// SSH holds the key of the local stack's admin user, S3 the S3 server's data.
func (h Home) SSH() string { return h.path("ssh") }
func (h Home) S3() string  { return h.path("s3") }

// Engine is the data root of localcloud's own Docker engine, Run holds its pid file and log.
func (h Home) Engine() string { return h.path("docker") }
func (h Home) Run() string    { return h.path("run") }

// Executable is localcloud's executable.
func (h Home) Executable() string { return h.path("bin/localcloud") }

// Make creates the home's directories. Only the owner can access directories with secrets.
func (h Home) Make() error {
	for dir, mode := range map[string]fs.FileMode{
		h.Bin(): 0o755, h.Cache(): 0o755, h.Pulumi(): 0o700,
		h.Cloud(): 0o700, h.TLS(): 0o700, h.SSH(): 0o700, h.S3(): 0o700, h.Run(): 0o700,
	} {
		if err := os.MkdirAll(dir, mode); err != nil {
			return fmt.Errorf("cannot create localcloud's home: %w", err)
		}
	}
	return nil
}
