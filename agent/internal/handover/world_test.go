package handover

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/bucket"
)

// memory is a bucket in memory. Several servers may use it concurrently.
type memory struct {
	mutex    sync.Mutex
	objects  map[string]string
	requests []string
	// failures are the errors of requests, by "GET key" or "PUT key".
	failures map[string]error
}

func newMemory() *memory {
	return &memory{objects: map[string]string{}, failures: map[string]error{}}
}

func (m *memory) Read(
	ctx context.Context, key, knownETag string, limit int64,
) (content []byte, etag string, err error) {
	if err := m.request(ctx, "GET "+key); err != nil {
		return nil, "", err
	}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	text, exists := m.objects[key]
	etag = "etag of " + text
	switch {
	case !exists:
		return nil, "", bucket.ErrNotFound
	case knownETag == etag:
		return nil, "", bucket.ErrNotModified
	case int64(len(text)) > limit:
		return nil, "", bucket.ErrUnreadable
	default:
		return []byte(text), etag, nil
	}
}

func (m *memory) Put(ctx context.Context, key string, content []byte, contentType string) error {
	if contentType != "application/json" {
		return errors.New("the records are JSON")
	}
	if err := m.request(ctx, "PUT "+key); err != nil {
		return err
	}
	m.write(key, string(content))
	return nil
}

// request records a request and returns its error.
func (m *memory) request(ctx context.Context, what string) error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.requests = append(m.requests, what)
	if err := m.failures[what]; err != nil {
		return err
	}
	return ctx.Err()
}

// fail makes a request return an error, until it is called with nil.
func (m *memory) fail(what string, err error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.failures[what] = err
}

func (m *memory) write(key, text string) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.objects[key] = text
}

func (m *memory) delete(key string) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	delete(m.objects, key)
}

// takeRequests returns the requests since the last call.
func (m *memory) takeRequests() []string {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	requests := m.requests
	m.requests = nil
	return requests
}

func writes(requests []string) []string {
	return slices.DeleteFunc(requests, func(request string) bool { return strings.HasPrefix(request, "GET ") })
}

// stored reads a record; a missing record is empty.
func stored[R record](t *testing.T, m *memory, key string) R {
	t.Helper()
	m.mutex.Lock()
	defer m.mutex.Unlock()
	var read R
	if text := m.objects[key]; text != "" {
		require.NoError(t, json.Unmarshal([]byte(text), &read))
	}
	return read
}

// announce writes the request of a server that is in force for this long, and returns its id.
func (m *memory) announce(t *testing.T, server string, window time.Duration) string {
	t.Helper()
	now := time.Now().UTC()
	announcement := HandoverRequest{
		ID:        server + "-" + now.Format(time.RFC3339Nano),
		Server:    server,
		Requested: now,
		Expires:   now.Add(window),
	}
	text, err := json.Marshal(announcement)
	require.NoError(t, err)
	m.write(RequestKey, string(text))
	return announcement.ID
}

// cloud is a fake metadata service.
type cloud struct {
	mutex   sync.Mutex
	address netip.Addr
	err     error
}

func (c *cloud) PublicIPv4(context.Context) (netip.Addr, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.address, c.err
}

func (c *cloud) answer(address netip.Addr, err error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.address, c.err = address, err
}

// collected is Data that records its calls.
type collected struct {
	mutex sync.Mutex
	calls []string
	// release is called by Release, and resume by Resume, unless nil.
	release, resume func(ctx context.Context) error
}

func (c *collected) call(name string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.calls = append(c.calls, name)
}

func (c *collected) taken() []string {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return slices.Clone(c.calls)
}

func (c *collected) onRelease(release func(ctx context.Context) error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.release = release
}

func (c *collected) Release(ctx context.Context) error {
	c.call("release")
	c.mutex.Lock()
	release := c.release
	c.mutex.Unlock()
	if release != nil {
		return release(ctx)
	}
	return nil
}

func (c *collected) onResume(resume func(ctx context.Context) error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.resume = resume
}

func (c *collected) Resume(ctx context.Context) error {
	c.call("resume")
	c.mutex.Lock()
	resume := c.resume
	c.mutex.Unlock()
	if resume != nil {
		return resume(ctx)
	}
	return nil
}

func (c *collected) Restore(context.Context) error {
	c.call("restore")
	return nil
}

// fakeProxy is a Proxy that records its states.
type fakeProxy struct {
	mutex  sync.Mutex
	state  ProxyState
	states []ProxyState
	err    error
}

func (f *fakeProxy) State() (ProxyState, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.state, nil
}

func (f *fakeProxy) Set(state ProxyState) error {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.err != nil {
		return f.err
	}
	f.state = state
	f.states = append(f.states, state)
	return nil
}

// current returns the state, or "" before the first one.
func (f *fakeProxy) current() ProxyState {
	state, _ := f.State()
	return state
}

// taken returns the states since the last call.
func (f *fakeProxy) taken() []ProxyState {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	states := f.states
	f.states = nil
	return states
}

// fail makes switching to a state fail, until it is called with nil.
func (f *fakeProxy) fail(err error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.err = err
}

// certificates are the certificates of a server, of which these are missing.
type certificates struct {
	mutex   sync.Mutex
	missing []string
	err     error
	checks  int
}

func (c *certificates) Missing() ([]string, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.checks++
	return c.missing, c.err
}

func (c *certificates) miss(names ...string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.missing = names
}

var (
	vip          = netip.MustParseAddr("198.51.100.7")
	otherAddress = netip.MustParseAddr("203.0.113.20")
	noAddress    = netip.Addr{}
)

// server is a server named i-old that runs `agent watch` in a synctest bubble. It checks in each even second,
// beginning with 0.
type server struct {
	t            *testing.T
	bucket       *memory
	cloud        *cloud
	data         *collected
	proxy        *fakeProxy
	certificates *certificates
	log          *bytes.Buffer
	watcher      *Watcher
	holder       string
	stop         func()
	// transitions lists the transitions as "from event to", in order.
	transitions []string
}

// start starts a server with this public address, after prepare has modified it.
func start(t *testing.T, address netip.Addr, prepare ...func(*server)) *server {
	t.Helper()
	s := &server{
		t:            t,
		bucket:       newMemory(),
		cloud:        &cloud{address: address},
		data:         &collected{},
		proxy:        &fakeProxy{},
		certificates: &certificates{},
		log:          &bytes.Buffer{},
		holder:       filepath.Join(t.TempDir(), "holder"),
		stop:         func() {},
	}
	for _, change := range prepare {
		change(s)
	}
	s.restart()
	return s
}

// restart stops the watching process and starts another one.
func (s *server) restart() {
	s.t.Helper()
	s.stop()
	s.watcher = &Watcher{
		Server: "i-old", VIP: vip, Store: s.bucket, Metadata: s.cloud, Data: s.data,
		Proxy: s.proxy, Certificates: s.certificates, HolderFile: s.holder,
		Poll: 2 * time.Second, Drain: 3 * time.Second,
		Log: slog.New(journal{server: s, Handler: slog.NewTextHandler(s.log, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, attr slog.Attr) slog.Attr {
				if attr.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return attr
			},
		})}),
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); s.watcher.Run(ctx) }()
	s.stop = func() { cancel(); <-ended }
	synctest.Wait()
}

// journal is a log that separates transitions from the lines for an operator.
type journal struct {
	slog.Handler
	server *server
}

func (journal) Enabled(context.Context, slog.Level) bool { return true }

func (j journal) Handle(ctx context.Context, record slog.Record) error {
	if record.Level >= slog.LevelInfo {
		return j.Handler.Handle(ctx, record)
	}
	var words []string
	record.Attrs(func(attr slog.Attr) bool {
		words = append(words, attr.Value.String())
		return true
	})
	j.server.transitions = append(j.server.transitions, strings.Join(words, " "))
	return nil
}

// advance lets time pass.
func advance(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// takeLog returns the lines that were logged since the last call.
func (s *server) takeLog() string {
	text := s.log.String()
	s.log.Reset()
	return text
}

func fileExists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// leaveDraining prepares a server whose agent ended while it was draining.
func leaveDraining(s *server) {
	s.proxy.state = Draining
}
