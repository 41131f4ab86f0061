// Package imds implements the EC2 instance metadata service: version 2 with session tokens and, if an instance's
// options allow it, version 1. The source address identifies the calling instance.
//
// Paths and responses follow "Instance metadata categories" and "Use the Instance Metadata Service" in the EC2 user
// guide.
package imds

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"immutable-infra/localcloud/internal/cloud"
)

const (
	tokenHeader = "X-aws-ec2-metadata-token"
	ttlHeader   = "X-aws-ec2-metadata-token-ttl-seconds"
	minTTL      = 1
	maxTTL      = 21600
)

// Lookup returns the network interface with that private address.
type Lookup func(private netip.Addr) (eni cloud.NetworkInterface, found bool, err error)

// Handler serves instance metadata to all instances of a VPC.
type Handler struct {
	lookup Lookup
	// key signs the session tokens. A restart invalidates them; clients then request a new one.
	key []byte
}

// NewHandler returns a handler that identifies the calling instance with lookup.
func NewHandler(lookup Lookup) *Handler {
	return &Handler{lookup: lookup, key: []byte(rand.Text())}
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "EC2ws")
	caller, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		writeError(w, http.StatusBadRequest)
		return
	}
	eni, found, err := h.lookup(caller.Addr().Unmap())
	switch {
	case err != nil:
		writeError(w, http.StatusInternalServerError)
	case !found:
		writeError(w, http.StatusNotFound)
	case !eni.Metadata.Enabled:
		writeError(w, http.StatusForbidden)
	case r.Method == http.MethodPut:
		h.putToken(w, r, eni)
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
		h.get(w, r, eni)
	default:
		writeError(w, http.StatusMethodNotAllowed)
	}
}

func (h *Handler) putToken(w http.ResponseWriter, r *http.Request, eni cloud.NetworkInterface) {
	seconds, err := strconv.Atoi(r.Header.Get(ttlHeader))
	switch {
	case r.URL.Path != "/latest/api/token":
		writeError(w, http.StatusNotFound)
	case r.Header.Get("X-Forwarded-For") != "":
		// The request came through a proxy, so the instance did not send it itself.
		writeError(w, http.StatusForbidden)
	case err != nil || seconds < minTTL || seconds > maxTTL:
		writeError(w, http.StatusBadRequest)
	default:
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set(ttlHeader, strconv.Itoa(seconds))
		fmt.Fprint(w, h.issueToken(eni.InstanceID, time.Duration(seconds)*time.Second))
	}
}

func (h *Handler) get(w http.ResponseWriter, r *http.Request, eni cloud.NetworkInterface) {
	token := r.Header.Get(tokenHeader)
	if token == "" && eni.Metadata.TokensRequired {
		writeError(w, http.StatusUnauthorized)
		return
	}
	if token != "" {
		remaining, ok := h.validate(token, eni.InstanceID)
		if !ok {
			writeError(w, http.StatusUnauthorized)
			return
		}
		w.Header().Set(ttlHeader, strconv.Itoa(int(remaining.Seconds())))
	}
	version, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if version == "" {
		fmt.Fprint(w, "1.0\n2021-03-23\nlatest")
		return
	}
	if _, err := time.Parse(time.DateOnly, version); err != nil && version != "latest" && version != "1.0" {
		writeError(w, http.StatusNotFound)
		return
	}
	tree, err := newTree(eni, time.Now())
	if err != nil {
		writeError(w, http.StatusInternalServerError)
		return
	}
	content, found := tree.get(path)
	if !found {
		writeError(w, http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	if path == "user-data" {
		w.Header().Set("Content-Type", "application/octet-stream")
	}
	_, _ = w.Write(content) // fails only if the client has disconnected
}

func writeError(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	text := fmt.Sprintf("%d - %s", status, http.StatusText(status))
	fmt.Fprintf(w, "<html><head><title>%s</title></head><body><h1>%s</h1></body></html>\n", text, text)
}

func (h *Handler) issueToken(instance string, lifetime time.Duration) string {
	expires := strconv.FormatInt(time.Now().Add(lifetime).UnixNano(), 10)
	return h.sign(instance, expires) + "." + expires
}

// validate checks a token of an instance and returns its remaining lifetime.
func (h *Handler) validate(token, instance string) (time.Duration, bool) {
	signature, expires, _ := strings.Cut(token, ".")
	nanoseconds, err := strconv.ParseInt(expires, 10, 64)
	remaining := time.Until(time.Unix(0, nanoseconds))
	return remaining, err == nil && remaining > 0 && hmac.Equal([]byte(signature), []byte(h.sign(instance, expires)))
}

func (h *Handler) sign(instance, expires string) string {
	mac := hmac.New(sha256.New, h.key)
	fmt.Fprint(mac, instance, " ", expires)
	return hex.EncodeToString(mac.Sum(nil))
}
