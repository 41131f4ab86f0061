package publish

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"immutable-infra/internal/awsclient"
	"immutable-infra/server/manifest"
)

// This is our own client because no tool is fast enough: rclone compares 10,000 unchanged objects no faster than s3cmd
// (docs/bench.md), and sends an ACL header by default.

// Bucket is the content bucket.
type Bucket struct{ awsclient.Bucket }

// OpenBucket returns a client of a bucket. See awsclient.New for the environment variables that it reads.
func OpenBucket(ctx context.Context, name, region string, getenv func(string) string) (*Bucket, error) {
	client, err := awsclient.New(ctx, region, getenv)
	if err != nil {
		return nil, err
	}
	return &Bucket{awsclient.Bucket{Client: client, Name: name}}, nil
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

// listShard is how many known keys one request lists: fewer than the 1,000 keys of a response, so that a few unknown
// keys among them need no additional request.
const listShard = 900

// list returns the ETags of all objects by key. known are keys that the bucket probably contains, sorted: they divide
// the key space, so that many requests can run concurrently.
func (b *Bucket) list(ctx context.Context, known []string) (map[string]string, error) {
	type shard struct{ after, last string }
	var shards []shard
	after := ""
	for i := listShard; i < len(known); i += listShard {
		shards = append(shards, shard{after, known[i-1]})
		after = known[i-1]
	}
	shards = append(shards, shard{after: after})
	parts, err := concurrently(awsclient.MaxRequests, shards, func(s shard) (map[string]string, error) {
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
				return nil, errors.New("a truncated response has no keys")
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list bucket %s: %w", b.Name, err)
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
	// Request URL-encoded keys, because XML cannot represent every key.
	query := url.Values{"list-type": {"2"}, "encoding-type": {"url"}}
	if after != "" {
		query.Set("start-after", after)
	}
	text, err := b.Do(ctx, awsclient.Request{Service: "s3", Method: http.MethodGet, URL: b.URL("", query)})
	if err != nil {
		return page{}, err
	}
	return parsePage(text)
}

// parsePage parses a response of ListObjectsV2.
func parsePage(text []byte) (page, error) {
	var read page
	err := xml.Unmarshal(text, &read)
	for i := 0; err == nil && read.EncodingType == "url" && i < len(read.Contents); i++ {
		read.Contents[i].Key, err = url.QueryUnescape(read.Contents[i].Key)
	}
	if err != nil {
		return page{}, fmt.Errorf("cannot parse the response: %w", err)
	}
	return read, nil
}

// put uploads a file. The store rejects it if its content does not match the digest.
func (b *Bucket) put(
	ctx context.Context, key, contentType string, digest manifest.Digest, open func() (io.ReadCloser, int64, error),
) error {
	_, err := b.Do(ctx, awsclient.Request{
		Service: "s3", Method: http.MethodPut, URL: b.URL(key, nil), ContentType: contentType,
		Digest: digest.String(), Open: open,
	})
	if err != nil {
		return fmt.Errorf("cannot upload %s: %w", key, err)
	}
	return nil
}

// delete deletes an object. It is not an error if the object does not exist.
func (b *Bucket) delete(ctx context.Context, key string) error {
	if _, err := b.Do(ctx, awsclient.Request{Service: "s3", Method: http.MethodDelete, URL: b.URL(key, nil)}); err != nil {
		return fmt.Errorf("cannot delete %s: %w", key, err)
	}
	return nil
}

// etag returns the ETag that S3 assigns to an object that was uploaded in one piece and is encrypted with S3's own
// keys.
func etag(content []byte) string {
	sum := md5.Sum(content)
	return hex.EncodeToString(sum[:])
}
