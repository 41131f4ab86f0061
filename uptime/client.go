package uptime

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// requestTimeout bounds one request.
	requestTimeout = 20 * time.Second
	// attempts bounds the attempts at a request that fails with a retryable error, such as a server error.
	attempts = 5
	// firstPause is the pause before the second attempt. Each subsequent pause is twice as long.
	firstPause = 500 * time.Millisecond
	// maxPause bounds the time that the API may demand before the next request.
	maxPause = 5 * time.Minute
	// maxResponse is how many bytes of a response are read, maxPages how many pages of a list.
	maxResponse = 8 << 20
	maxPages    = 500
)

// Account is an account at UptimeRobot.
type Account struct {
	// API is the URL of the API, and Key a main API key of the account.
	API string
	Key string
	// Webhook is the URL that is notified of outages. Like Key, it is a secret. Optional: without it, no alert is sent.
	Webhook string
	// Roots is the path of a PEM file with the authorities of the API's certificate. Default: the system's.
	Roots string
}

// Client makes requests to the API. It is not safe for concurrent use.
type Client struct {
	account Account
	secrets redactor
	http    *http.Client
	// log logs a message after redacting secrets.
	log func(string)
	// pause waits for a duration or until the context ends.
	pause func(context.Context, time.Duration) error
	// notBefore is when the rate limit allows the next request.
	notBefore time.Time
}

// NewClient returns a client that logs its changes and retries.
func NewClient(account Account, log func(string)) (*Client, error) {
	address, err := url.Parse(account.API)
	if err != nil || address.Host == "" || (address.Scheme != "https" && address.Scheme != "http") {
		return nil, fmt.Errorf("%q is not the URL of UptimeRobot's API; write one such as %s", account.API, API)
	}
	account.API = strings.TrimRight(account.API, "/")
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if account.Roots != "" {
		roots, err := os.ReadFile(account.Roots)
		if err != nil {
			return nil, fmt.Errorf("cannot read the authorities of UptimeRobot's API: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(roots) {
			return nil, fmt.Errorf("cannot use the authorities of UptimeRobot's API: there is no certificate in %s",
				account.Roots)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	secrets := newRedactor(account.Key, account.Webhook)
	return &Client{
		account: account,
		secrets: secrets,
		http: &http.Client{
			Transport: transport,
			Timeout:   requestTimeout,
			// A redirect must not send the key to another host.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		log:   func(message string) { log(secrets.redact(message)) },
		pause: pause,
	}, nil
}

func pause(ctx context.Context, length time.Duration) error {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// call sends a request and decodes the response into a value, unless that is nil. It retries requests that are safe to
// repeat. The error is an *APIError if the API rejected the request, and a *lostError if a creation may have succeeded.
func (c *Client) call(ctx context.Context, method, path string, body, into any) error {
	var encoded []byte
	if body != nil {
		var err error
		if encoded, err = json.Marshal(body); err != nil {
			return fmt.Errorf("cannot encode a request: %w", err)
		}
	}
	wait := firstPause
	for attempt := 1; ; {
		if err := c.awaitRateLimit(ctx); err != nil {
			return err
		}
		err := c.attempt(ctx, method, path, encoded, into)
		switch {
		case err == nil:
			return nil
		case statusOf(err) == http.StatusTooManyRequests:
			// awaitRateLimit waits before the next attempt. This one does not count, because nothing failed; the context bounds
			// the wait.
			continue
		case !retryable(err) || ctx.Err() != nil:
			return err
		case method == http.MethodPost:
			// A second request could create a second resource.
			return &lostError{err}
		case attempt == attempts:
			return fmt.Errorf("%d attempts failed, the last with: %w", attempts, err)
		}
		c.log(fmt.Sprintf("%s %s: %v; retrying in %s", method, path, err, wait))
		if pauseErr := c.pause(ctx, wait); pauseErr != nil {
			return errors.Join(err, pauseErr)
		}
		attempt++
		wait *= 2
	}
}

// errBroken is the error of a successful response that cannot be decoded.
var errBroken = errors.New("the response is not what the API documents")

// retryable reports whether the same request may succeed later.
func retryable(err error) bool {
	status := statusOf(err)
	return status == 0 || status >= http.StatusInternalServerError || status == http.StatusRequestTimeout
}

func (c *Client) attempt(ctx context.Context, method, path string, body []byte, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, c.account.API+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	request.Header.Set("Authorization", "Bearer "+c.account.Key)
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err // already names the method and the URL
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxResponse))
	c.recordRateLimit(response)
	if err != nil {
		return fmt.Errorf("%s %s: cannot read the response: %w", method, path, err)
	}
	if response.StatusCode < 200 || response.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %w", method, path, newAPIError(response.StatusCode, content, c.secrets))
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(content, into); err != nil {
		return fmt.Errorf("%s %s: %w: %s", method, path, errBroken, c.secrets.redact(err.Error()))
	}
	return nil
}

// recordRateLimit records when the API will accept the next request.
func (c *Client) recordRateLimit(response *http.Response) {
	limited := response.StatusCode == http.StatusTooManyRequests
	if !limited && response.Header.Get("X-RateLimit-Remaining") != "0" {
		return
	}
	length := time.Duration(0)
	for _, header := range []string{"X-RateLimit-Reset", "Retry-After"} {
		if seconds, err := strconv.ParseFloat(response.Header.Get(header), 64); err == nil && seconds >= 0 {
			length = max(length, time.Duration(seconds*float64(time.Second)))
		}
	}
	if length == 0 && limited {
		length = time.Minute // the period of the API's limits
	}
	c.notBefore = time.Now().Add(min(length, maxPause))
}

// awaitRateLimit waits until the API accepts a request. If that would exceed the context's deadline, it fails
// immediately.
func (c *Client) awaitRateLimit(ctx context.Context) error {
	length := time.Until(c.notBefore)
	if length <= 0 {
		return ctx.Err()
	}
	length = length.Round(100*time.Millisecond) + 100*time.Millisecond
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < length {
		return fmt.Errorf("UptimeRobot's rate limit is exhausted for %s, which is longer than the time that is left: retry "+
			"later", length)
	}
	c.log(fmt.Sprintf("UptimeRobot's rate limit is exhausted for %s: waiting", length))
	return c.pause(ctx, length)
}

// list reads all pages of a list.
func list[T any](ctx context.Context, c *Client, path string) ([]T, error) {
	var all []T
	cursor := ""
	for range maxPages {
		query := path
		if cursor != "" {
			query += "?" + url.Values{"cursor": {cursor}}.Encode()
		}
		var page struct {
			Data     []T   `json:"data"`
			NextLink *text `json:"nextLink"`
		}
		if err := c.call(ctx, http.MethodGet, query, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Data...)
		if page.NextLink == nil || *page.NextLink == "" {
			return all, nil
		}
		// Use only the cursor: the key must not be sent to another host that a link might name.
		link, err := url.Parse(string(*page.NextLink))
		if err != nil {
			return nil, fmt.Errorf("GET %s: %w: cannot read the link to the next page", path, errBroken)
		}
		next := link.Query().Get("cursor")
		if next == "" || next == cursor {
			return nil, fmt.Errorf("GET %s: %w: the link to the next page has no new cursor", path, errBroken)
		}
		cursor = next
	}
	return nil, fmt.Errorf("GET %s: more than %d pages", path, maxPages)
}
