// Package registry is the container registry that instances take for Docker
// Hub: it serves the images that this machine built, and passes every other
// name through to the real registry where that can be reached.
package registry

import (
	"context"
	"encoding/json"
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
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

const (
	// Upstream is the registry behind the name docker.io.
	Upstream = "registry-1.docker.io"

	upstreamTimeout = 5 * time.Second
)

// Handler serves the built images and passes other names to Upstream.
type Handler struct {
	local    http.Handler
	held     map[string]bool // repositories that are served here
	names    []string        // all references that are served here
	upstream http.RoundTripper
}

// NewHandler returns a handler that serves images for this machine's architecture. upstream makes
// the requests to Upstream.
func NewHandler(ctx context.Context, images []Image, upstream http.RoundTripper) (*Handler, error) {
	blobs := newBlobStore()
	h := &Handler{
		local:    ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)), ggcr.WithBlobHandler(blobs)),
		held:     map[string]bool{},
		upstream: upstream,
	}
	for _, image := range images {
		built, err := image.build(blobs)
		if err != nil {
			return nil, fmt.Errorf("registry: %s: %w", strings.Join(image.References, ", "), err)
		}
		for _, reference := range image.References {
			if err := h.add(ctx, reference, built); err != nil {
				return nil, fmt.Errorf("registry: add %s: %w", reference, err)
			}
			h.names = append(h.names, reference)
		}
	}
	return h, nil
}

// add pushes an image into the registry, without a socket. Its layers are there
// already.
func (h *Handler) add(ctx context.Context, reference string, image v1.Image) error {
	tag, err := name.NewTag("localhost/"+reference, name.Insecure)
	if err != nil {
		return err
	}
	if err := remote.Write(tag, image, remote.WithContext(ctx), remote.WithTransport(inProcess{h.local})); err != nil {
		return err
	}
	h.held[tag.RepositoryStr()] = true
	return nil
}

// ServeHTTP implements http.Handler.
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
	h.pass(w, r, parts[1])
}

var pathPattern = regexp.MustCompile(`^/v2/(.+)/(?:manifests|blobs|tags|referrers)/[^/]+$`)

// pass asks the real registry, logged in as nobody.
func (h *Handler) pass(w http.ResponseWriter, r *http.Request, repository string) {
	ctx, cancel := context.WithTimeout(r.Context(), upstreamTimeout)
	defer cancel()
	repo, err := name.NewRepository(Upstream + "/" + repository)
	if err != nil {
		refuse(w, http.StatusNotFound, "NAME_INVALID", err.Error())
		return
	}
	authenticated, err := transport.NewWithContext(ctx, repo.Registry, authn.Anonymous, h.upstream, []string{repo.Scope(transport.PullScope)})
	if err != nil {
		h.unreachable(w, repository, err)
		return
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(request *httputil.ProxyRequest) {
			request.SetURL(&url.URL{Scheme: "https", Host: Upstream})
		},
		Transport:    authenticated,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) { h.unreachable(w, repository, err) },
	}
	proxy.ServeHTTP(w, r)
}

func (h *Handler) unreachable(w http.ResponseWriter, repository string, err error) {
	refuse(w, http.StatusNotFound, "NAME_UNKNOWN", fmt.Sprintf(
		"localcloud's registry has %s, not %s, and %s cannot be reached: %v",
		strings.Join(h.names, ", "), repository, Upstream, err))
}

// refuse answers in the error format of the OCI distribution specification.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	body := map[string]any{"errors": []map[string]string{{"code": code, "message": message}}}
	if err := json.NewEncoder(w).Encode(body); err != nil {
		return // the caller is gone
	}
}

// inProcess is a RoundTripper that calls a handler.
type inProcess struct {
	handler http.Handler
}

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
