package commandplugin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/retry"
	"golang.org/x/crypto/ssh"
)

// dialer opens a TCP connection: this machine's, or one that goes through a
// bastion host.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// dial logs in to the host. A failed attempt, a refused login included, is
// repeated with the back-off of the real plugin until DialErrorLimit or the end
// of ctx. The caller closes the client, which also closes that of a bastion.
func (c Connection) dial(ctx context.Context) (*ssh.Client, error) {
	if c.Proxy == nil {
		return c.dialThrough(ctx, "Dial", (&net.Dialer{}).DialContext)
	}
	bastion, err := c.Proxy.dialThrough(ctx, "Dial proxy", (&net.Dialer{}).DialContext)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	client, err := c.dialThrough(ctx, "Dial from proxy", bastion.DialContext)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("proxy: %w", err), bastion.Close())
	}
	go func() {
		// Both return the reason of the connection's end, which the user of
		// the client has already seen.
		_ = client.Wait()
		_ = bastion.Close()
	}()
	return client, nil
}

// dialThrough makes attempts until one succeeds; what is said of a failed one
// begins with action.
func (h SSHHost) dialThrough(ctx context.Context, action string, through dialer) (*ssh.Client, error) {
	config, closeAgent, err := h.clientConfig(ctx)
	if err != nil {
		return nil, err
	}
	client, err := h.retry(ctx, action, func() (*ssh.Client, error) { return h.attempt(ctx, through, config) })
	return client, errors.Join(err, closeAgent())
}

// retry repeats attempt.
func (h SSHHost) retry(
	ctx context.Context, action string, attempt func() (*ssh.Client, error),
) (*ssh.Client, error) {
	limit := *h.DialErrorLimit
	shownLimit := strconv.Itoa(limit)
	if limit == unlimitedDialErrors {
		shownLimit = "inf"
	}

	var client *ssh.Client
	var lastErr error
	attempts := 0
	connected, _, err := retry.Until(ctx, retry.Acceptor{Accept: func(int, time.Duration) (bool, any, error) {
		var err error
		client, err = attempt()
		if err == nil {
			return true, nil, nil
		}
		attempts++
		if ctx.Err() == nil || lastErr == nil {
			// What the end of ctx did to the last attempt says nothing of the host.
			lastErr = err
		}
		if limit > unlimitedDialErrors && attempts > limit {
			return true, nil, fmt.Errorf("after %d failed attempts: %w", attempts, lastErr)
		}
		p.GetLogger(ctx).InfoStatusf("%s %d/%s failed: retrying: %s", action, attempts, shownLimit, lastErr)
		return false, nil, nil
	}})
	if err != nil {
		return nil, err
	}
	if !connected {
		return nil, fmt.Errorf("%w after %d failed attempts: %w", ctx.Err(), attempts, lastErr)
	}
	return client, nil
}

// attempt connects and logs in once, within PerDialTimeout and ctx.
func (h SSHHost) attempt(ctx context.Context, through dialer, config *ssh.ClientConfig) (*ssh.Client, error) {
	if timeout := h.perDialTimeout(); timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	conn, err := through(ctx, "tcp", h.address())
	if err != nil {
		return nil, err
	}
	// The handshake knows no context: closing the connection is what ends it.
	closed := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { closed <- conn.Close() })
	client, channels, requests, err := ssh.NewClientConn(conn, h.address(), config)
	if !stop() {
		return nil, errors.Join(fmt.Errorf("log in to %s: %w", h.address(), ctx.Err()), ignoreClosed(<-closed))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("log in to %s: %w", h.address(), err), ignoreClosed(conn.Close()))
	}
	return ssh.NewClient(client, channels, requests), nil
}

// ignoreClosed drops the error of closing what is closed already.
func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
