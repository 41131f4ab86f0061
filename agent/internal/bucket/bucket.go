// Package bucket reads and writes the objects of an S3 bucket with the rights of
// the server's instance role.
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

// What S3 can answer other than what was asked for.
var (
	// ErrNotModified: the object still has the ETag that the caller knows.
	ErrNotModified = errors.New("not modified")
	// ErrNotFound: the bucket has no such object.
	ErrNotFound = errors.New("not found")
	// ErrExists: there is such an object, and there was to be none.
	ErrExists = errors.New("exists already")
	// ErrNoBucket: there is no such bucket.
	ErrNoBucket = errors.New("no such bucket")
	// ErrUnreadable: the object is there and the bucket answers, yet the object cannot be read: it
	// is larger than the reader takes, archived, or encrypted with a key of its writer's. Whoever
	// may write objects can make such ones.
	ErrUnreadable = errors.New("the object is unreadable")
	// ErrDenied: the caller may not read or write the object. S3 gives the same
	// answer for a missing object to a caller without s3:ListBucket.
	ErrDenied = errors.New("access denied")
)

// responseHeaderTimeout bounds the wait for an answer to begin. How long a
// body may take is up to the caller's context.
const responseHeaderTimeout = 30 * time.Second

// Bounds of a listing: whoever may write objects can fill a bucket. The agent writes a few
// thousand objects, with keys of at most 120 bytes.
const (
	maxListed = 100_000
	maxKey    = 200
)

type Bucket struct {
	client *s3.Client
	name   string
}

// Open prepares access to the named bucket; it sends nothing to S3. Region,
// credentials and endpoint come from the SDK's default chain: environment,
// shared config, instance role (IMDSv2). A non-empty region goes before the
// chain's. Where an endpoint is configured (AWS_ENDPOINT_URL_S3 or
// AWS_ENDPOINT_URL), the bucket is addressed by path, since such a server need
// not have a name per bucket.
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
		// Every byte is checked against the manifest's SHA-256; a checksum
		// that S3 happens not to have is not worth a warning per object.
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		// What is sent is covered by its SHA-256 in the signature; a checksum
		// besides would come after the body, which not every S3 server reads.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	})
	return &Bucket{client: client, name: name}, nil
}

// URL names an object of the bucket in messages.
func (b *Bucket) URL(key string) string {
	return "s3://" + b.name + "/" + key
}

// Get starts to read the object at key. With a knownETag, an object that still
// has it answers ErrNotModified and no bytes. Other errors are ErrNotFound,
// ErrNoBucket, ErrDenied, or the SDK's; each names the object.
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

// Size is the size of an object, in bytes. Errors are those of Get; S3 gives no reasons in answer
// to this request.
func (b *Bucket) Size(ctx context.Context, key string) (int64, error) {
	output, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String(b.name), Key: aws.String(key)})
	if err != nil {
		return 0, fmt.Errorf("cannot get the size of %s: %w", b.URL(key), kind(err))
	}
	return aws.ToInt64(output.ContentLength), nil
}

// Read reads a whole object, of at most limit bytes: see Get.
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

// Put writes a whole object: a reader gets the old one or the new one. Errors are
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

// PutNew is Put of an object that must not be there yet. Of several who put it at
// the same time, one succeeds; the others get ErrExists. So does somebody whose
// success was not heard of and who therefore tries again.
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
	// A conflict is that another one is just being written.
	if errors.As(err, &response) &&
		(response.HTTPStatusCode() == http.StatusPreconditionFailed || response.HTTPStatusCode() == http.StatusConflict) {
		err = ErrExists
	}
	return fmt.Errorf("put %s: %w", b.URL(key), kind(err))
}

// PutSection writes an object of a section of a file, which it reads twice: see Put.
func (b *Bucket) PutSection(ctx context.Context, key string, section *io.SectionReader) error {
	_, err := b.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(b.name), Key: aws.String(key), Body: section, ContentType: aws.String("application/octet-stream"),
	})
	if err != nil {
		return fmt.Errorf("put %s: %w", b.URL(key), kind(err))
	}
	return nil
}

// List lists the objects whose keys begin with prefix, of which it looks at the first
// maxListed. Those with a key longer than maxKey are left out. Errors are ErrNoBucket, ErrDenied,
// or the SDK's.
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

// Delete deletes an object, if there is one. Errors are ErrNoBucket, ErrDenied, or
// the SDK's; each names the object.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(b.name), Key: aws.String(key)})
	if err != nil {
		return fmt.Errorf("delete %s: %w", b.URL(key), kind(err))
	}
	return nil
}

// kind puts one of this package's errors in front of an answer that it stands
// for, keeping S3's own words, and returns any other error as it is.
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

// unreadable marks an answer to a GET that is about the object and not about the caller's rights.
func unreadable(err error) error {
	var api smithy.APIError
	if errors.As(err, &api) && (api.ErrorCode() == "InvalidRequest" || api.ErrorCode() == "InvalidObjectState") ||
		errors.Is(err, ErrDenied) &&
			(strings.Contains(err.Error(), "InvalidObjectState") || strings.Contains(err.Error(), "kms:")) {
		return fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return err
}

// Object is an S3 object as one GET returned it. The caller closes Body.
type Object struct {
	Body io.ReadCloser
	// ETag identifies this version of the object, in quotes, as S3 sent it.
	ETag string
}

// Listing is what a bucket holds, in the order of the keys' bytes.
type Listing struct {
	Objects []Entry
	// Cut is whether there are more objects than a listing takes.
	Cut bool
	// At is when it was so, by the bucket's clock; zero if it did not tell.
	At time.Time
}

type Entry struct {
	Key  string
	Size int64
	// Modified is when the object was written, by the bucket's clock.
	Modified time.Time
}

// WithAdvice adds to an error of the backup bucket where to look, as far as one
// can tell.
func WithAdvice(err error) error {
	if errors.Is(err, ErrDenied) {
		return fmt.Errorf("%w: check what this server's role may do in the backup bucket", err)
	}
	return err
}
