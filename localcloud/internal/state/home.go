// Package state knows the layout of .localcloud, the one directory in which
// localcloud keeps everything it makes.
package state

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

// FindRoot returns the project's root: the nearest directory, from dir upwards, with a Pulumi.yaml.
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
	target, err := os.Readlink(dir)
	if err != nil {
		return Home(dir), nil // no link, or not made yet
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join(filepath.Dir(dir), target)
	}
	return Home(filepath.Clean(target)), nil
}

func (h Home) String() string { return string(h) }

func (h Home) path(name string) string { return filepath.Join(string(h), name) }

// Bin holds localcloud itself and its tools; Cache holds root file systems and downloads. Both survive `down`.
func (h Home) Bin() string   { return h.path("bin") }
func (h Home) Cache() string { return h.path("cache") }

// Programs holds the executables of Pulumi programs, one for each checkout that was deployed from.
func (h Home) Programs() string { return h.path("programs") }

// Pulumi is PULUMI_HOME.
func (h Home) Pulumi() string { return h.path("pulumi") }

// Cloud holds what localcloud knows of its own resources, AWSFile what AWS's control plane would know.
func (h Home) Cloud() string   { return h.path("cloud") }
func (h Home) AWSFile() string { return h.path("cloud/aws.json") }

// TLS holds the certificate authority and the servers' certificates. AuthorityFile has the
// authorities that the local cloud's certificates are from, the site's included.
func (h Home) TLS() string           { return h.path("tls") }
func (h Home) AuthorityFile() string { return h.path("tls/acme.pem") }

// SSH holds the key of the local stack's admin user, S3 the S3 server's data.
func (h Home) SSH() string { return h.path("ssh") }
func (h Home) S3() string  { return h.path("s3") }

// Engine is the data root of localcloud's own Docker engine, Run holds its pid file and log.
func (h Home) Engine() string { return h.path("docker") }
func (h Home) Run() string    { return h.path("run") }

// Executable is localcloud itself.
func (h Home) Executable() string { return h.path("bin/localcloud") }

// Make creates the home's directories; those with secrets are closed to others.
func (h Home) Make() error {
	for dir, mode := range map[string]fs.FileMode{
		h.Bin(): 0o755, h.Cache(): 0o755, h.Pulumi(): 0o700,
		h.Cloud(): 0o700, h.TLS(): 0o700, h.SSH(): 0o700, h.S3(): 0o700, h.Run(): 0o700,
	} {
		if err := os.MkdirAll(dir, mode); err != nil {
			return fmt.Errorf("make localcloud's home: %w", err)
		}
	}
	return nil
}
