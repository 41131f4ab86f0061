package server

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/dirhash"

	"immutable-infra/server/atomicfile"
)

// BundleUploadPath is the path to which the bundle is copied, relative to the bootstrap user's home directory.
const BundleUploadPath = "bundle.tar.gz"

// reportGrace is how long a command may take to report its error after its timeout, before it is killed.
const reportGrace = 20 * time.Second

// The commands run under the script bounded, which the server unpacks first: see files/bounded. Its arguments are the
// timeout and the grace period in seconds; it passes the remaining seconds on to the work.
const (
	provisionCommand = `set -e
sudo install -d -m 0755 /opt/site
sudo tar -xzf ` + BundleUploadPath + ` -C /opt/site --no-same-owner bounded
sudo /opt/site/bounded provision %d %d '
tar -xzf ` + BundleUploadPath + ` -C /opt/site --no-same-owner
/opt/site/provision "$1"
'
`
	handoverCommand = `sudo /opt/site/bounded handover %d %d 'agent handover --wait %ds'
`
)

// ProvisionCommand unpacks the bundle on a server and provisions the server until it is ready. If the server is not
// ready within the timeout, which is truncated to seconds, the command reports why, within about 20 s more, and
// fails.
//
// If a command of an earlier update is still running, the command waits for it. Neither outlives its timeout, whatever
// happens to the caller.
//
// A bundle's hash covers the command, but not the timeout: another timeout does not replace the server.
func ProvisionCommand(within time.Duration) string {
	return fmt.Sprintf(provisionCommand, seconds(within), seconds(reportGrace))
}

// HandoverCommand requests the handover from the active server, and waits for it. It does not fail if the active server
// does not respond within wait. When the new server becomes active, it removes the login that runs this command.
//
// Like ProvisionCommand, it waits for an earlier command, and runs no longer than within.
func HandoverCommand(wait, within time.Duration) string {
	return fmt.Sprintf(handoverCommand, seconds(within), 0, seconds(wait))
}

func seconds(duration time.Duration) int { return int(duration.Seconds()) }

//go:embed files
var files embed.FS

// formats is the source of the packages of this module that the agent imports.
//
//go:embed manifest report rules atomicfile
var formats embed.FS

// Bundle is the archive that is copied to a server: the Compose project, the agent with its units, and the script that
// provisions them.
type Bundle struct {
	// Path is the path of the archive, a gzipped tar.
	Path string
	// Hash identifies the sources of the archive. Unlike a hash of the archive itself, it does not depend on the Go
	// release that built the agent.
	Hash string
}

// BuildBundle builds the agent in agentDir for Linux and an architecture ("amd64" or "arm64"), and writes the bundle
// to workDir. It reuses an existing bundle of the same sources.
func BuildBundle(ctx context.Context, agentDir, workDir, architecture string) (Bundle, error) {
	hash, err := bundleHash(agentDir, architecture)
	if err != nil {
		return Bundle{}, fmt.Errorf("cannot build the server bundle: %w", err)
	}
	bundle := Bundle{Path: filepath.Join(workDir, "bundle-"+hash[:16]+".tar.gz"), Hash: hash}
	if _, err := os.Stat(bundle.Path); err == nil {
		return bundle, nil
	}
	if err := os.MkdirAll(workDir, 0o755); err != nil {
		return Bundle{}, fmt.Errorf("cannot build the server bundle: %w", err)
	}
	agent, err := buildAgent(ctx, agentDir, workDir, architecture)
	if err != nil {
		return Bundle{}, fmt.Errorf("cannot build the server bundle: %w", err)
	}
	if err := writeBundle(bundle.Path, agent); err != nil {
		return Bundle{}, fmt.Errorf("cannot build the server bundle: %w", err)
	}
	return bundle, nil
}

// bundleHash covers the agent's source, formats, the embedded files, and the commands.
func bundleHash(agentDir, architecture string) (string, error) {
	agent, err := HashDir(agentDir,
		func(path string) bool { return strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".md") })
	if err != nil {
		return "", fmt.Errorf("cannot hash the agent's source: %w", err)
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n%s\n%s\n%s\n", architecture, agent, provisionCommand, handoverCommand)
	for _, embedded := range []embed.FS{files, formats} {
		err = fs.WalkDir(embedded, ".", func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "/testdata/") {
				return err
			}
			content, err := embedded.ReadFile(path)
			fmt.Fprintf(sum, "%s %d\n%s", path, len(content), content)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// HashDir hashes the names and contents of the files below a directory, except those whose slash-separated relative
// path is ignored. It returns the "h1:" hash of Go's module system.
func HashDir(dir string, ignored func(path string) bool) (string, error) {
	all, err := dirhash.DirFiles(dir, "")
	if err != nil {
		return "", err
	}
	var kept []string
	for _, path := range all {
		if path = filepath.ToSlash(path); !ignored(path) {
			kept = append(kept, path)
		}
	}
	if len(kept) == 0 {
		return "", fmt.Errorf("there are no files in %s", dir)
	}
	return dirhash.Hash1(kept, func(path string) (io.ReadCloser, error) {
		return os.Open(filepath.Join(dir, filepath.FromSlash(path)))
	})
}

// buildAgent builds the static binary, reproducibly for a given Go release.
func buildAgent(ctx context.Context, agentDir, workDir, architecture string) (path string, err error) {
	path, err = filepath.Abs(filepath.Join(workDir, "agent-linux-"+architecture))
	if err != nil {
		return "", err
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o",
		path, ".")
	build.Dir = agentDir
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+architecture)
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build the agent in %s: %w\n%s", agentDir, err, output)
	}
	return path, nil
}

// writeBundle packs the embedded files and the agent, atomically.
func writeBundle(path, agent string) error {
	var target bytes.Buffer
	compressed := gzip.NewWriter(&target)
	archive := tar.NewWriter(compressed)

	add := func(name string, content []byte, mode int64) error {
		if err := archive.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content)),
			Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		_, err := archive.Write(content)
		return err
	}
	err := fs.WalkDir(files, "files", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := files.ReadFile(path)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, "files/")
		mode := int64(0o644)
		if name == "provision" || name == "bounded" {
			mode = 0o755
		}
		return add(name, content, mode)
	})
	if err != nil {
		return err
	}
	binary, err := os.ReadFile(agent)
	if err != nil {
		return err
	}
	if err := add("agent", binary, 0o755); err != nil {
		return err
	}
	if err := errors.Join(archive.Close(), compressed.Close()); err != nil {
		return err
	}
	// The work directory may be a symlink, which atomicfile rejects.
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, filepath.Base(path)), target.Bytes(), 0o644)
}
