// Package offline installs the third-party programs that localcloud needs: Pulumi's CLI with its language host and
// plugins, the S3 server, the ACME server and Traefik. A program is downloaded if pins.txt has its checksum and the
// network is available. Otherwise it is built from its Go module, or a package below this directory stands in for it.
package offline

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"immutable-infra/localcloud/internal/state"
)

// Variable is the environment variable that disables downloads if it is not empty.
const Variable = "LOCALCLOUD_OFFLINE"

// serverTimeout limits the TCP connect, the TLS handshake and the wait for the response headers, each by itself.
const serverTimeout = 3 * time.Second

// ErrOffline is wrapped by all errors about an unavailable download, so that the caller can use an alternative. The
// error for a wrong checksum does not wrap it.
var ErrOffline = errors.New("not downloaded")

//go:embed pins.txt
var pinned string

// Network downloads pinned archives.
type Network struct {
	client *http.Client
	pins   map[string]string

	mu          sync.Mutex
	unreachable map[string]error // by host, until this process ends
}

// NewNetwork returns a network with the pins of pins.txt, or without pins if Variable is set.
func NewNetwork() *Network {
	if os.Getenv(Variable) != "" {
		return newNetwork("")
	}
	return newNetwork(pinned)
}

func newNetwork(pins string) *Network {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = (&net.Dialer{Timeout: serverTimeout}).DialContext
	transport.TLSHandshakeTimeout, transport.ResponseHeaderTimeout = serverTimeout, serverTimeout
	n := &Network{client: &http.Client{Transport: transport}, pins: map[string]string{}, unreachable: map[string]error{}}
	for line := range strings.Lines(pins) {
		if fields := strings.Fields(line); len(fields) == 2 && !strings.HasPrefix(line, "#") {
			n.pins[fields[1]] = fields[0]
		}
	}
	return n
}

// Pin returns the required checksum for a URL, or the required digest for an image name; "" means that it must not be
// downloaded.
func (n *Network) Pin(name string) string { return n.pins[name] }

// Fetch downloads a gzipped tar archive, verifies its checksum and extracts executables. targets maps the base name of
// each file, in any directory of the archive, to its destination. Nothing is written before the whole archive is
// verified. The error wraps ErrOffline if the archive is unavailable.
func (n *Network) Fetch(ctx context.Context, address string, targets map[string]string) error {
	sum := n.Pin(address)
	if sum == "" {
		return fmt.Errorf("%w: %s is not pinned", ErrOffline, address)
	}
	archive, err := os.CreateTemp("", "localcloud-download-*")
	if err != nil {
		return err
	}
	defer os.Remove(archive.Name())
	defer archive.Close()
	if err := n.download(ctx, address, sum, archive); err != nil {
		return err
	}
	if _, err := archive.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := unpack(archive, targets); err != nil {
		return fmt.Errorf("unpack %s: %w", address, err)
	}
	return nil
}

func (n *Network) download(ctx context.Context, address, sum string, destination io.Writer) error {
	parsed, err := url.Parse(address)
	if err != nil {
		return err
	}
	n.mu.Lock()
	err = n.unreachable[parsed.Host]
	n.mu.Unlock()
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := n.client.Do(request)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrOffline, err)
		n.mu.Lock()
		n.unreachable[parsed.Host] = err
		n.mu.Unlock()
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %s: %s", ErrOffline, address, response.Status)
	}
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(destination, hash), response.Body); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrOffline, address, err)
	}
	if actual := hex.EncodeToString(hash.Sum(nil)); actual != sum {
		return fmt.Errorf("%s has the SHA-256 %s instead of %s; set %s=1 to disable downloads",
			address, actual, sum, Variable)
	}
	return nil
}

func unpack(archive io.Reader, targets map[string]string) error {
	decompressed, err := gzip.NewReader(bufio.NewReader(archive))
	if err != nil {
		return err
	}
	missing := len(targets)
	for entries := tar.NewReader(decompressed); missing > 0; {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%d of the files %v are missing from the archive", missing, targets)
		}
		if err != nil {
			return err
		}
		target, wanted := targets[path.Base(header.Name)]
		if !wanted || header.Typeflag != tar.TypeReg {
			continue
		}
		if err := writeProgram(target, entries); err != nil {
			return err
		}
		missing--
	}
	return nil
}

// writeProgram writes an executable atomically. It replaces a file or a link at target.
func writeProgram(target string, content io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	return state.WriteFrom(target, content, 0o755)
}
