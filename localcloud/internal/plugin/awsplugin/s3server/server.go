// Package s3server is a client for the local cloud's S3 server that uses the root account. It uses the S3 API, and
// the server's admin API for the accounts of roles.
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

// New returns a client for the server with the given settings. It does not connect yet.
func New(settings cloud.S3) (*Server, error) {
	pem, err := os.ReadFile(settings.CAFile)
	if err != nil {
		return nil, fmt.Errorf("cannot read the S3 server's CA: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("the S3 server's CA file %s contains no certificate", settings.CAFile)
	}
	// Do not use a proxy: the server is on this machine.
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

// CreateBucket creates a bucket. The error code is BucketAlreadyOwnedByYou if it already exists.
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

// Keys lists the keys of a bucket that begin with the prefix. The error code is NoSuchBucket if the bucket does
// not exist.
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

// Get returns the content of an object. The error code is NoSuchKey if it does not exist.
func (s *Server) Get(ctx context.Context, bucket, key string) ([]byte, error) {
	object, err := s.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return nil, err
	}
	defer object.Body.Close()
	content, err := io.ReadAll(object.Body)
	if err != nil {
		return nil, fmt.Errorf("cannot read object %q: %w", key, err)
	}
	return content, nil
}

// DeleteBucket deletes an empty bucket. It succeeds if the bucket does not exist. The error code is BucketNotEmpty
// if the bucket still contains an object or a version of one.
func (s *Server) DeleteBucket(ctx context.Context, bucket string) error {
	_, err := s.s3.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &bucket})
	return ignoreCode(err, "NoSuchBucket")
}

// EmptyBucket deletes all objects with all their versions and delete markers, and aborts all multipart uploads.
func (s *Server) EmptyBucket(ctx context.Context, bucket string) error {
	uploads := s3.NewListMultipartUploadsPaginator(s.s3, &s3.ListMultipartUploadsInput{Bucket: &bucket})
	for uploads.HasMorePages() {
		page, err := uploads.NextPage(ctx)
		if err != nil {
			return ignoreCode(err, "NoSuchBucket")
		}
		for _, upload := range page.Uploads {
			input := &s3.AbortMultipartUploadInput{Bucket: &bucket, Key: upload.Key, UploadId: upload.UploadId}
			if _, err := s.s3.AbortMultipartUpload(ctx, input); err != nil {
				return fmt.Errorf("cannot abort the upload of %q: %w", aws.ToString(upload.Key), err)
			}
		}
	}
	for {
		// Always list the first page: the objects of the previous one have been deleted.
		page, err := s.s3.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: &bucket})
		if err != nil {
			return ignoreCode(err, "NoSuchBucket")
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
			return fmt.Errorf("cannot delete objects: %w", err)
		}
		if len(deleted.Errors) > 0 {
			first := deleted.Errors[0]
			return fmt.Errorf(
				"cannot delete object %q: %s: %s", aws.ToString(first.Key), aws.ToString(first.Code), aws.ToString(first.Message))
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

// Policy returns the bucket policy, or "" if there is none.
func (s *Server) Policy(ctx context.Context, bucket string) (string, error) {
	output, err := s.s3.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: &bucket})
	if err != nil {
		return "", ignoreCode(err, "NoSuchBucketPolicy")
	}
	return aws.ToString(output.Policy), nil
}

// PutPolicy sets the bucket policy, or removes it if the document is empty. Its principals are access key ids.
func (s *Server) PutPolicy(ctx context.Context, bucket, document string) error {
	if document == "" {
		_, err := s.s3.DeleteBucketPolicy(ctx, &s3.DeleteBucketPolicyInput{Bucket: &bucket})
		return ignoreCode(err, "NoSuchBucketPolicy")
	}
	_, err := s.s3.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &bucket, Policy: &document})
	return err
}

// HasCode reports whether an error is an S3 error response with the given code.
func HasCode(err error, code string) bool {
	var apiError smithy.APIError
	return errors.As(err, &apiError) && apiError.ErrorCode() == code
}

func ignoreCode(err error, code string) error {
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
	// Role "user" has only the permissions that bucket policies grant.
	Role string
}

// CreateAccount creates an account with only the permissions that bucket policies grant to it. It leaves an
// existing account with the same id unchanged.
func (s *Server) CreateAccount(ctx context.Context, accessKeyID, secretAccessKey string) error {
	body, err := xml.Marshal(account{Access: accessKeyID, Secret: secretAccessKey, Role: "user"})
	if err != nil {
		return fmt.Errorf("cannot encode the account: %w", err)
	}
	return s.admin(ctx, "create-user", nil, body, "XAdminUserExists")
}

// DeleteAccount deletes an account, if it exists.
func (s *Server) DeleteAccount(ctx context.Context, accessKeyID string) error {
	return s.admin(ctx, "delete-user", url.Values{"access": {accessKeyID}}, nil, "XAdminUserNotFound")
}

// admin sends a request to versitygw's admin API, which uses the same signatures as S3. It ignores an error
// response that contains ignoredCode.
func (s *Server) admin(ctx context.Context, action string, query url.Values, body []byte, ignoredCode string) error {
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
		return fmt.Errorf("S3 server: cannot sign %s: %w", action, err)
	}
	response, err := s.http.Do(request)
	if err != nil {
		return fmt.Errorf("S3 server: %s: %w", action, err)
	}
	defer response.Body.Close()
	responseBody, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("S3 server: cannot read the response to %s: %w", action, err)
	}
	if response.StatusCode >= http.StatusMultipleChoices && !bytes.Contains(responseBody, []byte(ignoredCode)) {
		return fmt.Errorf("S3 server: %s: %s: %s", action, response.Status, bytes.TrimSpace(responseBody))
	}
	return nil
}
