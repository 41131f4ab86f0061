// Package s3server talks to the S3 server of the local cloud as its root
// account: through S3's own API, and through the server's admin API for the
// accounts that stand for roles.
package s3server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"immutable-infra/localcloud/internal/cloud"
)

type Server struct {
	settings cloud.S3
	http     *http.Client
	s3       *s3.Client
}

// New returns the server that settings describe. It makes no connection yet.
func New(settings cloud.S3) (*Server, error) {
	pem, err := os.ReadFile(settings.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read the S3 server's CA: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("the S3 server's CA file %s holds no certificate", settings.CAFile)
	}
	// No proxy: the server is on this machine.
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}}
	return &Server{
		settings: settings,
		http:     client,
		s3: s3.New(s3.Options{
			BaseEndpoint: aws.String(settings.Endpoint),
			Region:       settings.Region,
			Credentials:  credentials.NewStaticCredentialsProvider(settings.AccessKeyID, settings.SecretAccessKey, ""),
			HTTPClient:   client,
			UsePathStyle: true,
		}),
	}, nil
}

func (s *Server) Buckets(ctx context.Context) ([]string, error) {
	output, err := s.s3.ListBuckets(ctx, &s3.ListBucketsInput{})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, b := range output.Buckets {
		names = append(names, aws.ToString(b.Name))
	}
	return names, nil
}

// CreateBucket creates a bucket. The error code is BucketAlreadyOwnedByYou
// when it exists.
func (s *Server) CreateBucket(ctx context.Context, bucket string) error {
	_, err := s.s3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &bucket})
	return err
}

func (s *Server) BucketExists(ctx context.Context, bucket string) (bool, error) {
	_, err := s.s3.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &bucket})
	var notFound *types.NotFound
	if errors.As(err, &notFound) {
		return false, nil
	}
	return err == nil, err
}

// Keys lists the keys of a bucket that begin with the prefix. The error code is
// NoSuchBucket when there is no such bucket.
func (s *Server) Keys(ctx context.Context, bucket, prefix string) ([]string, error) {
	var keys []string
	pages := s3.NewListObjectsV2Paginator(s.s3, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, object := range page.Contents {
			keys = append(keys, aws.ToString(object.Key))
		}
	}
	return keys, nil
}

// Get returns the content of an object. The error code is NoSuchKey when it is not there.
func (s *Server) Get(ctx context.Context, bucket, key string) ([]byte, error) {
	object, err := s.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return nil, err
	}
	defer object.Body.Close()
	content, err := io.ReadAll(object.Body)
	if err != nil {
		return nil, fmt.Errorf("read object %q: %w", key, err)
	}
	return content, nil
}

// DeleteBucket deletes an empty bucket, or one that is gone already. The
// error code is BucketNotEmpty when an object, or a version of one, is left.
func (s *Server) DeleteBucket(ctx context.Context, bucket string) error {
	_, err := s.s3.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &bucket})
	return ignore(err, "NoSuchBucket")
}

// EmptyBucket deletes all objects with all their versions and delete markers,
// and aborts all uploads.
func (s *Server) EmptyBucket(ctx context.Context, bucket string) error {
	uploads := s3.NewListMultipartUploadsPaginator(s.s3, &s3.ListMultipartUploadsInput{Bucket: &bucket})
	for uploads.HasMorePages() {
		page, err := uploads.NextPage(ctx)
		if err != nil {
			return ignore(err, "NoSuchBucket")
		}
		for _, upload := range page.Uploads {
			input := &s3.AbortMultipartUploadInput{Bucket: &bucket, Key: upload.Key, UploadId: upload.UploadId}
			if _, err := s.s3.AbortMultipartUpload(ctx, input); err != nil {
				return fmt.Errorf("abort the upload of %q: %w", aws.ToString(upload.Key), err)
			}
		}
	}
	for {
		// Always the first page, as the ones before it are gone.
		page, err := s.s3.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: &bucket})
		if err != nil {
			return ignore(err, "NoSuchBucket")
		}
		var objects []types.ObjectIdentifier
		for _, v := range page.Versions {
			objects = append(objects, types.ObjectIdentifier{Key: v.Key, VersionId: v.VersionId})
		}
		for _, m := range page.DeleteMarkers {
			objects = append(objects, types.ObjectIdentifier{Key: m.Key, VersionId: m.VersionId})
		}
		if len(objects) == 0 {
			return nil
		}
		deleted, err := s.s3.DeleteObjects(ctx, &s3.DeleteObjectsInput{
			Bucket: &bucket,
			Delete: &types.Delete{Objects: objects, Quiet: aws.Bool(true)},
		})
		if err != nil {
			return fmt.Errorf("delete objects: %w", err)
		}
		if len(deleted.Errors) > 0 {
			first := deleted.Errors[0]
			return fmt.Errorf(
				"delete object %q: %s: %s", aws.ToString(first.Key), aws.ToString(first.Code), aws.ToString(first.Message))
		}
	}
}

func (s *Server) PutVersioning(ctx context.Context, bucket, status string) error {
	_, err := s.s3.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{
		Bucket:                  &bucket,
		VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatus(status)},
	})
	return err
}

func (s *Server) PutOwnership(ctx context.Context, bucket, ownership string) error {
	_, err := s.s3.PutBucketOwnershipControls(ctx, &s3.PutBucketOwnershipControlsInput{
		Bucket: &bucket,
		OwnershipControls: &types.OwnershipControls{
			Rules: []types.OwnershipControlsRule{{ObjectOwnership: types.ObjectOwnership(ownership)}},
		},
	})
	return err
}

// Policy returns the bucket policy, or nothing when there is none.
func (s *Server) Policy(ctx context.Context, bucket string) (string, error) {
	output, err := s.s3.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: &bucket})
	if err != nil {
		return "", ignore(err, "NoSuchBucketPolicy")
	}
	return aws.ToString(output.Policy), nil
}

// PutPolicy sets the bucket policy, or removes it when the document is empty.
// Its principals are access key ids.
func (s *Server) PutPolicy(ctx context.Context, bucket, document string) error {
	if document == "" {
		_, err := s.s3.DeleteBucketPolicy(ctx, &s3.DeleteBucketPolicyInput{Bucket: &bucket})
		return ignore(err, "NoSuchBucketPolicy")
	}
	_, err := s.s3.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &bucket, Policy: &document})
	return err
}

// HasCode says whether an error is an answer of S3 with that code.
func HasCode(err error, code string) bool {
	var answer smithy.APIError
	return errors.As(err, &answer) && answer.ErrorCode() == code
}

func ignore(err error, code string) error {
	if HasCode(err, code) {
		return nil
	}
	return err
}

// account is the body of versitygw's create-user request.
type account struct {
	XMLName xml.Name `xml:"Account"`
	Access  string
	Secret  string
	// Role "user" may do what bucket policies allow and nothing else.
	Role string
}

// CreateAccount makes an account that has no permission but those that bucket
// policies give it. An account that exists with the same id is left as it is.
func (s *Server) CreateAccount(ctx context.Context, accessKeyID, secretAccessKey string) error {
	body, err := xml.Marshal(account{Access: accessKeyID, Secret: secretAccessKey, Role: "user"})
	if err != nil {
		return fmt.Errorf("encode the account: %w", err)
	}
	return s.admin(ctx, "create-user", nil, body, "XAdminUserExists")
}

// DeleteAccount deletes an account, or does nothing when there is none.
func (s *Server) DeleteAccount(ctx context.Context, accessKeyID string) error {
	return s.admin(ctx, "delete-user", url.Values{"access": {accessKeyID}}, nil, "XAdminUserNotFound")
}

// admin sends one request of versitygw's admin API, which is signed like S3's.
func (s *Server) admin(ctx context.Context, action string, query url.Values, body []byte, tolerated string) error {
	target := strings.TrimSuffix(s.settings.Endpoint, "/") + "/" + action
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPatch, target, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("S3 server: %s: %w", action, err)
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	request.Header.Set("X-Amz-Content-Sha256", hash)
	root := aws.Credentials{AccessKeyID: s.settings.AccessKeyID, SecretAccessKey: s.settings.SecretAccessKey}
	if err := v4.NewSigner().SignHTTP(ctx, root, request, hash, "s3", s.settings.Region, time.Now()); err != nil {
		return fmt.Errorf("S3 server: sign %s: %w", action, err)
	}
	response, err := s.http.Do(request)
	if err != nil {
		return fmt.Errorf("S3 server: %s: %w", action, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("S3 server: read the answer to %s: %w", action, err)
	}
	if response.StatusCode >= http.StatusMultipleChoices && !bytes.Contains(answer, []byte(tolerated)) {
		return fmt.Errorf("S3 server: %s: %s: %s", action, response.Status, bytes.TrimSpace(answer))
	}
	return nil
}
