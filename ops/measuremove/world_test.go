package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	serverOld = "i-old"
	serverNew = "i-new"
	// nowhere is a route on which packets get lost, refusing a route to a machine without a server.
	nowhere  = ""
	refusing = "refusing"
)

// at returns a time relative to the beginning, rounded to a millisecond.
func at(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second)).Round(time.Millisecond)
}

// world is a network in virtual time with two servers that respond after a few milliseconds. A request is sent every
// 100 ms, and two visitors keep a connection.
type world struct {
	settings
	t     *testing.T
	began time.Time
	// route returns the destination of new connections at a time.
	route func(now time.Duration) string
	// latency is how long a server takes to respond.
	latency time.Duration
	// drains is when the servers begin to ask visitors to reconnect; 0 means never.
	drains time.Duration

	servers map[string]listener
	mutex   sync.Mutex
	links   map[string][]*link
}

func newWorld(t *testing.T, certificate tls.Certificate, roots *x509.CertPool) *world {
	t.Helper()
	w := &world{t: t, began: time.Now(), latency: 5 * time.Millisecond, links: map[string][]*link{},
		servers: map[string]listener{serverOld: make(listener), serverNew: make(listener)}}
	w.settings = settings{
		site: site{name: "example.com", dial: w.dial, roots: roots}, old: serverOld,
		interval: 100 * time.Millisecond, timeout: 10 * time.Second, maxInFlight: 1000,
		visitors: 2, keptInterval: time.Second, after: 5 * time.Second, limit: 10 * time.Minute,
		log: func(string) {},
	}
	for name, accepted := range w.servers {
		server := &http.Server{Handler: w.handler(name), ErrorLog: log.New(io.Discard, "", 0)}
		var serving sync.WaitGroup
		serving.Go(func() {
			err := server.Serve(tls.NewListener(accepted, &tls.Config{Certificates: []tls.Certificate{certificate}}))
			require.ErrorIs(t, err, http.ErrServerClosed)
		})
		t.Cleanup(func() {
			require.NoError(t, server.Close())
			serving.Wait()
		})
	}
	return w
}

// inWorld runs a test in virtual time.
func inWorld(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	// The certificate is valid from 1970; virtual time begins in 2000.
	authority := httptest.NewTLSServer(http.NotFoundHandler())
	defer authority.Close()
	roots := x509.NewCertPool()
	roots.AddCert(authority.Certificate())
	synctest.Test(t, func(t *testing.T) { test(t, newWorld(t, authority.TLS.Certificates[0], roots)) })
}

func (w *world) now() time.Duration { return time.Since(w.began) }

func (w *world) handler(server string) http.Handler {
	return http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		time.Sleep(w.latency) // in virtual time
		if r.URL.Path != serverPath {
			http.NotFound(answer, r)
			return
		}
		if w.drains > 0 && w.now() >= w.drains {
			answer.Header().Set("Connection", "close")
		}
		fmt.Fprintf(answer, `{"server":%q}`, server)
	})
}

// dial connects like TCP: the first packet is retransmitted after 1, 3 and 7 s.
func (w *world) dial(ctx context.Context) (net.Conn, error) {
	for pause := time.Second; ; pause *= 2 {
		switch server := w.route(w.now()); server {
		case nowhere:
		case refusing:
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		default:
			client, accepted := net.Pipe()
			w.servers[server] <- accepted
			l := &link{Conn: client}
			w.mutex.Lock()
			defer w.mutex.Unlock()
			w.links[server] = append(w.links[server], l)
			return l, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// cut resets the connections to a server at a time.
func (w *world) cut(server string, when time.Duration) {
	w.each(server, when, func(l *link) {
		l.reset.Store(true)
		l.Close()
	})
}

// silence drops data sent to a server, from a time on, on connections that are open then.
func (w *world) silence(server string, when time.Duration) {
	w.each(server, when, func(l *link) { l.silent.Store(true) })
}

func (w *world) each(server string, when time.Duration, change func(*link)) {
	timer := time.AfterFunc(when-w.now(), func() {
		w.mutex.Lock()
		defer w.mutex.Unlock()
		for _, l := range w.links[server] {
			change(l)
		}
	})
	w.t.Cleanup(func() { timer.Stop() })
}

// measure runs a measurement and requires that each request is counted exactly once.
func (w *world) measure() report {
	w.t.Helper()
	r := newReport("production", "192.0.2.1", measure(w.t.Context(), w.settings))
	requireAccounted(w.t, r)
	return r
}

func requireAccounted(t *testing.T, r report) {
	t.Helper()
	for i, request := range r.Fresh {
		require.Equal(t, i+1, request.Number)
		require.NotEqual(t, request.Server == "", request.Failure == "", "request %d", request.Number)
		require.Equal(t, request.Failure == "", request.FailedIn == "", "request %d", request.Number)
		require.LessOrEqual(t, request.Due, request.Sent)
		require.LessOrEqual(t, request.Sent, request.Ended)
	}
	sent := 0
	for _, p := range r.Phases {
		sent += p.Sent
		require.Equal(t, p.Sent, p.Old+p.New+p.Others+p.Refused+p.TimedOut+p.Reset+p.Failed, p.Name)
	}
	require.Equal(t, len(r.Fresh), sent)
	for i, k := range r.Kept {
		answered := 0
		for _, count := range k.Answers {
			answered += count
		}
		require.LessOrEqual(t, answered, k.Asked)
		require.LessOrEqual(t, k.Asked, answered+1)
		require.NotEmpty(t, k.EndedBy)
		require.LessOrEqual(t, k.Opened, k.Ended)
		if i > 0 && r.Kept[i-1].Visitor == k.Visitor {
			require.LessOrEqual(t, r.Kept[i-1].Ended, k.Opened, "a visitor has one connection at a time")
		}
	}
}

// phase returns the phase with a name, or an empty phase.
func (r report) phase(name string) phase {
	for _, p := range r.Phases {
		if p.Name == name {
			return p
		}
	}
	return phase{}
}

// ofVisitor returns the connections of a visitor.
func (r report) ofVisitor(visitor int) []keptConnection {
	var found []keptConnection
	for _, k := range r.Kept {
		if k.Visitor == visitor {
			found = append(found, k)
		}
	}
	return found
}

// link is a client's end of a connection.
type link struct {
	net.Conn
	reset, silent atomic.Bool
}

func (l *link) Read(buffer []byte) (int, error) {
	n, err := l.Conn.Read(buffer)
	return n, l.judge(err)
}

func (l *link) Write(content []byte) (int, error) {
	if l.silent.Load() {
		return len(content), nil
	}
	n, err := l.Conn.Write(content)
	return n, l.judge(err)
}

func (l *link) judge(err error) error {
	if err != nil && l.reset.Load() {
		return errors.Join(syscall.ECONNRESET, err)
	}
	return err
}

// listener accepts the connections that are sent to the channel.
type listener chan net.Conn

func (l listener) Accept() (net.Conn, error) {
	accepted, open := <-l
	if !open {
		return nil, net.ErrClosed
	}
	return accepted, nil
}

func (l listener) Close() error {
	close(l)
	return nil
}

func (l listener) Addr() net.Addr { return &net.TCPAddr{} }
