// Package s3server runs versitygw, a real S3 server, behind a proxy that counts the traffic and lets tests intercept
// requests.
package s3server

import (
	"errors"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testtool"
)

// The credentials and the region of the server.
const (
	AccessKey = "AKIAEXAMPLE"
	SecretKey = "secret"
	Region    = "eu-central-1"
)

// Traffic is the proxy's traffic. Bytes are those of HTTP with headers, without TLS.
type Traffic struct {
	// Requests counts requests by method.
	Requests map[string]int
	// Sent is the number of bytes sent to the server, Received the number of bytes received from it.
	Sent, Received int64
}

// Total returns the number of all requests.
func (t Traffic) Total() (total int) {
	for _, count := range t.Requests {
		total += count
	}
	return total
}

// Server is an S3 server on loopback. Its objects are files.
type Server struct {
	// URL is the proxy's URL, and Direct the URL of the server itself.
	URL, Direct string

	dir string

	mutex     sync.Mutex
	traffic   Traffic
	intercept func(w http.ResponseWriter, r *http.Request) bool
}

// Start runs the server with buckets until the test ends.
func Start(t *testing.T, buckets ...string) *Server {
	t.Helper()
	server := &Server{dir: t.TempDir(), traffic: Traffic{Requests: map[string]int{}}}
	for _, bucket := range buckets {
		require.NoError(t, os.Mkdir(filepath.Join(server.dir, bucket), 0o755))
	}
	address := testtool.S3{Region: Region, AccessKey: AccessKey, SecretKey: SecretKey}.Start(t, server.dir)
	server.Direct = "http://" + address
	server.front(t, address)
	return server
}

// front puts the proxy in front of the server.
func (s *Server) front(t *testing.T, address string) {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: address})
			// The signature covers the host.
			r.Out.Host = r.In.Host
		},
		// The proxy must not add headers, and must allow as many connections as requests.
		Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64},
		// Clients are expected to disconnect.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	front := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mutex.Lock()
		s.traffic.Requests[r.Method]++
		intercept := s.intercept
		s.mutex.Unlock()
		if intercept == nil || !intercept(w, r) {
			proxy.ServeHTTP(w, r)
		}
	})}
	served := make(chan error)
	go func() { served <- front.Serve(countingListener{listener, s}) }()
	t.Cleanup(func() {
		require.NoError(t, front.Close())
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	s.URL = "http://" + listener.Addr().String()
}

// Environment points an AWS SDK at the server, and away from the machine's own configuration.
func (s *Server) Environment() []string {
	none := filepath.Join(s.dir, "none")
	return []string{
		"AWS_ENDPOINT_URL_S3=" + s.URL, "AWS_REGION=" + Region,
		"AWS_ACCESS_KEY_ID=" + AccessKey, "AWS_SECRET_ACCESS_KEY=" + SecretKey,
		"AWS_CONFIG_FILE=" + none, "AWS_SHARED_CREDENTIALS_FILE=" + none, "AWS_EC2_METADATA_DISABLED=true",
	}
}

// Take returns the traffic since the last call.
func (s *Server) Take() Traffic {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	taken := s.traffic
	s.traffic = Traffic{Requests: map[string]int{}}
	return taken
}

// Intercept makes the proxy call intercept for each request. intercept returns true if it has responded itself. nil
// removes it.
func (s *Server) Intercept(intercept func(w http.ResponseWriter, r *http.Request) bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.intercept = intercept
}

// Path returns the file of an object, or the directory of the objects with a prefix.
func (s *Server) Path(bucket, key string) string {
	return filepath.Join(s.dir, bucket, filepath.FromSlash(key))
}

func (s *Server) Put(t *testing.T, bucket, key, content string) {
	t.Helper()
	path := s.Path(bucket, key)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
}

// Objects returns the sizes in bytes of a bucket's objects whose keys begin with prefix.
func (s *Server) Objects(t *testing.T, bucket, prefix string) map[string]int64 {
	t.Helper()
	objects := map[string]int64{}
	root := s.Path(bucket, "")
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		key, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		// The server's temporary files begin with a dot.
		if !strings.HasPrefix(key, ".") && strings.HasPrefix(filepath.ToSlash(key), prefix) {
			objects[filepath.ToSlash(key)] = info.Size()
		}
		return err
	}))
	return objects
}

// Size returns the total size of a bucket's objects in bytes.
func (s *Server) Size(t *testing.T, bucket string) (size int64) {
	t.Helper()
	for _, bytes := range s.Objects(t, bucket, "") {
		size += bytes
	}
	return size
}

// Age makes all objects of a bucket older, so that their ages agree with a simulated clock.
func (s *Server) Age(t *testing.T, bucket string, by time.Duration) {
	t.Helper()
	for key := range s.Objects(t, bucket, "") {
		path := s.Path(bucket, key)
		info, err := os.Stat(path)
		require.NoError(t, err)
		modified := info.ModTime().Add(-by)
		require.NoError(t, os.Chtimes(path, modified, modified))
	}
}

// countingListener counts the bytes of its connections.
type countingListener struct {
	net.Listener
	server *Server
}

func (l countingListener) Accept() (net.Conn, error) {
	connection, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return countingConn{connection, l.server}, nil
}

// countingConn is the proxy's side of a counted connection.
type countingConn struct {
	net.Conn
	server *Server
}

func (c countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.server.mutex.Lock()
	defer c.server.mutex.Unlock()
	c.server.traffic.Sent += int64(n)
	return n, err
}

func (c countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.server.mutex.Lock()
	defer c.server.mutex.Unlock()
	c.server.traffic.Received += int64(n)
	return n, err
}
