package certificates

import (
	"context"
	"time"

	"immutable-infra/agent/internal/bucket"
)

const (
	// sizeLimit is more than any acme.json has, in bytes.
	sizeLimit = 1 << 20
	// requestTimeout bounds one request to the bucket, its retries included.
	requestTimeout = 15 * time.Second
)

// Store is the backup bucket. Its errors are those of package bucket.
type Store interface {
	// Read returns an object of at most limit bytes, and its ETag.
	Read(ctx context.Context, key, knownETag string, limit int64) (content []byte, etag string, err error)
	// Put writes an object: a reader gets the old one or the new one.
	Put(ctx context.Context, key string, content []byte, contentType string) error
}

// fetch reads an object as a whole.
func fetch(ctx context.Context, store Store, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	content, _, err := store.Read(ctx, key, "", sizeLimit)
	return content, bucket.WithAdvice(err)
}
