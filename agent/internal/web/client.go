// Package web sends requests to the site's web server on this machine, through Traefik, like a
// visitor.
package web

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// ParallelRequests is how many connections stay open for concurrent requests.
	ParallelRequests = 8
	// HeaderTimeout bounds the wait for the response headers.
	HeaderTimeout = 10 * time.Second
	// requestTimeout bounds one request, its body included. The server is this machine.
	requestTimeout = time.Minute
	// ReleasePath is where the web server names the release that it serves.
	ReleasePath = "/.well-known/release"
	// releaseBytes is how many bytes of the response at ReleasePath are read at most.
	releaseBytes = 4 << 10
)

type Client struct {
	address   url.URL
	host      string
	userAgent string
	http      http.Client
}

// NewClient returns a client for the site named host at an address without a path, such as
// https://127.0.0.1. The user agent marks the requests in Traefik's log.
//
// The client bypasses proxies, requests uncompressed bytes, and does not follow redirects, because a redirect is
// not the requested file. It accepts any certificate, because a stack's first server has none yet.
func NewClient(address *url.URL, host, userAgent string) *Client {
	return &Client{
		address:   url.URL{Scheme: address.Scheme, Host: address.Host},
		host:      host,
		userAgent: userAgent,
		http: http.Client{
			Timeout: requestTimeout,
			Transport: &http.Transport{
				TLSClientConfig:       &tls.Config{ServerName: host, InsecureSkipVerify: true},
				DisableCompression:    true,
				MaxIdleConnsPerHost:   ParallelRequests,
				ResponseHeaderTimeout: HeaderTimeout,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// ParseAddress parses the address of a web server, which has no path.
func ParseAddress(text string) (*url.URL, error) {
	address, err := url.Parse(text)
	if err != nil || address.Scheme != "https" || address.Host == "" || strings.Trim(address.Path, "/") != "" {
		return nil, fmt.Errorf("%q: give an address without a path, such as https://127.0.0.1", text)
	}
	return address, nil
}

// Get requests a path, in unescaped form. The caller must close the body of the response.
func (c *Client) Get(ctx context.Context, path string) (*http.Response, error) {
	address := c.address
	address.Path = path
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return nil, err
	}
	request.Host = c.host
	request.Header.Set("User-Agent", c.userAgent)
	response, err := c.http.Do(request)
	// Omit the method and address that url.Error adds.
	var inner *url.Error
	if errors.As(err, &inner) {
		err = inner.Err
	}
	return response, err
}

// Release returns the id of the release that the web server names. If nothing listens, the error is an
// ECONNREFUSED.
func (c *Client) Release(ctx context.Context) (id string, err error) {
	response, err := c.Get(ctx, ReleasePath)
	if err != nil {
		return "", fmt.Errorf("%s: %w", ReleasePath, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: status %s", ReleasePath, response.Status)
	}
	var named struct {
		Release string `json:"release"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, releaseBytes)).Decode(&named); err != nil {
		return "", fmt.Errorf("%s: %w", ReleasePath, err)
	}
	return named.Release, nil
}
