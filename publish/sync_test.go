package publish

import (
	"crypto/sha256"
	"encoding/pem"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// store is an in-memory bucket that responds like S3.
type store struct {
	t *testing.T
	*httptest.Server

	mutex   sync.Mutex
	objects map[string]string
	// requests has "METHOD key" of each request in order, headers the headers of each upload.
	requests []string
	headers  []http.Header
	// intercept may respond instead of the store; it then returns true.
	intercept func(w http.ResponseWriter, r *http.Request, key string) bool
}

const pageSize = 1000

func newStore(t *testing.T, start func(http.Handler) *httptest.Server) *store {
	s := &store{t: t, objects: map[string]string{}}
	s.Server = start(s)
	t.Cleanup(s.Close)
	return s
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	key := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/content"), "/")
	s.requests = append(s.requests, strings.TrimSpace(r.Method+" "+key))
	if s.intercept != nil && s.intercept(w, r, key) {
		return
	}
	switch r.Method {
	case http.MethodGet:
		s.list(w, r.URL.Query())
	case http.MethodPut:
		s.headers = append(s.headers, r.Header)
		if r.Header.Get("X-Amz-Content-Sha256") != fmt.Sprintf("%x", sha256.Sum256(body)) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, "<Error><Code>XAmzContentSHA256Mismatch</Code></Error>")
			return
		}
		s.objects[key] = string(body)
	case http.MethodDelete:
		delete(s.objects, key)
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *store) list(w http.ResponseWriter, query url.Values) {
	type object struct{ Key, ETag string }
	result := struct {
		XMLName      xml.Name `xml:"ListBucketResult"`
		EncodingType string
		IsTruncated  bool
		Contents     []object
	}{EncodingType: query.Get("encoding-type")}
	for _, key := range slices.Sorted(mapKeys(s.objects)) {
		if key <= query.Get("start-after") {
			continue
		}
		if len(result.Contents) == pageSize {
			result.IsTruncated = true
			break
		}
		result.Contents = append(result.Contents, object{url.QueryEscape(key), `"` + etag([]byte(s.objects[key])) + `"`})
	}
	if err := xml.NewEncoder(w).Encode(result); err != nil {
		s.t.Error(err)
	}
}

func mapKeys(objects map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for key := range objects {
			if !yield(key) {
				return
			}
		}
	}
}

// takeRequests returns the requests since the last call.
func (s *store) takeRequests() []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	taken := s.requests
	s.requests = nil
	return taken
}

func (s *store) bucket(t *testing.T, more map[string]string) *Bucket {
	t.Helper()
	variables := map[string]string{
		"AWS_ENDPOINT_URL_S3":   s.URL,
		"AWS_ACCESS_KEY_ID":     "AKIAEXAMPLE",
		"AWS_SECRET_ACCESS_KEY": "secret",
	}
	for name, value := range more {
		variables[name] = value
	}
	bucket, err := OpenBucket(t.Context(), "content", "eu-central-1", func(name string) string { return variables[name] })
	require.NoError(t, err)
	return bucket
}

// siteOf returns a project whose build is a copy of these files.
func siteOf(t *testing.T, files map[string]string) *project {
	p := newProject(t, "project", "site")
	p.write(files)
	p.settings.Command = copyAll
	_, err := p.build()
	require.NoError(t, err)
	return p
}

func (p *project) sync(bucket *Bucket) (string, error) {
	p.t.Helper()
	p.log.Reset()
	list, err := Sync(p.t.Context(), p.settings, bucket)
	if err != nil {
		return "", err
	}
	return list.ID(), nil
}

func TestListIsUploadedAfterFilesAndBeforeDeletions(t *testing.T) {
	s := newStore(t, httptest.NewServer)
	s.objects["site/old.html"], s.objects["other/object"] = "old", "another's"
	p := siteOf(t, map[string]string{"index.html": "front", "a b/é.html": "b"})
	built, err := p.build()
	require.NoError(t, err)
	id, err := p.sync(s.bucket(t, nil))
	require.NoError(t, err)
	require.Equal(t, built.ID(), id)
	require.Equal(t, "Release "+id+": 2 files uploaded, 0 unchanged, 1 deleted.\n", p.log.String())
	require.Equal(t, map[string]string{
		"site/index.html": "front", "site/a b/é.html": "b", "SHA256SUMS": string(built.Text()), "other/object": "another's",
	}, s.objects)
	requests := s.takeRequests()
	require.Equal(t, []string{"GET", "PUT SHA256SUMS", "DELETE site/old.html"},
		[]string{requests[0], requests[3], requests[4]})
	require.ElementsMatch(t, []string{"PUT site/index.html", "PUT site/a b/é.html"}, requests[1:3])

	_, err = p.sync(s.bucket(t, nil))
	require.NoError(t, err)
	require.Equal(t, []string{"GET"}, s.takeRequests(), "nothing changed")
}

func TestNoUploadHasAnACL(t *testing.T) {
	s := newStore(t, httptest.NewServer)
	p := siteOf(t, map[string]string{"index.html": "front", "empty.txt": ""})
	_, err := p.sync(s.bucket(t, map[string]string{"AWS_SESSION_TOKEN": "token"}))
	require.NoError(t, err)
	require.Len(t, s.headers, 3)
	for _, header := range s.headers {
		for name := range header {
			require.NotContains(t, strings.ToLower(name), "acl")
			require.NotContains(t, strings.ToLower(name), "grant")
		}
		require.Equal(t, "token", header.Get("X-Amz-Security-Token"))
	}
}

func TestFailedSyncDeletesNothingAndRollbackRepairsIt(t *testing.T) {
	s := newStore(t, httptest.NewServer)
	p := siteOf(t, map[string]string{"index.html": "front", "a.html": "a", "b.html": "b"})
	_, err := p.sync(s.bucket(t, nil))
	require.NoError(t, err)
	before := map[string]string{}
	for key, content := range s.objects {
		before[key] = content
	}

	for name, refused := range map[string]func(r *http.Request, key string) bool{
		"a file":     func(_ *http.Request, key string) bool { return key == "site/a.html" },
		"the list":   func(_ *http.Request, key string) bool { return key == "SHA256SUMS" },
		"a deletion": func(r *http.Request, _ string) bool { return r.Method == http.MethodDelete },
		"a listing":  func(r *http.Request, _ string) bool { return r.Method == http.MethodGet },
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.Remove("site/b.html"))
			p.write(map[string]string{"index.html": "new " + name, "a.html": "new " + name, "c.html": "new"})
			_, err := p.build()
			require.NoError(t, err)
			s.intercept = func(w http.ResponseWriter, r *http.Request, key string) bool {
				if refused(r, key) {
					w.WriteHeader(http.StatusForbidden)
					fmt.Fprint(w, "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")
					return true
				}
				return false
			}
			s.takeRequests()
			_, err = p.sync(s.bucket(t, nil))
			require.ErrorContains(t, err, "403 Forbidden AccessDenied Access Denied")
			require.Contains(t, s.objects, "site/b.html")
			if name == "a file" {
				require.Equal(t, before["SHA256SUMS"], s.objects["SHA256SUMS"])
			}
			for request, times := range count(s.takeRequests()) {
				require.Equal(t, 1, times, "%s must not be retried: the error is permanent", request)
			}

			s.intercept = nil
			require.NoError(t, os.Remove("site/c.html"))
			p.write(map[string]string{"index.html": "front", "a.html": "a", "b.html": "b"})
			_, err = p.build()
			require.NoError(t, err)
			_, err = p.sync(s.bucket(t, nil))
			require.NoError(t, err)
			require.Equal(t, before, s.objects)
		})
	}
}

func count(texts []string) map[string]int {
	times := map[string]int{}
	for _, text := range texts {
		times[text]++
	}
	return times
}

func TestTemporaryErrorsAreRetried(t *testing.T) {
	for name, respond := range map[string]func(w http.ResponseWriter){
		"slow down": func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) },
		"a lost connection": func(w http.ResponseWriter) {
			connection, _, err := w.(http.Hijacker).Hijack()
			require.NoError(t, err)
			require.NoError(t, connection.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, httptest.NewServer)
			failures := 2
			s.intercept = func(w http.ResponseWriter, r *http.Request, key string) bool {
				if failures--; failures >= 0 {
					respond(w)
					return true
				}
				return false
			}
			p := siteOf(t, map[string]string{"index.html": "front"})
			_, err := p.sync(s.bucket(t, nil))
			require.NoError(t, err)
			require.Equal(t, "front", s.objects["site/index.html"])
		})
	}
	s := newStore(t, httptest.NewServer)
	s.intercept = func(w http.ResponseWriter, r *http.Request, key string) bool {
		w.WriteHeader(http.StatusInternalServerError)
		return true
	}
	bucket := s.bucket(t, nil)
	_, err := bucket.listPage(t.Context(), "")
	require.ErrorContains(t, err, "500 Internal Server Error")
	require.Len(t, s.takeRequests(), 6)
}

func TestFileThatChangesDuringItsUploadIsRejected(t *testing.T) {
	for name, content := range map[string]string{
		"as long": "FRONT",
		"longer":  "front and more",
		"shorter": "fr",
		"empty":   "",
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, httptest.NewServer)
			p := siteOf(t, map[string]string{"index.html": "front"})
			changed := false
			s.intercept = func(w http.ResponseWriter, r *http.Request, key string) bool {
				if r.Method != http.MethodPut || changed {
					return false
				}
				// The file changes between the first attempt and the next.
				changed = true
				require.NoError(t, os.WriteFile(filepath.Join(p.settings.siteCopy(), "index.html"), []byte(content), 0o644))
				w.WriteHeader(http.StatusServiceUnavailable)
				return true
			}
			_, err := p.sync(s.bucket(t, nil))
			require.ErrorContains(t, err, "cannot upload site/index.html")
			require.Empty(t, s.objects)
		})
	}
}

func TestJekyllServeDuringADeploymentChangesNothing(t *testing.T) {
	s := newStore(t, httptest.NewServer)
	p := siteOf(t, map[string]string{"index.html": "front"})
	require.NoError(t, os.WriteFile("site/_site/index.html", []byte("livereload"), 0o644))
	_, err := p.sync(s.bucket(t, nil))
	require.NoError(t, err)
	require.Equal(t, "front", s.objects["site/index.html"])
}

func TestSyncWithoutABuildOfThisSourceBuildsFirst(t *testing.T) {
	s := newStore(t, httptest.NewServer)
	p := siteOf(t, map[string]string{"index.html": "front", "a.html": "a"})
	first, err := p.sync(s.bucket(t, nil))
	require.NoError(t, err)
	for name, lose := range map[string]func() error{
		"a new clone":    func() error { return os.RemoveAll(".build") },
		"a file is gone": func() error { return os.Remove(filepath.Join(p.settings.siteCopy(), "a.html")) },
		"other bytes": func() error {
			return os.WriteFile(filepath.Join(p.settings.siteCopy(), "a.html"), []byte("b"), 0o644)
		},
		"a build of another source": func() error {
			p.settings.SourceHash = "the source after a pull, which another machine has built"
			return nil
		},
		"a build of another command": func() error {
			p.settings.Command += " "
			return nil
		},
		"a list cut short": func() error { return os.Truncate(p.settings.manifestFile(), 70) },
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, lose())
			again, err := p.sync(s.bucket(t, nil))
			require.NoError(t, err)
			require.Equal(t, first, again)
			require.Contains(t, p.log.String(), "Building again: ")
		})
	}
	p.settings.Command = "exit 1"
	require.NoError(t, os.RemoveAll(".build"))
	s.takeRequests()
	_, err = p.sync(s.bucket(t, nil))
	require.ErrorContains(t, err, "cannot build the site")
	for _, request := range s.takeRequests() {
		require.Equal(t, "GET", request)
	}
}

func TestListingIsCompleteHoweverItIsDivided(t *testing.T) {
	s := newStore(t, httptest.NewServer)
	var known []string
	for i := range 5000 {
		key := fmt.Sprintf("site/%04d", i)
		known = append(known, key)
		if i%7 != 0 {
			s.objects[key] = "x"
		}
		if i < 1500 { // more keys between two known keys than fit into a response
			s.objects[fmt.Sprintf("site/1234-%04d", i)] = "unknown"
		}
	}
	s.objects["0"], s.objects["SHA256SUMS"], s.objects["z\x01é +%"] = "first", "x", "last"
	for _, known := range [][]string{nil, known[:1], known[:listShard], known[:listShard+1], known} {
		found, err := s.bucket(t, nil).list(t.Context(), known)
		require.NoError(t, err)
		require.Len(t, found, len(s.objects))
		for key, content := range s.objects {
			require.Equal(t, etag([]byte(content)), found[key], key)
		}
	}
}

func TestAuthoritiesAreReadFromAWSCABundle(t *testing.T) {
	s := newStore(t, httptest.NewTLSServer)
	file := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t,
		os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o644))
	_, err := s.bucket(t, map[string]string{"AWS_CA_BUNDLE": file}).list(t.Context(), nil)
	require.NoError(t, err)
	_, err = s.bucket(t, nil).list(t.Context(), nil)
	require.ErrorContains(t, err, "certificate signed by unknown authority")
	for name, text := range map[string]string{"no certificate": "none", "cannot read": ""} {
		if text != "" {
			require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		} else {
			require.NoError(t, os.Remove(file))
		}
		_, err := OpenBucket(t.Context(), "b", "r",
			func(variable string) string { return map[string]string{"AWS_CA_BUNDLE": file}[variable] })
		require.ErrorContains(t, err, name)
	}
}
