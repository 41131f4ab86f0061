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
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/registry"
)

type upstream func(*http.Request) (*http.Response, error)

func (u upstream) RoundTrip(r *http.Request) (*http.Response, error) { return u(r) }

func offline(*http.Request) (*http.Response, error) { return nil, errors.New("network is unreachable") }

func serve(t *testing.T, next upstream) *httptest.Server {
	t.Helper()
	handler, err := registry.NewHandler(t.Context(), rootFileSystem(t), "amd64", t.TempDir(), next)
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// rootFileSystem is a layer with one file.
func rootFileSystem(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "layer.tar.gz")
	file, err := os.Create(path)
	require.NoError(t, err)
	compressed := gzip.NewWriter(file)
	archive := tar.NewWriter(compressed)
	require.NoError(t, archive.WriteHeader(&tar.Header{Name: "etc/debian_version", Mode: 0o644, Size: 5}))
	_, err = archive.Write([]byte("13.0\n"))
	require.NoError(t, err)
	require.NoError(t, archive.Close())
	require.NoError(t, compressed.Close())
	require.NoError(t, file.Close())
	return path
}

func TestDebianIsPulledFromHereThoughTheMachineIsOffline(t *testing.T) {
	server := serve(t, offline)
	for _, reference := range registry.Names() {
		tag, err := name.NewTag(strings.TrimPrefix(server.URL, "http://") + "/" + reference)
		require.NoError(t, err)
		image, err := remote.Image(tag, remote.WithContext(t.Context()))
		require.NoError(t, err)
		config, err := image.ConfigFile()
		require.NoError(t, err)
		require.Equal(t, "amd64", config.Architecture)
		layers, err := image.Layers()
		require.NoError(t, err)
		require.Len(t, layers, 1)
		content, err := layers[0].Uncompressed()
		require.NoError(t, err)
		all, err := io.ReadAll(content)
		require.NoError(t, err)
		require.Contains(t, string(all), "13.0\n")
	}
}

func TestAnotherImageOfflineIsAnErrorThatSaysWhatThereIs(t *testing.T) {
	response, err := http.Get(serve(t, offline).URL + "/v2/library/nginx/manifests/latest")
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusNotFound, response.StatusCode)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Contains(t, string(body), "library/debian:trixie-slim and library/debian:13-slim, not library/nginx")
	require.Contains(t, string(body), "network is unreachable")
}

func TestAnotherImageOnlineComesFromTheRealRegistry(t *testing.T) {
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

func TestNothingCanBePushed(t *testing.T) {
	response, err := http.Post(serve(t, offline).URL+"/v2/library/debian/blobs/uploads/", "", nil)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusMethodNotAllowed, response.StatusCode)
}
