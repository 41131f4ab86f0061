package publish

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5"
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

	"immutable-infra/server/manifest"
)

// No tool is fast enough, so the client is our own: rclone compares 10,000 unchanged objects no
// faster than s3cmd does (docs/bench.md), and it sends an ACL header by default.

const (
	// parallelRequests is how many requests run at a time.
	parallelRequests = 64
	// tries is how often a request is sent before its error is returned.
	tries = 6
	// firstPause is the longest pause before the second try. It doubles with each try.
	firstPause = 200 * time.Millisecond
	// answerTimeout is how long the store may take to respond to a request that was sent
	// completely.
	answerTimeout = time.Minute
)

// Bucket is a bucket of S3, or of a store that speaks its protocol.
type Bucket struct {
	name, region string
	// endpoint is the URL of the store, or nil for AWS's own.
	endpoint    *url.URL
	credentials credentials
	client      *http.Client
	now         func() time.Time
}

// OpenBucket returns a client of a bucket, configured by the variables of AWS's own tools:
// AWS_ACCESS_KEY_ID and its companions, AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, and AWS_CA_BUNDLE.
// Without keys in the environment it asks the AWS CLI, which supports profiles and single sign-on.
func OpenBucket(ctx context.Context, name, region string, getenv func(string) string) (*Bucket, error) {
	bucket := &Bucket{name: name, region: region, now: time.Now}
	for _, variable := range []string{"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"} {
		if value := getenv(variable); value != "" {
			endpoint, err := url.Parse(value)
			if err != nil || endpoint.Host == "" {
				return nil, fmt.Errorf("cannot use %s=%s: expected a URL such as https://s3.example.org", variable, value)
			}
			bucket.endpoint = endpoint
			break
		}
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		MaxIdleConnsPerHost:   parallelRequests,
		MaxConnsPerHost:       parallelRequests,
		IdleConnTimeout:       time.Minute,
		ResponseHeaderTimeout: answerTimeout,
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
	bucket.client = &http.Client{Transport: transport}
	var err error
	bucket.credentials, err = findCredentials(ctx, getenv)
	return bucket, err
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
		err = errors.New("aws configure export-credentials printed none")
	}
	if err != nil {
		return credentials{}, fmt.Errorf("cannot find AWS credentials: %w; set AWS_ACCESS_KEY_ID and "+
			"AWS_SECRET_ACCESS_KEY, or log in by the AWS CLI", err)
	}
	return found, nil
}

// page is one response of ListObjectsV2.
type page struct {
	IsTruncated  bool
	EncodingType string
	Contents     []struct {
		Key  string
		ETag string
	}
}

// listShard is how many known keys one request lists: fewer than the 1,000 of a response, so that a
// few unknown keys among them need no further request.
const listShard = 900

// list returns the ETags of all objects by their keys. known are keys that the bucket probably has,
// sorted: they divide it so that many requests can run at a time.
func (b *Bucket) list(ctx context.Context, known []string) (map[string]string, error) {
	type shard struct{ after, last string }
	var shards []shard
	after := ""
	for i := listShard; i < len(known); i += listShard {
		shards = append(shards, shard{after, known[i-1]})
		after = known[i-1]
	}
	shards = append(shards, shard{after: after})
	parts, err := concurrently(parallelRequests, shards, func(s shard) (map[string]string, error) {
		found := map[string]string{}
		for after := s.after; ; {
			page, err := b.listPage(ctx, after)
			if err != nil {
				return nil, err
			}
			for _, object := range page.Contents {
				after = object.Key
				if s.last != "" && object.Key > s.last {
					return found, nil
				}
				found[object.Key] = strings.Trim(object.ETag, `"`)
			}
			if !page.IsTruncated || s.last != "" && after == s.last {
				return found, nil
			}
			if len(page.Contents) == 0 {
				return nil, errors.New("an answer without keys says that more follow")
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list bucket %s: %w", b.name, err)
	}
	all := map[string]string{}
	for _, part := range parts {
		for key, tag := range part {
			all[key] = tag
		}
	}
	return all, nil
}

func (b *Bucket) listPage(ctx context.Context, after string) (page, error) {
	// Encoded, because XML cannot hold every key.
	query := url.Values{"list-type": {"2"}, "encoding-type": {"url"}}
	if after != "" {
		query.Set("start-after", after)
	}
	text, err := b.do(ctx, request{method: http.MethodGet, query: query})
	if err != nil {
		return page{}, err
	}
	return parsePage(text)
}

// parsePage reads a response of ListObjectsV2.
func parsePage(text []byte) (page, error) {
	var read page
	err := xml.Unmarshal(text, &read)
	for i := 0; err == nil && read.EncodingType == "url" && i < len(read.Contents); i++ {
		read.Contents[i].Key, err = url.QueryUnescape(read.Contents[i].Key)
	}
	if err != nil {
		return page{}, fmt.Errorf("cannot read the answer: %w", err)
	}
	return read, nil
}

// put uploads a file. The store rejects it if its bytes do not have the digest.
func (b *Bucket) put(
	ctx context.Context, key, contentType string, digest manifest.Digest, open func() (io.ReadCloser, int64, error),
) error {
	_, err := b.do(ctx,
		request{method: http.MethodPut, key: key, contentType: contentType, digest: digest.String(), open: open})
	if err != nil {
		return fmt.Errorf("cannot upload %s: %w", key, err)
	}
	return nil
}

// delete deletes an object. One that does not exist is no error.
func (b *Bucket) delete(ctx context.Context, key string) error {
	if _, err := b.do(ctx, request{method: http.MethodDelete, key: key}); err != nil {
		return fmt.Errorf("cannot delete %s: %w", key, err)
	}
	return nil
}

// request is one request of S3's protocol.
type request struct {
	method, key, contentType string
	query                    url.Values
	// digest is the SHA-256 of what open returns, in hexadecimal digits. Without open, there is no body.
	digest string
	open   func() (io.ReadCloser, int64, error)
}

// do repeats a request until it succeeds, fails permanently, or was sent as often as tries allows.
func (b *Bucket) do(ctx context.Context, r request) ([]byte, error) {
	pause := firstPause
	for try := 1; ; try++ {
		body, err := b.send(ctx, r)
		if temporary := (*temporaryError)(nil); err == nil || !errors.As(err, &temporary) || try == tries {
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

// temporaryError is an error after which the same request may succeed.
type temporaryError struct{ error }

func (e *temporaryError) Unwrap() error { return e.error }

// send sends a request once.
func (b *Bucket) send(ctx context.Context, r request) ([]byte, error) {
	target := b.url(r)
	var content io.ReadCloser
	var size int64
	if r.open != nil {
		var err error
		if content, size, err = r.open(); err != nil {
			return nil, err
		}
		defer content.Close()
	}
	sent, err := http.NewRequestWithContext(ctx, r.method, target.String(), nil)
	if err != nil {
		return nil, err
	}
	sent.URL = target
	if size > 0 {
		sent.Body, sent.ContentLength = content, size
	} else if r.method == http.MethodPut {
		sent.Body = http.NoBody
	}
	if r.contentType != "" {
		sent.Header.Set("Content-Type", r.contentType)
	}
	digest := r.digest
	if digest == "" {
		empty := sha256.Sum256(nil)
		digest = hex.EncodeToString(empty[:])
	}
	b.sign(sent, digest)
	answer, err := b.client.Do(sent)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if untrusted := (*tls.CertificateVerificationError)(nil); errors.As(err, &untrusted) {
			return nil, err
		}
		return nil, &temporaryError{err}
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, &temporaryError{err}
	}
	if answer.StatusCode/100 == 2 {
		return text, nil
	}
	var refused struct{ Code, Message string }
	_ = xml.Unmarshal(text, &refused) // some answers have no text
	err = fmt.Errorf("%s", strings.TrimSpace(fmt.Sprintf("%s %s %s", answer.Status, refused.Code, refused.Message)))
	if answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests || refused.Code == "RequestTimeout" {
		return nil, &temporaryError{err}
	}
	return nil, err
}

// url is a request's URL: the bucket's name is in the host's name at AWS, and in the path elsewhere.
func (b *Bucket) url(r request) *url.URL {
	target := &url.URL{Scheme: "https", Host: fmt.Sprintf("%s.s3.%s.amazonaws.com", b.name, b.region), Path: "/" + r.key}
	if b.endpoint != nil {
		target = &url.URL{
			Scheme: b.endpoint.Scheme,
			Host:   b.endpoint.Host,
			Path:   strings.TrimSuffix(b.endpoint.Path, "/") + "/" + b.name,
		}
		if r.key != "" {
			target.Path += "/" + r.key
		}
	}
	target.RawPath = escape(target.Path, "/")
	var query []string
	for key, values := range r.query {
		query = append(query, escape(key, "")+"="+escape(values[0], ""))
	}
	slices.Sort(query)
	target.RawQuery = strings.Join(query, "&")
	return target
}

// escape encodes every byte except those that Signature Version 4 leaves unencoded.
func escape(text, also string) string {
	var escaped strings.Builder
	for i := range len(text) {
		c := text[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~"+also, c) >= 0 {
			escaped.WriteByte(c)
		} else {
			fmt.Fprintf(&escaped, "%%%02X", c)
		}
	}
	return escaped.String()
}

// sign adds the headers of Signature Version 4. No other header is sent to S3: a bucket with
// ownership enforced rejects ACLs.
func (b *Bucket) sign(r *http.Request, digest string) {
	at := b.now().UTC()
	date, moment := at.Format("20060102"), at.Format("20060102T150405Z")
	names := []string{"host", "x-amz-content-sha256", "x-amz-date"}
	r.Header.Set("X-Amz-Content-Sha256", digest)
	r.Header.Set("X-Amz-Date", moment)
	if b.credentials.Token != "" {
		r.Header.Set("X-Amz-Security-Token", b.credentials.Token)
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
	canonical := strings.Join([]string{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, headers.String(), signed, digest},
		"\n")
	scope := strings.Join([]string{date, b.region, "s3", "aws4_request"}, "/")
	hashed := sha256.Sum256([]byte(canonical))
	text := strings.Join([]string{"AWS4-HMAC-SHA256", moment, scope, hex.EncodeToString(hashed[:])}, "\n")
	key := []byte("AWS4" + b.credentials.Secret)
	for _, part := range append(strings.Split(scope, "/"), text) {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	r.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s",
		b.credentials.ID, scope, signed, hex.EncodeToString(key)))
}

// etag is the ETag that S3 assigns to an object that was uploaded in one piece and is encrypted by
// S3's own keys.
func etag(content []byte) string {
	sum := md5.Sum(content)
	return hex.EncodeToString(sum[:])
}
