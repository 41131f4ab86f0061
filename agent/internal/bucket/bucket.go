// Package bucket reads and writes the objects of an S3 bucket with the permissions of the server's instance role.
package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

// The reasons why S3 does not fulfill a request.
var (
	// ErrNotModified: the object still has the ETag that the caller knows.
	ErrNotModified = errors.New("not modified")
	// ErrNotFound: the bucket has no such object.
	ErrNotFound = errors.New("not found")
	// ErrExists: the request was to create the object, but it exists already.
	ErrExists = errors.New("exists already")
	// ErrNoBucket: the bucket does not exist.
	ErrNoBucket = errors.New("no such bucket")
	// ErrUnreadable: the object exists and the bucket responds, but the object cannot be read: it is too large for
	// the reader, archived, or encrypted with its writer's key. Anyone with write access can create such objects.
	ErrUnreadable = errors.New("the object is unreadable")
	// ErrDenied: the caller may not read or write the object. To a caller without s3:ListBucket, S3
	// responds in the same way for a missing object.
	ErrDenied = errors.New("access denied")
)

// responseHeaderTimeout bounds the wait for the response headers. The caller's context bounds the
// body.
const responseHeaderTimeout = 30 * time.Second

// Bounds of a listing, because anyone with write access can fill a bucket. The agent writes a few
// thousand objects, with keys of at most 120 bytes.
const (
	maxListed = 100_000
	maxKey    = 200
)

type Bucket struct {
	client *s3.Client
	name   string
}

// Open prepares access to the named bucket; it sends nothing to S3. Region, credentials and
// endpoint come from the SDK's default chain: environment, shared config, instance role (IMDSv2). A
// non-empty region overrides the chain's. With a configured endpoint (AWS_ENDPOINT_URL_S3 or
// AWS_ENDPOINT_URL), the bucket is addressed by path, since such a server may lack a host name for
// each bucket.
func Open(ctx context.Context, name, region string) (*Bucket, error) {
	httpClient := awshttp.NewBuildableClient().WithTransportOptions(func(transport *http.Transport) {
		transport.ResponseHeaderTimeout = responseHeaderTimeout
	})
	options := []func(*config.LoadOptions) error{config.WithHTTPClient(httpClient)}
	if region != "" {
		options = append(options, config.WithRegion(region))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("cannot load the AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return nil, errors.New("no AWS region: set AWS_REGION")
	}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.UsePathStyle = o.BaseEndpoint != nil
		// Every byte is checked against the manifest's SHA-256: a checksum that S3 happens to lack
		// is not worth a warning for each object.
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		// The signature covers the SHA-256 of the body. An additional checksum would be sent as a trailer, which
		// not every S3 server reads.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	})
	return &Bucket{client: client, name: name}, nil
}

// URL names an object of the bucket in messages.
func (b *Bucket) URL(key string) string {
	return "s3://" + b.name + "/" + key
}

// Get starts to read the object at key. If the object still has knownETag, the error is
// ErrNotModified, and no bytes are sent. Other errors are ErrNotFound, ErrNoBucket, ErrDenied, or
// the SDK's; each names the object.
func (b *Bucket) Get(ctx context.Context, key, knownETag string) (*Object, error) {
	input := &s3.GetObjectInput{Bucket: aws.String(b.name), Key: aws.String(key)}
	if knownETag != "" {
		input.IfNoneMatch = aws.String(knownETag)
	}
	output, err := b.client.GetObject(ctx, input)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", b.URL(key), unreadable(kind(err)))
	}
	return &Object{Body: output.Body, ETag: aws.ToString(output.ETag)}, nil
}

// Size returns the size of an object, in bytes. Errors are those of Get, but S3 gives no reason in its response to
// a HEAD request.
func (b *Bucket) Size(ctx context.Context, key string) (int64, error) {
	output, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String(b.name), Key: aws.String(key)})
	if err != nil {
		return 0, fmt.Errorf("cannot get the size of %s: %w", b.URL(key), kind(err))
	}
	return aws.ToInt64(output.ContentLength), nil
}

// Read reads a whole object of at most limit bytes. Errors are those of Get, and ErrUnreadable for a larger
// object.
func (b *Bucket) Read(
	ctx context.Context, key, knownETag string, limit int64,
) (content []byte, etag string, err error) {
	object, err := b.Get(ctx, key, knownETag)
	if err != nil {
		return nil, "", err
	}
	content, err = io.ReadAll(io.LimitReader(object.Body, limit+1))
	if err = errors.Join(err, object.Body.Close()); err != nil {
		return nil, "", fmt.Errorf("get %s: %w", b.URL(key), err)
	}
	if int64(len(content)) > limit {
		return nil, "", fmt.Errorf("get %s: %w: it has more than %d bytes", b.URL(key), ErrUnreadable, limit)
	}
	return content, object.ETag, nil
}

// Put writes a whole object: a reader gets either the old one or the new one. Errors are
// ErrNoBucket, ErrDenied, or the SDK's; each names the object.
func (b *Bucket) Put(ctx context.Context, key string, content []byte, contentType string) error {
	_, err := b.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(b.name), Key: aws.String(key), Body: bytes.NewReader(content),
		ContentType: aws.String(contentType),
	})
	if err != nil {
		return fmt.Errorf("put %s: %w", b.URL(key), kind(err))
	}
	return nil
}

// PutNew writes an object that must not exist yet. If several clients write it at the same time, one succeeds; the
// others get ErrExists. So does a client that repeats a write after its response was lost.
func (b *Bucket) PutNew(ctx context.Context, key string, content []byte, contentType string) error {
	_, err := b.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(b.name), Key: aws.String(key), Body: bytes.NewReader(content),
		ContentType: aws.String(contentType),
		IfNoneMatch: aws.String("*"),
	})
	if err == nil {
		return nil
	}
	var response *awshttp.ResponseError
	// A conflict means that another client is writing the object.
	if errors.As(err, &response) &&
		(response.HTTPStatusCode() == http.StatusPreconditionFailed || response.HTTPStatusCode() == http.StatusConflict) {
		err = ErrExists
	}
	return fmt.Errorf("put %s: %w", b.URL(key), kind(err))
}

// PutSection writes a section of a file, which it reads twice, as an object: see Put.
func (b *Bucket) PutSection(ctx context.Context, key string, section *io.SectionReader) error {
	_, err := b.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(b.name), Key: aws.String(key), Body: section, ContentType: aws.String("application/octet-stream"),
	})
	if err != nil {
		return fmt.Errorf("put %s: %w", b.URL(key), kind(err))
	}
	return nil
}

// List lists the first maxListed objects whose keys begin with prefix. It omits those with a key
// longer than maxKey. Errors are ErrNoBucket, ErrDenied, or the SDK's.
func (b *Bucket) List(ctx context.Context, prefix string) (Listing, error) {
	var listing Listing
	pages := s3.NewListObjectsV2Paginator(b.client,
		&s3.ListObjectsV2Input{Bucket: aws.String(b.name), Prefix: aws.String(prefix)})
	for seen := 0; pages.HasMorePages(); {
		if seen >= maxListed {
			listing.Cut = true
			break
		}
		page, err := pages.NextPage(ctx)
		if err != nil {
			return Listing{}, fmt.Errorf("list %s: %w", b.URL(prefix), kind(err))
		}
		if at, ok := awsmiddleware.GetServerTime(page.ResultMetadata); ok {
			listing.At = at
		}
		seen += len(page.Contents)
		for _, object := range page.Contents {
			if len(aws.ToString(object.Key)) > maxKey {
				continue
			}
			listing.Objects = append(listing.Objects, Entry{
				Key: aws.ToString(object.Key), Size: aws.ToInt64(object.Size), Modified: aws.ToTime(object.LastModified),
			})
		}
	}
	return listing, nil
}

// Delete deletes an object, if it exists. Errors are ErrNoBucket, ErrDenied, or the SDK's; each
// names the object.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(b.name), Key: aws.String(key)})
	if err != nil {
		return fmt.Errorf("delete %s: %w", b.URL(key), kind(err))
	}
	return nil
}

// kind wraps the error of a response in this package's error for it, followed by S3's own words. It returns any
// other error unchanged.
func kind(err error) error {
	var response *awshttp.ResponseError
	if !errors.As(err, &response) {
		return err
	}
	var api smithy.APIError
	reason := "no reason given"
	code := ""
	if errors.As(err, &api) {
		code = api.ErrorCode()
		reason = code + ": " + api.ErrorMessage()
	}
	switch response.HTTPStatusCode() {
	case http.StatusNotModified:
		return ErrNotModified
	case http.StatusForbidden:
		return fmt.Errorf("%w (%s)", ErrDenied, reason)
	case http.StatusNotFound:
		if code == "NoSuchBucket" {
			return fmt.Errorf("%w (%s)", ErrNoBucket, reason)
		}
		return fmt.Errorf("%w (%s)", ErrNotFound, reason)
	default:
		return err
	}
}

// unreadable marks an error of a GET that is due to the object, not to the caller's permissions.
func unreadable(err error) error {
	var api smithy.APIError
	if errors.As(err, &api) && (api.ErrorCode() == "InvalidRequest" || api.ErrorCode() == "InvalidObjectState") ||
		errors.Is(err, ErrDenied) &&
			(strings.Contains(err.Error(), "InvalidObjectState") || strings.Contains(err.Error(), "kms:")) {
		return fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return err
}

// Object is an S3 object, as returned by one GET. The caller must close Body.
type Object struct {
	Body io.ReadCloser
	// ETag identifies this version of the object, in quotes, as S3 sent it.
	ETag string
}

// Listing is a list of a bucket's objects, in byte order of their keys.
type Listing struct {
	Objects []Entry
	// Cut reports whether objects are missing from the listing because the bucket has too many.
	Cut bool
	// At is the time of the listing by the bucket's clock; zero if the bucket did not send it.
	At time.Time
}

type Entry struct {
	Key  string
	Size int64
	// Modified is when the object was written, by the bucket's clock.
	Modified time.Time
}

// WithAdvice adds the probable cause to an error of the backup bucket.
func WithAdvice(err error) error {
	if errors.Is(err, ErrDenied) {
		return fmt.Errorf("%w: check what this server's role may do in the backup bucket", err)
	}
	return err
}
