package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testtool"
)

// startVersitygw runs a real S3 server other than AWS until the test ends, with a certificate that the SDK trusts.
func startVersitygw(t *testing.T, dir string) (endpoint string) {
	t.Helper()
	certFile, keyFile := testtool.Certificate(t, dir)
	t.Setenv("AWS_CA_BUNDLE", certFile)
	for _, name := range []string{"data", "versions"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
	}
	return "https://" + testtool.S3{
		Region: "eu-central-1", AccessKey: os.Getenv("AWS_ACCESS_KEY_ID"), SecretKey: os.Getenv("AWS_SECRET_ACCESS_KEY"),
		Flags:      []string{"--cert", certFile, "--key", keyFile},
		PosixFlags: []string{"--versioning-dir", filepath.Join(dir, "versions")},
	}.Start(t, filepath.Join(dir, "data"))
}

func TestRealS3CompatibleStoreIsBootstrapped(t *testing.T) {
	c := newCheckout(t, "")
	endpoint := startVersitygw(t, c.dir)
	for _, detail := range []string{"created in eu-central-1", "exists"} {
		output, err := c.bootstrap("--stack", "production", "--endpoint", endpoint, "--bucket", "my-state")
		require.NoError(t, err)
		require.Contains(t, output, " ✓ state bucket my-state: "+detail)
		require.Contains(t, output, " ✓ versioning\n")
		require.Contains(t, output, " ✓ TLS only\n")
		// versitygw does not support these.
		require.Contains(t, output, " – encryption: not supported by this store; make sure that its disks are encrypted\n")
		require.Contains(t, output, " – public access blocked: ")
		require.Contains(t, output, " – earlier versions kept for 365 days: ")
	}

	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithRegion("eu-central-1"))
	require.NoError(t, err)
	client := s3.NewFromConfig(cfg,
		func(options *s3.Options) { options.BaseEndpoint, options.UsePathStyle = aws.String(endpoint), true })
	versioning, err := client.GetBucketVersioning(t.Context(),
		&s3.GetBucketVersioningInput{Bucket: aws.String("my-state")})
	require.NoError(t, err)
	require.Equal(t, types.BucketVersioningStatusEnabled, versioning.Status)
	// The policy allows requests with TLS.
	_, err = client.PutObject(t.Context(),
		&s3.PutObjectInput{Bucket: aws.String("my-state"), Key: aws.String(".pulumi/meta.yaml"),
			Body: strings.NewReader("version: 1\n")})
	require.NoError(t, err)
}
