package offline

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/run"
)

// publisher is an HTTP transport that serves the release archives of the real tools, for any host.
type publisher struct {
	server   *httptest.Server
	archives map[string][]byte // by URL
	requests atomic.Int32
}

func (p *publisher) RoundTrip(r *http.Request) (*http.Response, error) {
	p.requests.Add(1)
	forwarded, err := http.NewRequestWithContext(r.Context(), r.Method, p.server.URL+"/?"+url.QueryEscape(r.URL.String()),
		nil)
	if err != nil {
		return nil, err
	}
	return http.DefaultTransport.RoundTrip(forwarded)
}

// newPublisher returns a publisher that has, for each URL, an archive with the given programs in a directory.
func newPublisher(t *testing.T, releases map[string][]string) *publisher {
	t.Helper()
	p := &publisher{archives: map[string][]byte{}}
	for address, programs := range releases {
		var buffer bytes.Buffer
		compressed := gzip.NewWriter(&buffer)
		archive := tar.NewWriter(compressed)
		require.NoError(t, archive.WriteHeader(&tar.Header{Name: programs[0] + "/", Typeflag: tar.TypeDir, Mode: 0o755}))
		for _, name := range append(programs, "README.md") {
			content := "#!/bin/sh\n# the real " + name + "\n"
			require.NoError(t,
				archive.WriteHeader(&tar.Header{Name: programs[0] + "/" + name, Mode: 0o644, Size: int64(len(content))}))
			_, err := archive.Write([]byte(content))
			require.NoError(t, err)
		}
		require.NoError(t, archive.Close())
		require.NoError(t, compressed.Close())
		p.archives[address] = buffer.Bytes()
	}
	p.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		address, err := url.QueryUnescape(r.URL.RawQuery)
		content, found := p.archives[address]
		if err != nil || !found {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(content) // the client reports the error
	}))
	t.Cleanup(p.server.Close)
	return p
}

// pins returns the contents of a pins.txt with the correct checksums of all archives.
func (p *publisher) pins() string {
	var text strings.Builder
	for address, content := range p.archives {
		sum := sha256.Sum256(content)
		text.WriteString(hex.EncodeToString(sum[:]) + "  " + address + "\n")
	}
	return text.String()
}

// newOnlineTools returns Tools and a publisher that has the programs of all tools.
func newOnlineTools(t *testing.T, runner run.Runner) (Tools, *publisher) {
	t.Helper()
	tools := newToolsWithModules(t, runner)
	t.Setenv("PATH", os.Getenv("PATH")+":") // without a pulumi of the user's own
	version := func(module string) string {
		version, err := tools.version(module, "tools")
		require.NoError(t, err)
		return version
	}
	s3, acme, suffix := version("github.com/versity/versitygw"), version("github.com/letsencrypt/pebble/v2"),
		"linux-"+runtime.GOARCH+".tar.gz"
	p := newPublisher(t, map[string][]string{
		"https://get.pulumi.com/releases/sdk/pulumi-v3.250.0-linux-" + arch("x64") +
			".tar.gz": {"pulumi", "pulumi-language-go", "pulumi-language-python"},
		"https://get.pulumi.com/releases/plugins/pulumi-resource-tls-v5.2.0-" + suffix:     {"pulumi-resource-tls"},
		"https://get.pulumi.com/releases/plugins/pulumi-resource-command-v1.2.1-" + suffix: {"pulumi-resource-command"},
		"https://github.com/versity/versitygw/releases/download/" + s3 + "/versitygw_" + s3 + "_Linux_" + arch("x86_64") +
			".tar.gz": {"versitygw"},
		"https://github.com/letsencrypt/pebble/releases/download/" + acme + "/pebble-" + suffix: {"pebble"},
		"https://github.com/traefik/traefik/releases/download/v3.7.13/traefik_v3.7.13_linux_" + runtime.GOARCH +
			".tar.gz": {"traefik"},
	})
	tools.Network = newNetwork(p.pins())
	tools.Network.client.Transport = p
	return tools, p
}

func TestPinnedToolsAreDownloadedOnceInsteadOfBuilt(t *testing.T) {
	runner := &fakeRunner{}
	tools, p := newOnlineTools(t, runner)
	t.Setenv("PATH", "")
	for range 2 {
		require.NoError(t, tools.Pulumi(t.Context()))
		require.NoError(t, tools.S3(t.Context()))
		require.NoError(t, tools.ACME(t.Context()))
		require.NoError(t, tools.Traefik(t.Context()))
		require.NoError(t, tools.Plugins(t.Context()))
		for _, path := range []string{
			"bin/pulumi", "bin/pulumi-language-go", "bin/versitygw", "bin/pebble", "bin/traefik",
			"pulumi/plugins/resource-tls-v5.2.0/pulumi-resource-tls",
			"pulumi/plugins/resource-command-v1.2.1/pulumi-resource-command",
		} {
			path = filepath.Join(tools.Home.String(), path)
			content, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, "#!/bin/sh\n# the real "+filepath.Base(path)+"\n", string(content))
			require.True(t, isExecutable(path), path)
		}
		require.EqualValues(t, len(p.archives), p.requests.Load(), "each archive is downloaded once")
		// Like `make down`, which keeps bin and the cache.
		require.NoError(t, os.RemoveAll(tools.Home.Pulumi()))
	}
	require.Zero(t, runner.builds)
	require.NoFileExists(t, filepath.Join(tools.Home.Bin(), "pulumi-language-python"))
}

func TestArchiveWithWrongChecksumIsRejected(t *testing.T) {
	runner := &fakeRunner{}
	tools, p := newOnlineTools(t, runner)
	for address := range p.archives {
		p.archives[address] = append(p.archives[address], 0)
	}
	require.ErrorContains(t, tools.S3(t.Context()), "has the SHA-256 ")
	require.ErrorContains(t, tools.Plugins(t.Context()), "install plugin tls v5.2.0: https://get.pulumi.com/")
	require.NoFileExists(t, filepath.Join(tools.Home.Bin(), "versitygw"))
	require.NoDirExists(t, filepath.Join(tools.Home.Cache(), "plugins"))
	require.Zero(t, runner.builds, "a tampered download must not silently fall back to a build")
}

func TestUnpinnedToolsAreNotDownloaded(t *testing.T) {
	runner := &fakeRunner{}
	tools, p := newOnlineTools(t, runner)
	tools.Network = newNetwork("# a comment\n")
	tools.Network.client.Transport = p
	require.NoError(t, tools.S3(t.Context()))
	require.NoError(t, tools.Plugins(t.Context()))
	require.Zero(t, p.requests.Load())
	require.Equal(t, 1, runner.builds)
}

func TestToolIsBuiltWhenReleaseIsMissing(t *testing.T) {
	runner := &fakeRunner{}
	tools, p := newOnlineTools(t, runner)
	p.archives = nil
	require.NoError(t, tools.ACME(t.Context()))
	require.Equal(t, 1, runner.builds)
	require.EqualValues(t, 1, p.requests.Load())
}

func TestUnreachableServerIsTriedOnceForAllTools(t *testing.T) {
	runner := &fakeRunner{}
	tools, p := newOnlineTools(t, runner)
	p.server.Close()
	require.NoError(t, tools.S3(t.Context()))
	require.NoError(t, tools.ACME(t.Context()))
	require.Equal(t, 2, runner.builds)
	require.EqualValues(t, 1, p.requests.Load())
}

func TestEnvironmentVariableDisablesDownloads(t *testing.T) {
	t.Setenv(Variable, "1")
	require.Empty(t, NewNetwork().pins)
}

func TestPinsAreWellFormed(t *testing.T) {
	for address, sum := range newNetwork(pinned).pins {
		require.Regexp(t, `^(sha256:)?[0-9a-f]{64}$`, sum, address)
		require.Regexp(t, `^(https://(get\.pulumi\.com|github\.com)/.+\.tar\.gz|library/[a-z]+:\S+)$`, address)
	}
}
