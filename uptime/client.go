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
	// requestTimeout is how long one request may take.
	requestTimeout = 20 * time.Second
	// attempts is how often a request is made that fails without a reason that
	// would last, such as a server's error.
	attempts = 5
	// firstPause is the time before the second attempt; each further is twice as long.
	firstPause = 500 * time.Millisecond
	// longestPause bounds what the API may ask for before the next request.
	longestPause = 5 * time.Minute
	// largestAnswer is the most that is read of an answer, in bytes, and mostPages
	// the most pages of a list.
	largestAnswer = 8 << 20
	mostPages     = 500
)

// Account is how an account is reached.
type Account struct {
	// API is the URL of the API, and Key a main API key of the account.
	API string
	Key string
	// Webhook is the URL that is told of outages. It is a secret, too. Optional:
	// without it nobody is told.
	Webhook string
	// Roots is the path of a PEM file with the authorities that the API's
	// certificate may be from. Defaulted: those of the system.
	Roots string
}

// Client makes requests to the API. It is for one goroutine at a time.
type Client struct {
	account Account
	secrets redactor
	http    *http.Client
	// log is told what is done, without secrets.
	log func(string)
	// pause waits, unless the context ends before.
	pause func(context.Context, time.Duration) error
	// notBefore is when the API takes the next request.
	notBefore time.Time
}

// NewClient returns a client that tells log what it does.
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
			return nil, fmt.Errorf("authorities of UptimeRobot's API: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(roots) {
			return nil, fmt.Errorf("authorities of UptimeRobot's API: there is no certificate in %s", account.Roots)
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
			// The key goes where it was meant to go, and nowhere else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		log:   func(told string) { log(secrets.redact(told)) },
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

// call makes a request and reads the answer into a value, unless that is nil. It
// repeats what may be repeated. Its error is an *APIError for a refusal, and a
// *lostError where a creation may have been carried out.
func (c *Client) call(ctx context.Context, method, path string, body, into any) error {
	var encoded []byte
	if body != nil {
		var err error
		if encoded, err = json.Marshal(body); err != nil {
			return fmt.Errorf("encode a request: %w", err)
		}
	}
	wait := firstPause
	for attempt := 1; ; {
		if err := c.takeTurn(ctx); err != nil {
			return err
		}
		err := c.attempt(ctx, method, path, encoded, into)
		switch {
		case err == nil:
			return nil
		case statusOf(err) == http.StatusTooManyRequests:
			// takeTurn waits for as long as the API asks for. That takes no attempt,
			// because nothing failed; the context ends it.
			continue
		case !passing(err) || ctx.Err() != nil:
			return err
		case method == http.MethodPost:
			// Done twice, it would make two.
			return &lostError{err}
		case attempt == attempts:
			return fmt.Errorf("%d attempts failed, the last so: %w", attempts, err)
		}
		c.log(fmt.Sprintf("%s %s: %v; trying again in %s", method, path, err, wait))
		if pauseErr := c.pause(ctx, wait); pauseErr != nil {
			return errors.Join(err, pauseErr)
		}
		attempt++
		wait *= 2
	}
}

// errBroken is an answer that cannot be read, though it says that all went well.
var errBroken = errors.New("the answer is not what the API documents")

// passing says whether the same request may succeed another time.
func passing(err error) bool {
	status := statusOf(err)
	return status == 0 || status >= http.StatusInternalServerError || status == http.StatusRequestTimeout
}

// attempt makes one request.
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
		return err // it names the method and the URL
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, largestAnswer))
	c.heed(response)
	if err != nil {
		return fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	if response.StatusCode < 200 || response.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %w", method, path, newAPIError(response.StatusCode, answer, c.secrets))
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("%s %s: %w: %s", method, path, errBroken, c.secrets.redact(err.Error()))
	}
	return nil
}

// heed remembers when the API takes the next request, if it says so.
func (c *Client) heed(response *http.Response) {
	refused := response.StatusCode == http.StatusTooManyRequests
	if !refused && response.Header.Get("X-RateLimit-Remaining") != "0" {
		return
	}
	length := time.Duration(0)
	for _, header := range []string{"X-RateLimit-Reset", "Retry-After"} {
		if seconds, err := strconv.ParseFloat(response.Header.Get(header), 64); err == nil && seconds >= 0 {
			length = max(length, time.Duration(seconds*float64(time.Second)))
		}
	}
	if length == 0 && refused {
		length = time.Minute // that is how the API counts
	}
	c.notBefore = time.Now().Add(min(length, longestPause))
}

// takeTurn waits until the API takes a request. What would take longer than there
// is time is an error at once.
func (c *Client) takeTurn(ctx context.Context) error {
	length := time.Until(c.notBefore)
	if length <= 0 {
		return ctx.Err()
	}
	length = length.Round(100*time.Millisecond) + 100*time.Millisecond
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < length {
		return fmt.Errorf("UptimeRobot takes no more requests for %s, and there is not that much time: try again after that", length)
	}
	c.log(fmt.Sprintf("UptimeRobot takes no more requests for %s: waiting", length))
	return c.pause(ctx, length)
}

// list reads all pages of a list.
func list[T any](ctx context.Context, c *Client, path string) ([]T, error) {
	var all []T
	cursor := ""
	for range mostPages {
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
		// The cursor alone: the key goes to no other host that a link may name.
		link, err := url.Parse(string(*page.NextLink))
		if err != nil {
			return nil, fmt.Errorf("GET %s: %w: the link to the next page cannot be read", path, errBroken)
		}
		next := link.Query().Get("cursor")
		if next == "" || next == cursor {
			return nil, fmt.Errorf("GET %s: %w: the link to the next page leads to none", path, errBroken)
		}
		cursor = next
	}
	return nil, fmt.Errorf("GET %s: more than %d pages", path, mostPages)
}
