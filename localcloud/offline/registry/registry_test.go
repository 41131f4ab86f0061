package registry_test

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/offline/registry"
)

type upstream func(*http.Request) (*http.Response, error)

func (u upstream) RoundTrip(r *http.Request) (*http.Response, error) { return u(r) }

func offline(*http.Request) (*http.Response, error) { return nil, errors.New("network is unreachable") }

func serve(t *testing.T, next upstream) *httptest.Server {
	t.Helper()
	root := layer(t, "etc/debian_version", "13.0\n")
	traefik := layer(t, "usr/local/bin/traefik", strings.Repeat("a large program ", 1<<16))
	images := registry.Images(root, traefik)
	handler, err := registry.NewHandler(t.Context(), images, func(string) string { return "" }, next)
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// layer writes a gzipped tar archive with one file and returns its path.
func layer(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "layer.tar.gz")
	file, err := os.Create(path)
	require.NoError(t, err)
	compressed := gzip.NewWriter(file)
	archive := tar.NewWriter(compressed)
	require.NoError(t, archive.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}))
	_, err = archive.Write([]byte(content))
	require.NoError(t, err)
	require.NoError(t, archive.Close())
	require.NoError(t, compressed.Close())
	require.NoError(t, file.Close())
	return path
}

// pull pulls an image with all its layers, like a container engine. layers holds the uncompressed tar archives.
func pull(t *testing.T, server *httptest.Server, reference string) (config *v1.ConfigFile, layers []string) {
	t.Helper()
	tag, err := name.NewTag(strings.TrimPrefix(server.URL, "http://") + "/" + reference)
	require.NoError(t, err)
	image, err := remote.Image(tag, remote.WithContext(t.Context()))
	require.NoError(t, err)
	config, err = image.ConfigFile()
	require.NoError(t, err)
	all, err := image.Layers()
	require.NoError(t, err)
	for _, layer := range all {
		content, err := layer.Uncompressed()
		require.NoError(t, err)
		text, err := io.ReadAll(content)
		require.NoError(t, err)
		layers = append(layers, string(text))
	}
	return config, layers
}

func TestDebianIsServedLocallyWhenOffline(t *testing.T) {
	server := serve(t, offline)
	for _, reference := range []string{"library/debian:trixie-slim", "library/debian:13-slim"} {
		config, layers := pull(t, server, reference)
		require.Equal(t, runtime.GOARCH, config.Architecture)
		require.Equal(t, []string{"bash"}, config.Config.Cmd)
		require.Len(t, layers, 1)
		require.Contains(t, layers[0], "13.0\n")
	}
}

func TestTraefikIsServedLocallyWithUpstreamEntrypoint(t *testing.T) {
	config, layers := pull(t, serve(t, offline), "library/traefik:v3.7.13")
	require.Equal(t, runtime.GOARCH, config.Architecture)
	require.Equal(t, []string{"/entrypoint.sh"}, config.Config.Entrypoint)
	require.Equal(t, []string{"traefik"}, config.Config.Cmd)
	require.Contains(t, config.Config.Env[0], "/usr/local/bin:", "traefik must be on PATH")
	require.Len(t, layers, 2)
	require.Contains(t, layers[0], "13.0\n", "the base layer is the minimal Debian")
	require.Contains(t, layers[1], "a large program")
}

func TestErrorForUnavailableImageListsServedImages(t *testing.T) {
	response, err := http.Get(serve(t, offline).URL + "/v2/library/nginx/manifests/latest")
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusNotFound, response.StatusCode)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Contains(t, string(body),
		"library/debian:trixie-slim, library/debian:13-slim, library/traefik:v3.7.13, not library/nginx")
	require.Contains(t, string(body), "network is unreachable")
}

func TestOtherImagesAreProxiedWhenOnline(t *testing.T) {
	hub := func(r *http.Request) (*http.Response, error) {
		recorder := httptest.NewRecorder()
		switch {
		case r.URL.Host == "auth.docker.io":
			_, _ = recorder.WriteString(`{"token":"for-everyone"}`)
		case r.URL.Path == "/v2/":
			recorder.Header().Set("WWW-Authenticate", `Bearer realm="https://auth.docker.io/token",service="registry.docker.io"`)
			recorder.WriteHeader(http.StatusUnauthorized)
		case r.Header.Get("Authorization") != "Bearer for-everyone":
			recorder.WriteHeader(http.StatusUnauthorized)
		default:
			_, _ = recorder.WriteString("manifest of " + (&url.URL{Host: r.URL.Host, Path: r.URL.Path}).String())
		}
		response := recorder.Result()
		response.Request = r
		return response, nil
	}
	response, err := http.Get(serve(t, hub).URL + "/v2/library/nginx/manifests/latest")
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, "manifest of //registry-1.docker.io/v2/library/nginx/manifests/latest", string(body))
}

func TestPushIsRejected(t *testing.T) {
	response, err := http.Post(serve(t, offline).URL+"/v2/library/debian/blobs/uploads/", "", nil)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusMethodNotAllowed, response.StatusCode)
}

func TestPinnedImageIsPulledFromUpstreamByDigest(t *testing.T) {
	digest := "sha256:" + strings.Repeat("ab", 32)
	pin := func(reference string) string { return map[string]string{"library/traefik:v3.7.13": digest}[reference] }
	hub := upstream(func(r *http.Request) (*http.Response, error) {
		recorder := httptest.NewRecorder()
		recorder.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		recorder.Header().Set("Docker-Content-Digest", digest)
		recorder.Header().Set("Content-Length", "2")
		if r.Method == http.MethodGet {
			_, _ = recorder.WriteString(r.URL.Path)
		}
		response := recorder.Result()
		response.Request = r
		return response, nil
	})
	images := registry.Images(layer(t, "etc/debian_version", "13.0\n"), layer(t, "usr/local/bin/traefik", "built here"))
	get := func(next upstream, path string) string {
		handler, err := registry.NewHandler(t.Context(), images, pin, next)
		require.NoError(t, err)
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		require.Equal(t, http.StatusOK, recorder.Code, recorder.Body.String())
		return recorder.Body.String()
	}
	require.Equal(t, "/v2/library/traefik/manifests/"+digest, get(hub, "/v2/library/traefik/manifests/v3.7.13"))
	require.Equal(t, "/v2/library/traefik/blobs/"+digest, get(hub, "/v2/library/traefik/blobs/"+digest))
	require.Contains(t, get(hub, "/v2/library/debian/manifests/trixie-slim"), `"layers"`, "debian is not pinned")
	require.Contains(t, get(offline, "/v2/library/traefik/manifests/v3.7.13"), `"layers"`, "upstream is unreachable")
}
