// Package s3cmd backs up and restores a directory with s3cmd, as the original system does.
package s3cmd

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/e2e/internal/s3server"
)

// Sync syncs to and from a bucket.
type Sync struct {
	// Bucket is the bucket's URL.
	Bucket string
	config string
}

// New returns a Sync for a bucket of a server.
func New(t *testing.T, server *s3server.Server, bucket string) Sync {
	t.Helper()
	parsed, err := url.Parse(server.URL)
	require.NoError(t, err)
	config := filepath.Join(t.TempDir(), "s3cfg")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `[default]
access_key = %s
secret_key = %s
bucket_location = %s
host_base = %s
host_bucket = %s
use_https = False
use_mime_magic = False
`, s3server.AccessKey, s3server.SecretKey, s3server.Region, parsed.Host, parsed.Host), 0o600))
	return Sync{Bucket: "s3://" + bucket + "/", config: config}
}

// Up makes the bucket equal to the directory and returns how long that took.
func (s Sync) Up(ctx context.Context, dir string) (time.Duration, error) {
	return s.run(ctx, "sync", "--delete-removed", dir+"/", s.Bucket)
}

// Down downloads the whole bucket to the directory and returns how long that took.
func (s Sync) Down(ctx context.Context, dir string) (time.Duration, error) {
	return s.run(ctx, "sync", s.Bucket, dir+"/")
}

func (s Sync) run(ctx context.Context, args ...string) (time.Duration, error) {
	command := exec.CommandContext(ctx, "s3cmd",
		append([]string{"--config", s.config, "--no-progress", "--quiet"}, args...)...)
	begin := time.Now()
	output, err := command.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("s3cmd %s: %w: %s", args[0], err, output)
	}
	return time.Since(begin), nil
}
