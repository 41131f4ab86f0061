package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// client is how one visitor asks, and what befell its connections.
type client struct {
	http.Client
	transport *http.Transport

	// reconnects are connections that replaced one which the site had not
	// announced to close.
	reconnects atomic.Int64
	// repeated are requests that were sent again, on a new connection, because
	// the one they were sent on had been cut before an answer began. Browsers
	// do so, too, and their visitors do not notice.
	repeated atomic.Int64
	// resets are connections that were reset.
	resets atomic.Int64

	mutex     sync.Mutex
	connected bool
	// announced is that the site said it would close the connection.
	announced bool
}

// newClient asks past any proxy, without following redirects, and for the bytes
// as they are. keep keeps a single connection.
func newClient(timeout time.Duration, keep bool) *client {
	c := &client{}
	c.transport = &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return c.dial(ctx, keep, network, address)
		},
		DisableCompression: true,
		DisableKeepAlives:  !keep,
	}
	if keep {
		c.transport.MaxConnsPerHost = 1
	}
	c.Client = http.Client{
		Transport:     c,
		Timeout:       timeout,
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
	if again := attempts.Load() - 1; again > 0 {
		c.repeated.Add(again)
	}
	if err == nil && response.Close {
		c.mutex.Lock()
		c.announced = true
		c.mutex.Unlock()
	}
	return response, err
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

// get asks once, outside of any schedule.
func (c *client) get(ctx context.Context, address string) (status int, body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, nil, fmt.Errorf("get %s: %w", address, err)
	}
	response, err := c.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	if err != nil {
		return 0, nil, fmt.Errorf("get %s: %w", address, err)
	}
	return response.StatusCode, body, nil
}

// conn counts that it was reset.
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
