package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/net/http2"
)

// client sends a visitor's requests and counts the events of its connections.
type client struct {
	http.Client
	transport transport

	// reconnects counts connections that replaced a connection whose end the site had not announced.
	reconnects atomic.Int64
	// repeated counts requests that were retried on a new connection because the first connection was cut before a
	// response began. Browsers do the same, and their users do not notice.
	repeated atomic.Int64
	// resets counts connections that were reset.
	resets atomic.Int64

	mutex     sync.Mutex
	connected bool
	// announced reports whether the site has announced the connection's end.
	announced bool
}

// transport is an http.Transport or an http2.Transport.
type transport interface {
	http.RoundTripper
	CloseIdleConnections()
}

// newClient returns a client that bypasses proxies, follows no redirects, and requests uncompressed content. With
// keep, it keeps a single connection, which uses HTTP/2 if the site has HTTPS.
func newClient(v Visitors, keep bool) *client {
	c := &client{}
	switch {
	case keep && v.secure():
		//nolint:staticcheck // http.Transport accepts no dialer that returns an HTTP/2 connection.
		c.transport = &http2.Transport{
			DialTLSContext: func(ctx context.Context, network, address string, config *tls.Config) (net.Conn, error) {
				return c.dialHTTP2(ctx, network, address, config)
			},
			TLSClientConfig:    &tls.Config{RootCAs: v.Roots},
			DisableCompression: true,
		}
	default:
		plain := &http.Transport{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				return c.dial(ctx, keep, network, address)
			},
			TLSClientConfig:    &tls.Config{RootCAs: v.Roots},
			DisableCompression: true,
			DisableKeepAlives:  !keep,
		}
		if keep {
			plain.MaxConnsPerHost = 1
		}
		c.transport = plain
	}
	c.Client = http.Client{
		Transport:     c,
		Timeout:       v.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// RoundTrip implements http.RoundTripper.
func (c *client) RoundTrip(request *http.Request) (*http.Response, error) {
	var attempts atomic.Int64
	ctx := httptrace.WithClientTrace(request.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { attempts.Add(1) },
	})
	response, err := c.transport.RoundTrip(request.WithContext(ctx))
	if retries := attempts.Load() - 1; retries > 0 {
		c.repeated.Add(retries)
	}
	if err == nil && response.Close {
		c.announce()
	}
	return response, err
}

// announce records that the site announced the connection's end.
func (c *client) announce() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.announced = true
}

// dialHTTP2 connects and detects when the site announces the connection's end.
func (c *client) dialHTTP2(ctx context.Context, network, address string, config *tls.Config) (net.Conn, error) {
	plain, err := c.dial(ctx, true, network, address)
	if err != nil {
		return nil, err
	}
	secured := tls.Client(plain, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		plain.Close()
		return nil, err
	}
	if got := secured.ConnectionState().NegotiatedProtocol; got != http2.NextProtoTLS {
		secured.Close()
		return nil, fmt.Errorf("%s speaks %q, not HTTP/2", address, got)
	}
	return newFrames(secured, c.announce), nil
}

func (c *client) dial(ctx context.Context, keep bool, network, address string) (net.Conn, error) {
	var dialer net.Dialer
	dialed, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if keep && c.connected && !c.announced {
		c.reconnects.Add(1)
	}
	c.connected, c.announced = true, false
	return &conn{Conn: dialed, resets: &c.resets}, nil
}

// get sends a single request, outside of any schedule.
func (c *client) get(ctx context.Context, address string) (status int, body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, nil, fmt.Errorf("cannot get %s: %w", address, err)
	}
	response, err := c.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	if err != nil {
		return 0, nil, fmt.Errorf("cannot get %s: %w", address, err)
	}
	return response.StatusCode, body, nil
}

// conn is a connection that counts its reset.
type conn struct {
	net.Conn
	once   sync.Once
	resets *atomic.Int64
}

func (c *conn) Read(buffer []byte) (int, error) {
	n, err := c.Conn.Read(buffer)
	c.note(err)
	return n, err
}

func (c *conn) Write(content []byte) (int, error) {
	n, err := c.Conn.Write(content)
	c.note(err)
	return n, err
}

func (c *conn) note(err error) {
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		c.once.Do(func() { c.resets.Add(1) })
	}
}
