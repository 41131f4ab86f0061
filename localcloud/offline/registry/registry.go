// Package registry is the container registry that instances use in place of Docker Hub. It serves the images that were
// built on this machine, and proxies requests for other images to the real registry if that is reachable.
package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"immutable-infra/localcloud/internal/https"
	"immutable-infra/localcloud/internal/image"
)

const (
	Upstream = "registry-1.docker.io" // the registry of docker.io

	upstreamTimeout = 5 * time.Second
)

// Handler serves the built images and proxies other requests to Upstream.
type Handler struct {
	objects      map[string]object // served locally, by URL path
	repositories map[string]bool   // served locally
	references   []string          // served locally
	digests      map[string]string // of the images that Upstream serves, by pinned reference
	upstream     http.RoundTripper
}

// object is a manifest, a configuration or a layer.
type object struct {
	mediaType types.MediaType
	digest    v1.Hash
	content   []byte
	file      string // the content of a layer, which is served from its file instead of memory
}

// NewHandler returns a handler that serves images for this machine's architecture. pin returns the pinned digest of a
// reference, or "". A pinned image comes from Upstream if NewHandler finds it there. upstream performs the requests to
// Upstream.
func NewHandler(
	ctx context.Context, images []Image, pin func(reference string) string, upstream http.RoundTripper,
) (*Handler, error) {
	layers := map[string]v1.Layer{}
	h := &Handler{
		objects: map[string]object{}, repositories: map[string]bool{}, digests: map[string]string{}, upstream: upstream,
	}
	for _, image := range images {
		for _, reference := range image.References {
			if digest := pin(reference); digest != "" && h.upstreamHas(ctx, reference, digest) {
				h.digests[reference] = digest
				continue
			}
			if err := h.add(reference, image, layers); err != nil {
				return nil, fmt.Errorf("add %s: %w", reference, err)
			}
			h.references = append(h.references, reference)
		}
	}
	return h, nil
}

// upstreamHas reports whether Upstream is reachable and has the image with that digest.
func (h *Handler) upstreamHas(ctx context.Context, reference, digest string) bool {
	ctx, cancel := context.WithTimeout(ctx, upstreamTimeout)
	defer cancel()
	repository, _, _ := strings.Cut(reference, ":")
	image, err := name.NewDigest(Upstream + "/" + repository + "@" + digest)
	if err != nil {
		return false
	}
	_, err = remote.Head(image, remote.WithContext(ctx), remote.WithTransport(h.upstream))
	return err == nil
}

// add adds an image to the objects that are served locally. layers caches layers by file.
func (h *Handler) add(reference string, image Image, layers map[string]v1.Layer) error {
	built, err := image.build(layers)
	if err != nil {
		return err
	}
	manifest, err := built.Manifest()
	rawManifest, rawErr := built.RawManifest()
	digest, digestErr := built.Digest()
	config, configErr := built.RawConfigFile()
	if err := errors.Join(err, rawErr, digestErr, configErr); err != nil {
		return err
	}
	repository, tag, _ := strings.Cut(reference, ":")
	h.repositories[repository] = true
	for _, name := range []string{tag, digest.String()} {
		h.objects["/v2/"+repository+"/manifests/"+name] = object{manifest.MediaType, digest, rawManifest, ""}
	}
	blobs := "/v2/" + repository + "/blobs/"
	h.objects[blobs+manifest.Config.Digest.String()] =
		object{manifest.Config.MediaType, manifest.Config.Digest, config, ""}
	for i, layer := range manifest.Layers {
		h.objects[blobs+layer.Digest.String()] = object{layer.MediaType, layer.Digest, nil, image.Layers[i]}
	}
	return nil
}

// pathPattern matches a repository, the kind of an object and the object's name.
var pathPattern = regexp.MustCompile(`^/v2/(.+)/(manifests|blobs|tags|referrers)/([^/]+)$`)

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		writeError(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "localcloud's registry is read-only")
		return
	}
	parts := pathPattern.FindStringSubmatch(r.URL.Path)
	local, ok := h.objects[r.URL.Path]
	switch {
	case ok:
		local.serve(w, r)
		return
	case r.URL.Path == "/v2/":
		w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
		https.Answer(w, http.StatusOK, map[string]string{})
		return
	case parts == nil || h.repositories[parts[1]]:
		writeError(w, http.StatusNotFound, "NAME_UNKNOWN", "localcloud's registry has no "+r.URL.Path)
		return
	}
	if digest := h.digests[parts[1]+":"+parts[3]]; digest != "" {
		r = r.Clone(r.Context())
		r.URL.Path = "/v2/" + parts[1] + "/manifests/" + digest
	}
	h.proxy(w, r, parts[1])
}

func (o object) serve(w http.ResponseWriter, r *http.Request) {
	content := io.ReadSeeker(bytes.NewReader(o.content))
	if o.file != "" {
		layer, err := os.Open(o.file)
		if err != nil {
			writeError(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
			return
		}
		defer layer.Close()
		content = layer
	}
	w.Header().Set("Content-Type", string(o.mediaType))
	w.Header().Set("Docker-Content-Digest", o.digest.String())
	http.ServeContent(w, r, "", time.Time{}, content)
}

// proxy forwards a request to Upstream with anonymous authentication.
func (h *Handler) proxy(w http.ResponseWriter, r *http.Request, repository string) {
	ctx, cancel := context.WithTimeout(r.Context(), upstreamTimeout)
	defer cancel()
	repo, err := name.NewRepository(Upstream + "/" + repository)
	if err != nil {
		writeError(w, http.StatusNotFound, "NAME_INVALID", err.Error())
		return
	}
	unreachable := func(w http.ResponseWriter, _ *http.Request, err error) {
		writeError(w, http.StatusNotFound, "NAME_UNKNOWN", fmt.Sprintf(
			"localcloud's registry has %s, not %s, and %s cannot be reached: %v",
			strings.Join(h.references, ", "), repository, Upstream, err))
	}
	scopes := []string{repo.Scope(transport.PullScope)}
	authenticated, err := transport.NewWithContext(ctx, repo.Registry, authn.Anonymous, h.upstream, scopes)
	if err != nil {
		unreachable(w, r, err)
		return
	}
	(&httputil.ReverseProxy{
		Rewrite:      func(request *httputil.ProxyRequest) { request.SetURL(&url.URL{Scheme: "https", Host: Upstream}) },
		Transport:    authenticated,
		ErrorHandler: unreachable,
	}).ServeHTTP(w, r)
}

// writeError responds in the error format of the OCI distribution specification.
func writeError(w http.ResponseWriter, status int, code, message string) {
	https.Answer(w, status, map[string]any{"errors": []map[string]string{{"code": code, "message": message}}})
}

// searchPath is the value of PATH in Debian's images.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

type Image struct {
	References []string // such as library/debian:trixie-slim
	Layers     []string // gzipped tar files, the base layer first
	Entrypoint []string
	Cmd        []string
}

// Images returns the minimal Debian image, whose root file system is minbase, and the Traefik image, which adds the
// layer traefik that image.Traefik describes. The Traefik image has the name, the programs and the entry point of the
// upstream image.
func Images(minbase, traefik string) []Image {
	return []Image{
		{
			References: []string{"library/debian:trixie-slim", "library/debian:13-slim"},
			Layers:     []string{minbase},
			Cmd:        []string{"bash"},
		},
		{
			References: []string{"library/traefik:" + image.TraefikVersion},
			Layers:     []string{minbase, traefik},
			Entrypoint: []string{"/entrypoint.sh"},
			Cmd:        []string{"traefik"},
		},
	}
}

// build builds the image. layers caches the layers of all images by file.
func (i Image) build(layers map[string]v1.Layer) (v1.Image, error) {
	built := empty.Image
	for _, file := range i.Layers {
		if layers[file] == nil {
			layer, err := tarball.LayerFromFile(file)
			if err != nil {
				return nil, err
			}
			layers[file] = layer
		}
		var err error
		if built, err = mutate.AppendLayers(built, layers[file]); err != nil {
			return nil, err
		}
	}
	config, err := built.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Architecture, config.OS = runtime.GOARCH, "linux"
	config.Config.Entrypoint, config.Config.Cmd = i.Entrypoint, i.Cmd
	config.Config.Env = []string{"PATH=" + searchPath}
	return mutate.ConfigFile(built, config)
}
