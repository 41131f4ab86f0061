// Package awsclient sends signed requests to AWS services. It is for programs that an update compiles and runs: the
// AWS SDK would take minutes to compile.
package awsclient

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

const (
	// MaxRequests is how many requests a client sends concurrently.
	MaxRequests = 64
	// attempts is the maximum number of attempts at a request.
	attempts = 6
	// firstPause is the maximum pause before the second attempt. It doubles with each attempt.
	firstPause = 200 * time.Millisecond
	// responseTimeout is how long a service may take to respond after a request has been sent completely.
	responseTimeout = time.Minute
)

// Client is a client of AWS services in one region.
type Client struct {
	region      string
	endpoints   map[string]*url.URL
	credentials credentials
	client      *http.Client
	now         func() time.Time
}

// New returns a client that is configured by the environment variables of AWS's own tools: AWS_ACCESS_KEY_ID and
// related ones, AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, and AWS_CA_BUNDLE. If the environment has no keys, it gets
// them from the AWS CLI, which supports profiles and single sign-on.
func New(ctx context.Context, region string, getenv func(string) string) (*Client, error) {
	c := &Client{region: region, endpoints: map[string]*url.URL{}, now: time.Now}
	for _, service := range []string{"S3", "EC2"} {
		for _, variable := range []string{"AWS_ENDPOINT_URL_" + service, "AWS_ENDPOINT_URL"} {
			value := getenv(variable)
			if value == "" {
				continue
			}
			endpoint, err := url.Parse(value)
			if err != nil || endpoint.Host == "" {
				return nil, fmt.Errorf("cannot use %s=%s: expected a URL such as https://aws.example.org", variable, value)
			}
			c.endpoints[service] = endpoint
			break
		}
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		MaxIdleConnsPerHost:   MaxRequests,
		MaxConnsPerHost:       MaxRequests,
		IdleConnTimeout:       time.Minute,
		ResponseHeaderTimeout: responseTimeout,
		DisableCompression:    true,
	}
	if file := getenv("AWS_CA_BUNDLE"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("cannot read AWS_CA_BUNDLE: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("cannot read AWS_CA_BUNDLE: %s has no certificate", file)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	c.client = &http.Client{Transport: transport}
	var err error
	c.credentials, err = findCredentials(ctx, getenv)
	return c, err
}

// credentials sign requests.
type credentials struct {
	ID     string `json:"AccessKeyId"`
	Secret string `json:"SecretAccessKey"`
	Token  string `json:"SessionToken"`
}

func findCredentials(ctx context.Context, getenv func(string) string) (credentials, error) {
	found := credentials{getenv("AWS_ACCESS_KEY_ID"), getenv("AWS_SECRET_ACCESS_KEY"), getenv("AWS_SESSION_TOKEN")}
	if found.ID != "" && found.Secret != "" {
		return found, nil
	}
	output, err := exec.CommandContext(ctx, "aws", "configure", "export-credentials", "--format", "process").Output()
	if err == nil {
		err = json.Unmarshal(output, &found)
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("aws configure export-credentials: %s", bytes.TrimSpace(exit.Stderr))
	}
	if err == nil && (found.ID == "" || found.Secret == "") {
		err = errors.New("aws configure export-credentials printed no credentials")
	}
	if err != nil {
		return credentials{}, fmt.Errorf(
			"cannot find AWS credentials: %w; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in with the AWS CLI", err)
	}
	return found, nil
}

// Request is a request to a service.
type Request struct {
	// Service is the name of the service in signatures, such as s3.
	Service             string
	Method, ContentType string
	URL                 *url.URL
	// Digest is the SHA-256 of the body in hexadecimal digits, or "" if there is no body.
	Digest string
	// Open returns the body and its size in bytes. It is called for each attempt. Optional.
	Open func() (io.ReadCloser, int64, error)
}

// Do sends a request until it succeeds or fails permanently, at most 6 times, and returns the body of the response. Any
// status except 2xx is an error, with AWS's code and message.
func (c *Client) Do(ctx context.Context, r Request) ([]byte, error) {
	pause := firstPause
	for attempt := 1; ; attempt++ {
		body, err := c.send(ctx, r)
		if temporary := (*temporaryError)(nil); err == nil || !errors.As(err, &temporary) || attempt == attempts {
			return body, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(rand.N(pause)):
		}
		pause *= 2
	}
}

// temporaryError is an error after which the same request may succeed later.
type temporaryError struct{ error }

func (e *temporaryError) Unwrap() error { return e.error }

// send sends a request once.
func (c *Client) send(ctx context.Context, r Request) ([]byte, error) {
	var content io.ReadCloser
	var size int64
	if r.Open != nil {
		var err error
		if content, size, err = r.Open(); err != nil {
			return nil, err
		}
		defer content.Close()
	}
	sent, err := http.NewRequestWithContext(ctx, r.Method, r.URL.String(), nil)
	if err != nil {
		return nil, err
	}
	sent.URL = r.URL
	if size > 0 {
		sent.Body, sent.ContentLength = content, size
	} else if r.Method == http.MethodPut {
		sent.Body = http.NoBody
	}
	if r.ContentType != "" {
		sent.Header.Set("Content-Type", r.ContentType)
	}
	digest := r.Digest
	if digest == "" {
		empty := sha256.Sum256(nil)
		digest = hex.EncodeToString(empty[:])
	}
	c.sign(sent, r.Service, digest)
	response, err := c.client.Do(sent)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if untrusted := (*tls.CertificateVerificationError)(nil); errors.As(err, &untrusted) {
			return nil, err
		}
		return nil, &temporaryError{err}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, &temporaryError{err}
	}
	if response.StatusCode/100 == 2 {
		return text, nil
	}
	// S3 has the code and the message at the top level, EC2's query protocol has them below Errors.
	var described struct {
		Code, Message string
		Errors        struct {
			Error struct{ Code, Message string }
		}
	}
	_ = xml.Unmarshal(text, &described) // some responses have no body
	code := cmp.Or(described.Code, described.Errors.Error.Code)
	message := cmp.Or(described.Message, described.Errors.Error.Message)
	err = errors.New(strings.TrimSpace(fmt.Sprintf("%s %s %s", response.Status, code, message)))
	if response.StatusCode >= 500 || response.StatusCode == http.StatusTooManyRequests ||
		slices.Contains([]string{"RequestTimeout", "RequestLimitExceeded"}, code) {
		return nil, &temporaryError{err}
	}
	return nil, err
}

// sign adds the headers of Signature Version 4. It adds no ACL, which S3 rejects for buckets with enforced ownership.
func (c *Client) sign(r *http.Request, service, digest string) {
	at := c.now().UTC()
	date, moment := at.Format("20060102"), at.Format("20060102T150405Z")
	names := []string{"host", "x-amz-content-sha256", "x-amz-date"}
	r.Header.Set("X-Amz-Content-Sha256", digest)
	r.Header.Set("X-Amz-Date", moment)
	if c.credentials.Token != "" {
		r.Header.Set("X-Amz-Security-Token", c.credentials.Token)
		names = append(names, "x-amz-security-token")
	}
	var headers strings.Builder
	for _, name := range names {
		value := r.Header.Get(name)
		if name == "host" {
			value = r.URL.Host
		}
		fmt.Fprintf(&headers, "%s:%s\n", name, value)
	}
	signed := strings.Join(names, ";")
	canonical := strings.Join(
		[]string{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, headers.String(), signed, digest}, "\n")
	scope := strings.Join([]string{date, c.region, service, "aws4_request"}, "/")
	hashed := sha256.Sum256([]byte(canonical))
	text := strings.Join([]string{"AWS4-HMAC-SHA256", moment, scope, hex.EncodeToString(hashed[:])}, "\n")
	key := []byte("AWS4" + c.credentials.Secret)
	for _, part := range append(strings.Split(scope, "/"), text) {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	r.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s",
		c.credentials.ID, scope, signed, hex.EncodeToString(key)))
}
