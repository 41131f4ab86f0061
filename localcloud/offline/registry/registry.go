// Package registry is the container registry that instances take for Docker
// Hub: it serves the images that this machine built, and passes every other
// name through to the real registry where that can be reached.
package registry

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"immutable-infra/localcloud/internal/https"
)

const (
	// Upstream is the registry behind the name docker.io.
	Upstream = "registry-1.docker.io"

	upstreamTimeout = 5 * time.Second
)

// Handler serves the built images and passes other names to Upstream.
type Handler struct {
	local    http.Handler
	held     map[string]bool   // repositories that are served here
	names    []string          // all references that are served here
	digests  map[string]string // of the real images, by reference
	upstream http.RoundTripper
}

// NewHandler returns a handler that serves images for this machine's architecture. upstream makes
// the requests to Upstream. Where that answers at the start, an image for which pin knows the digest
// comes from there.
func NewHandler(
	ctx context.Context, images []Image, pin func(reference string) string, upstream http.RoundTripper,
) (*Handler, error) {
	blobs := newBlobStore()
	h := &Handler{
		local:    ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)), ggcr.WithBlobHandler(blobs)),
		held:     map[string]bool{},
		digests:  map[string]string{},
		upstream: upstream,
	}
	for _, image := range images {
		for _, reference := range image.References {
			if digest := pin(reference); digest != "" && h.upstreamHas(ctx, reference, digest) {
				h.digests[reference] = digest
				continue
			}
			if err := h.add(ctx, reference, image, blobs); err != nil {
				return nil, fmt.Errorf("add %s: %w", reference, err)
			}
			h.names = append(h.names, reference)
		}
	}
	return h, nil
}

// upstreamHas reports whether Upstream answers and has the image of a digest.
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

// add pushes an image into the registry, without a socket. Its layers are there
// already.
func (h *Handler) add(ctx context.Context, reference string, image Image, blobs *blobStore) error {
	built, err := image.build(blobs)
	if err != nil {
		return err
	}
	tag, err := name.NewTag("localhost/"+reference, name.Insecure)
	if err != nil {
		return err
	}
	h.held[tag.RepositoryStr()] = true
	return remote.Write(tag, built, remote.WithContext(ctx), remote.WithTransport(inProcess{h.local}))
}

// pathPattern has the repository, the kind of the object and its name.
var pathPattern = regexp.MustCompile(`^/v2/(.+)/(manifests|blobs|tags|referrers)/([^/]+)$`)

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "localcloud's registry is read-only")
		return
	}
	parts := pathPattern.FindStringSubmatch(r.URL.Path)
	if parts == nil || h.held[parts[1]] {
		h.local.ServeHTTP(w, r)
		return
	}
	if digest := h.digests[parts[1]+":"+parts[3]]; digest != "" {
		r = r.Clone(r.Context())
		r.URL.Path = "/v2/" + parts[1] + "/manifests/" + digest
	}
	h.pass(w, r, parts[1])
}

// pass asks the real registry, logged in as nobody.
func (h *Handler) pass(w http.ResponseWriter, r *http.Request, repository string) {
	ctx, cancel := context.WithTimeout(r.Context(), upstreamTimeout)
	defer cancel()
	repo, err := name.NewRepository(Upstream + "/" + repository)
	if err != nil {
		refuse(w, http.StatusNotFound, "NAME_INVALID", err.Error())
		return
	}
	unreachable := func(w http.ResponseWriter, _ *http.Request, err error) {
		refuse(w, http.StatusNotFound, "NAME_UNKNOWN", fmt.Sprintf(
			"localcloud's registry has %s, not %s, and %s cannot be reached: %v",
			strings.Join(h.names, ", "), repository, Upstream, err))
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

// refuse answers in the error format of the OCI distribution specification.
func refuse(w http.ResponseWriter, status int, code, message string) {
	https.Answer(w, status, map[string]any{"errors": []map[string]string{{"code": code, "message": message}}})
}

// inProcess is a RoundTripper that calls a handler.
type inProcess struct{ handler http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	request := r.Clone(r.Context())
	if request.Body == nil {
		request.Body = http.NoBody
	}
	recorder := httptest.NewRecorder()
	p.handler.ServeHTTP(recorder, request)
	response := recorder.Result()
	response.Request = r
	return response, nil
}
