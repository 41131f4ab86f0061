package awsclient

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Bucket is a bucket in S3, or in a compatible store.
type Bucket struct {
	*Client
	Name string
}

// Get returns an object.
func (b Bucket) Get(ctx context.Context, key string) ([]byte, error) {
	content, err := b.Do(ctx, Request{Service: "s3", Method: http.MethodGet, URL: b.URL(key, nil)})
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", key, err)
	}
	return content, nil
}

// Put writes an object.
func (b Bucket) Put(ctx context.Context, key, contentType string, content []byte) error {
	digest := sha256.Sum256(content)
	_, err := b.Do(ctx, Request{
		Service: "s3", Method: http.MethodPut, URL: b.URL(key, nil), ContentType: contentType,
		Digest: hex.EncodeToString(digest[:]),
		Open: func() (io.ReadCloser, int64, error) {
			return io.NopCloser(bytes.NewReader(content)), int64(len(content)), nil
		},
	})
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", key, err)
	}
	return nil
}

// URL returns the URL of an object, or of the bucket if the key is "". The bucket's name is in the host name at AWS,
// and in the path elsewhere. Only the first value of each query parameter is used.
func (b Bucket) URL(key string, query url.Values) *url.URL {
	target := &url.URL{Scheme: "https", Host: fmt.Sprintf("%s.s3.%s.amazonaws.com", b.Name, b.region), Path: "/" + key}
	if endpoint := b.endpoints["S3"]; endpoint != nil {
		path := strings.TrimSuffix(endpoint.Path, "/") + "/" + b.Name
		target = &url.URL{Scheme: endpoint.Scheme, Host: endpoint.Host, Path: path}
		if key != "" {
			target.Path += "/" + key
		}
	}
	target.RawPath = escape(target.Path, "/")
	var pairs []string
	for key, values := range query {
		pairs = append(pairs, escape(key, "")+"="+escape(values[0], ""))
	}
	slices.Sort(pairs)
	target.RawQuery = strings.Join(pairs, "&")
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
