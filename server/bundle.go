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

// BundleUploadPath is where the bundle is put on a server, relative to the
// bootstrap user's home directory.
const BundleUploadPath = "bundle.tar.gz"

// reportGrace is how long after its time a command may still report what went wrong. What has not
// ended then is ended.
const reportGrace = 20 * time.Second

// The commands run by bounded, which is the first thing that the server takes from the bundle: see
// files/bounded. The seconds are its arguments, and what is left of them that of the work.
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

// ProvisionCommand unpacks the bundle on a server and sets the server up until it
// is ready. A server that is not ready in time makes it fail and report why,
// which takes up to about 20 seconds more. The time is passed on in whole seconds.
//
// A command that an earlier update began, and that is still at work, is waited for. It never runs
// past its time, whatever becomes of the caller.
//
// The command is part of what a bundle's hash names; the time is not, so that
// another time makes no new server.
func ProvisionCommand(within time.Duration) string {
	return fmt.Sprintf(provisionCommand, seconds(within), seconds(reportGrace))
}

// HandoverCommand announces a server that is ready to the one before it, and
// waits for that one to hand over. A server that does not answer within wait
// does not make it fail. The login by which this is done is removed by the
// server itself, when the VIP has arrived there.
//
// An earlier command is waited for and its time limited as ProvisionCommand's, by within.
func HandoverCommand(wait, within time.Duration) string {
	return fmt.Sprintf(handoverCommand, seconds(within), 0, seconds(wait))
}

func seconds(duration time.Duration) int { return int(duration.Seconds()) }

//go:embed files
var files embed.FS

// formats is the source of the packages of this module that the agent imports.
//
//go:embed manifest rules atomicfile
var formats embed.FS

// Bundle is what is shipped to a server: the compose project, the agent with
// its units, and the script that sets them up.
type Bundle struct {
	// Path is the archive, a gzipped tar.
	Path string
	// Hash names what the archive was made of. Unlike a hash of the archive, it
	// does not depend on the Go release that built the agent.
	Hash string
}

// BuildBundle builds the agent in agentDir for an architecture ("amd64" or
// "arm64", with linux) and writes the bundle below workDir. What was built
// already is used again.
func BuildBundle(ctx context.Context, agentDir, workDir, architecture string) (Bundle, error) {
	hash, err := bundleHash(agentDir, architecture)
	if err != nil {
		return Bundle{}, fmt.Errorf("server bundle: %w", err)
	}
	bundle := Bundle{Path: filepath.Join(workDir, "bundle-"+hash[:16]+".tar.gz"), Hash: hash}
	if _, err := os.Stat(bundle.Path); err == nil {
		return bundle, nil
	}
	if err := os.MkdirAll(workDir, 0o755); err != nil {
		return Bundle{}, fmt.Errorf("server bundle: %w", err)
	}
	agent, err := buildAgent(ctx, agentDir, workDir, architecture)
	if err != nil {
		return Bundle{}, fmt.Errorf("server bundle: %w", err)
	}
	if err := writeBundle(bundle.Path, agent); err != nil {
		return Bundle{}, fmt.Errorf("server bundle: %w", err)
	}
	return bundle, nil
}

// bundleHash is over the agent's source, that of the formats it shares with this module, the
// embedded files and the command that sets them up.
func bundleHash(agentDir, architecture string) (string, error) {
	agent, err := HashDir(agentDir, func(path string) bool { return strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".md") })
	if err != nil {
		return "", fmt.Errorf("hash the agent's source: %w", err)
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

// HashDir is a hash over the names and contents of the files below a directory,
// without those whose path (with slashes, relative to it) is ignored. It is the
// "h1:" hash of Go's module system.
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

// buildAgent builds the static binary, the same bytes wherever it is built with
// the same Go release.
func buildAgent(ctx context.Context, agentDir, workDir, architecture string) (path string, err error) {
	path, err = filepath.Abs(filepath.Join(workDir, "agent-linux-"+architecture))
	if err != nil {
		return "", err
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", path, ".")
	build.Dir = agentDir
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+architecture)
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the agent in %s: %w\n%s", agentDir, err, output)
	}
	return path, nil
}

// writeBundle packs the embedded files and the agent. The archive appears whole or not at all.
func writeBundle(path, agent string) error {
	var target bytes.Buffer
	compressed := gzip.NewWriter(&target)
	archive := tar.NewWriter(compressed)

	add := func(name string, content []byte, mode int64) error {
		if err := archive.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
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
	// The work directory may be a link.
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, filepath.Base(path)), target.Bytes(), 0o644)
}
