package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"
)

// startVersitygw runs a real S3 server other than AWS until the test ends, with a certificate that the SDK
// trusts. It skips the test if there is none.
func startVersitygw(t *testing.T, dir string) (endpoint string) {
	t.Helper()
	binary := os.Getenv("LOCALCLOUD_VERSITYGW")
	if binary == "" {
		t.Skip("no S3 server to test with: set LOCALCLOUD_VERSITYGW to a versitygw binary")
	}
	// It uses the certificate of httptest.
	lender := httptest.NewTLSServer(nil)
	pair := lender.TLS.Certificates[0]
	lender.Close()
	keyDER, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	require.NoError(t, err)
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(certFile,
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	t.Setenv("AWS_CA_BUNDLE", certFile)

	for _, name := range []string{"data", "versions"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	command := exec.Command(binary, "--port", address, "--region", "eu-central-1", "--cert", certFile, "--key", keyFile,
		"--access", os.Getenv("AWS_ACCESS_KEY_ID"), "--secret", os.Getenv("AWS_SECRET_ACCESS_KEY"), "--quiet",
		"posix", "--versioning-dir", filepath.Join(dir, "versions"), filepath.Join(dir, "data"))
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		// The only error expected here is the one from Kill.
		_, _ = command.Process.Kill(), command.Wait()
		if t.Failed() {
			t.Log(output.String())
		}
	})
	require.Eventually(t, func() bool {
		connection, err := net.Dial("tcp", address)
		return err == nil && connection.Close() == nil
	}, 20*time.Second, 20*time.Millisecond, "versitygw does not listen")
	return "https://" + address
}

func TestARealStoreThatIsNotAWSsIsBootstrapped(t *testing.T) {
	c := newCheckout(t, "")
	endpoint := startVersitygw(t, c.dir)
	for _, state := range []string{"created in eu-central-1", "exists"} {
		output, err := c.bootstrap("--stack", "production", "--endpoint", endpoint, "--bucket", "my-state")
		require.NoError(t, err)
		require.Contains(t, output, " ✓ state bucket my-state: "+state)
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
