package buckettest

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"immutable-infra/internal/testtool"
)

// Gateway is versitygw, a real S3 server, with one bucket, whose objects are files below Dir.
// Requests pass a proxy in which a test can intercept them.
type Gateway struct {
	URL    string
	Bucket string
	Dir    string

	mu        sync.Mutex
	intercept func(w http.ResponseWriter, r *http.Request) bool
	sent      int64
	requests  []string
	skew      time.Duration
}

// StartGateway runs a gateway until the test ends, and points the SDK's default chain at it.
func StartGateway(t *testing.T) *Gateway {
	t.Helper()
	data := t.TempDir()
	gateway := &Gateway{Bucket: "backup", Dir: filepath.Join(data, "backup")}
	if err := os.Mkdir(gateway.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	environment := Environment("", filepath.Join(t.TempDir(), "none"))
	address := testtool.S3{
		Region:    environment["AWS_REGION"],
		AccessKey: environment["AWS_ACCESS_KEY_ID"],
		SecretKey: environment["AWS_SECRET_ACCESS_KEY"],
	}.Start(t, data)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: address})
		// The signature covers the host.
		r.Out.Host = r.In.Host
		if gateway.clock() != 0 {
			signAgain(t, r.Out, environment)
		}
	}, ModifyResponse: gateway.shift}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gateway.serve(proxy, w, r)
	}))
	t.Cleanup(server.Close)
	gateway.URL = server.URL
	for name, value := range Environment(gateway.URL, environment["AWS_CONFIG_FILE"]) {
		t.Setenv(name, value)
	}
	return gateway
}

func (g *Gateway) serve(next http.Handler, w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	intercept, skew := g.intercept, g.skew
	g.requests = append(g.requests, r.Method+" "+g.Key(r))
	g.sent += max(r.ContentLength, 0)
	g.mu.Unlock()
	if intercept != nil && intercept(w, r) {
		return
	}
	if skew != 0 {
		signed, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		if now := time.Now().Add(skew); err != nil || now.Sub(signed).Abs() > 15*time.Minute {
			w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
			Refuse(w, http.StatusForbidden, "RequestTimeTooSkewed")
			return
		}
	}
	next.ServeHTTP(w, r)
}

// signAgain replaces the signature of a request by one with the current time.
func signAgain(t *testing.T, r *http.Request, environment map[string]string) {
	r.Header.Del("Authorization")
	credentials := aws.Credentials{
		AccessKeyID:     environment["AWS_ACCESS_KEY_ID"],
		SecretAccessKey: environment["AWS_SECRET_ACCESS_KEY"],
	}
	if err := v4.NewSigner().SignHTTP(r.Context(), credentials, r, r.Header.Get("X-Amz-Content-Sha256"), "s3",
		environment["AWS_REGION"], time.Now()); err != nil {
		t.Error(err)
	}
}

// Key returns the key of a request, or the prefix that it lists.
func (g *Gateway) Key(r *http.Request) string {
	key := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/"+g.Bucket), "/")
	return key + r.URL.Query().Get("prefix")
}

// Intercept sets a function that gets each request first, and reports whether it has responded to it; nil removes
// the function.
func (g *Gateway) Intercept(intercept func(w http.ResponseWriter, r *http.Request) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.intercept = intercept
}

// Skew sets the server's clock ahead. Like S3, the server then rejects requests signed by a clock that is 15
// minutes off.
func (g *Gateway) Skew(ahead time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.skew = ahead
}

func (g *Gateway) clock() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.skew
}

// shift shifts the times in a response.
func (g *Gateway) shift(response *http.Response) error {
	skew := g.clock()
	if skew == 0 {
		return nil
	}
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		response.Header.Set("Date", date.Add(skew).Format(http.TimeFormat))
	}
	if !strings.Contains(response.Header.Get("Content-Type"), "xml") {
		return nil
	}
	text, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return err
	}
	text = regexp.MustCompile(`<LastModified>[^<]*`).ReplaceAllFunc(text, func(element []byte) []byte {
		name, value, _ := strings.Cut(string(element), ">")
		modified, err := time.Parse(time.RFC3339, value)
		if err != nil {
			return element
		}
		return []byte(name + ">" + modified.Add(skew).Format(time.RFC3339Nano))
	})
	response.Body = io.NopCloser(bytes.NewReader(text))
	response.ContentLength = int64(len(text))
	response.Header.Set("Content-Length", strconv.Itoa(len(text)))
	return nil
}

// Refuse responds as S3 does for this status and code.
func Refuse(w http.ResponseWriter, status int, code string) {
	type body struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	// The client may have disconnected.
	_ = xml.NewEncoder(w).Encode(body{Code: code, Message: code + " in words"})
}

// TakeRequests returns the requests since the last call in order, each as "GET <key>", and how many
// bytes they sent to the server.
func (g *Gateway) TakeRequests() (requests []string, bytes int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	requests, bytes = g.requests, g.sent
	g.requests, g.sent = nil, 0
	return requests, bytes
}

// Path returns the path of the file of an object.
func (g *Gateway) Path(key string) string { return filepath.Join(g.Dir, filepath.FromSlash(key)) }

// Keys returns the keys of all objects that begin with prefix, in order.
func (g *Gateway) Keys(t *testing.T, prefix string) []string {
	t.Helper()
	var keys []string
	err := filepath.WalkDir(g.Dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		key, err := filepath.Rel(g.Dir, path)
		if err == nil && strings.HasPrefix(filepath.ToSlash(key), prefix) && !strings.Contains(key, ".sgwtmp") {
			keys = append(keys, filepath.ToSlash(key))
		}
		return err
	})
	if err != nil {
		t.Fatal(fmt.Errorf("cannot list the objects: %w", err))
	}
	return keys
}
