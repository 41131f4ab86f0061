// Package buckettest provides S3 servers for tests: Server, which implements the part of S3 that the agent uses,
// with AWS's responses, and Gateway, a real one.
package buckettest

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server is an S3 server with one bucket.
type Server struct {
	URL    string
	Bucket string

	mu         sync.Mutex
	objects    map[string]Object
	requests   []string
	denied     bool
	deniedPuts bool
	onGet      func(key string, request *http.Request)
}

type Object struct {
	Content     string
	ContentType string
	Modified    time.Time
}

// Start serves an empty bucket named "content" until the test ends, and points the SDK's default chain at it.
func Start(t *testing.T) *Server {
	t.Helper()
	server := &Server{Bucket: "content", objects: map[string]Object{}}
	listener := httptest.NewServer(server)
	t.Cleanup(listener.Close)
	// By name: the SDK always addresses a bucket of a bare IP address by path.
	server.URL = strings.Replace(listener.URL, "127.0.0.1", "localhost", 1)
	for name, value := range Environment(server.URL, filepath.Join(t.TempDir(), "none")) {
		t.Setenv(name, value)
	}
	return server
}

// Environment points an SDK at the server, and away from the machine's own configuration.
func Environment(url, noFile string) map[string]string {
	return map[string]string{
		"AWS_ENDPOINT_URL_S3":         url,
		"AWS_ENDPOINT_URL":            "",
		"AWS_REGION":                  "eu-central-1",
		"AWS_ACCESS_KEY_ID":           "AKIAEXAMPLE",
		"AWS_SECRET_ACCESS_KEY":       "secret",
		"AWS_SESSION_TOKEN":           "",
		"AWS_PROFILE":                 "",
		"AWS_CONFIG_FILE":             noFile,
		"AWS_SHARED_CREDENTIALS_FILE": noFile,
		"AWS_EC2_METADATA_DISABLED":   "true",
		"AWS_MAX_ATTEMPTS":            "1",
	}
}

func (s *Server) Put(key, content string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[key] = Object{Content: content, Modified: time.Now()}
}

// Object returns an object, and whether it exists.
func (s *Server) Object(key string) (object Object, exists bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	object, exists = s.objects[key]
	return object, exists
}

func (s *Server) Delete(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, key)
}

// Deny rejects every request with AccessDenied.
func (s *Server) Deny() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied = true
}

// DenyPuts rejects every request that writes with AccessDenied.
func (s *Server) DenyPuts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deniedPuts = true
}

// OnGet calls hook before each response to a GET. The response waits until hook returns.
func (s *Server) OnGet(hook func(key string, request *http.Request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onGet = hook
}

// list returns the response to a request to list the objects that begin with prefix.
func (s *Server) list(prefix string) []byte {
	type entry struct {
		Key          string
		Size         int
		LastModified string
	}
	var response struct {
		XMLName  xml.Name `xml:"ListBucketResult"`
		Contents []entry
	}
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		if strings.HasPrefix(key, prefix) {
			object := s.objects[key]
			response.Contents = append(response.Contents,
				entry{key, len(object.Content), object.Modified.UTC().Format(time.RFC3339)})
		}
	}
	// Never fails: all of it can be encoded.
	text, _ := xml.Marshal(response)
	return text
}

// TakeRequests returns the requests since the last call, sorted, each as method, key and status:
// "GET <key> 200". A listing has no key.
func (s *Server) TakeRequests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests := s.requests
	s.requests = nil
	slices.Sort(requests)
	return requests
}

// ServeHTTP handles path-style requests to get, put, delete and list objects, and for their sizes.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	s.mu.Lock()
	hook := s.onGet
	s.mu.Unlock()
	if hook != nil && r.Method == http.MethodGet {
		hook(key, r)
	}
	sent, err := io.ReadAll(r.Body)
	if err != nil {
		// The client disconnected: an interrupted upload stores nothing.
		return
	}

	s.mu.Lock()
	object, exists := s.objects[key]
	denied := s.denied || s.deniedPuts && r.Method != http.MethodGet && r.Method != http.MethodHead
	listing := r.Method == http.MethodGet && key == ""
	content := []byte(object.Content)
	if listing {
		content = s.list(r.URL.Query().Get("prefix"))
	}
	s.mu.Unlock()
	if r.Method == http.MethodPut {
		content = sent
	}
	sum := md5.Sum(content)
	etag := `"` + hex.EncodeToString(sum[:]) + `"`
	status, code := http.StatusOK, ""
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodPut &&
		r.Method != http.MethodDelete:
		status, code = http.StatusMethodNotAllowed, "MethodNotAllowed"
	case !strings.Contains(r.Header.Get("Authorization"), "Credential=AKIA"):
		status, code = http.StatusForbidden, "AccessDenied"
	case bucket != s.Bucket:
		status, code = http.StatusNotFound, "NoSuchBucket"
	case denied:
		status, code = http.StatusForbidden, "AccessDenied"
	case r.Method == http.MethodPut && r.Header.Get("If-None-Match") == "*" && exists:
		status, code = http.StatusPreconditionFailed, "PreconditionFailed"
	case r.Method == http.MethodDelete:
		status = http.StatusNoContent
		s.Delete(key)
	case r.Method == http.MethodPut:
		s.mu.Lock()
		s.objects[key] = Object{Content: string(sent), ContentType: r.Header.Get("Content-Type"), Modified: time.Now()}
		s.mu.Unlock()
	case listing:
		w.Header().Set("Content-Type", "application/xml")
	case !exists:
		status, code = http.StatusNotFound, "NoSuchKey"
	case r.Header.Get("If-None-Match") == etag:
		status = http.StatusNotModified
	}
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+key+" "+strconv.Itoa(status))
	s.mu.Unlock()

	w.Header().Set("ETag", etag)
	switch {
	case status == http.StatusOK && r.Method == http.MethodPut:
		w.WriteHeader(status)
	case status == http.StatusOK:
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		// The client may have disconnected.
		_, _ = w.Write(content)
	case code != "":
		Refuse(w, status, code)
	default:
		w.WriteHeader(status)
	}
}
