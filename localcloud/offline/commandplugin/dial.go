package commandplugin

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/retry"
	"golang.org/x/crypto/ssh"
)

// dial logs in to the host, directly or through the bastion host.
//
// As in the real plugin, the end of ctx is seen between two attempts only, and
// PerDialTimeout bounds the TCP connect only: a host that accepts a connection
// and says nothing is waited for without end. The bastion's connection stays
// open until the plugin ends.
func (c Connection) dial(ctx context.Context) (*ssh.Client, error) {
	config, err := c.clientConfig()
	if err != nil {
		return nil, err
	}
	if c.Proxy == nil {
		return repeat(ctx, "Dial", c.dialErrorLimit(), func() (*ssh.Client, error) {
			return ssh.Dial("tcp", c.address(), config)
		})
	}
	client, err := c.dialThroughProxy(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	return client, nil
}

// dialThroughProxy logs in to the bastion host and from there to the host. A
// refused login to the host is repeated over the connection that it ended, so
// it never succeeds: a defect of the real plugin.
func (c Connection) dialThroughProxy(ctx context.Context, config *ssh.ClientConfig) (*ssh.Client, error) {
	proxyConfig, err := c.Proxy.clientConfig()
	if err != nil {
		return nil, err
	}
	bastion, err := repeat(ctx, "Dial proxy", c.Proxy.dialErrorLimit(), func() (*ssh.Client, error) {
		return ssh.Dial("tcp", c.Proxy.address(), proxyConfig)
	})
	if err != nil {
		return nil, err
	}
	conn, err := repeat(ctx, "Dial from proxy", c.dialErrorLimit(), func() (net.Conn, error) {
		return bastion.Dial("tcp", c.address())
	})
	if err != nil {
		return nil, err
	}
	return repeat(ctx, "Dial", c.dialErrorLimit(), func() (*ssh.Client, error) {
		client, channels, requests, err := ssh.NewClientConn(conn, c.address(), config)
		if err != nil {
			return nil, err
		}
		return ssh.NewClient(client, channels, requests), nil
	})
}

// repeat makes attempts, with the back-off of the real plugin, until one
// succeeds, more than limit have failed or ctx ends. The engine shows each
// failed one, which action begins, without its reason; the reason of the last
// is in the error of a reached limit and nowhere else.
func repeat[T any](ctx context.Context, action string, limit int, attempt func() (T, error)) (T, error) {
	var none, result T
	shownLimit := strconv.Itoa(limit)
	if limit == unlimitedDialErrors {
		shownLimit = "inf"
	}
	connected, _, err := retry.Until(ctx, retry.Acceptor{Accept: func(before int, _ time.Duration) (bool, any, error) {
		var err error
		if result, err = attempt(); err == nil {
			return true, nil, nil
		}
		failed := before + 1
		if limit > unlimitedDialErrors && failed > limit {
			return true, nil, fmt.Errorf("after %d failed attempts: %w", before, err)
		}
		p.GetLogger(ctx).InfoStatusf("%s %d/%s failed: retrying", action, failed, shownLimit)
		return false, nil, nil
	}})
	if err != nil {
		return none, err
	}
	if !connected {
		return none, ctx.Err()
	}
	return result, nil
}
