package cmd

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/cloud"
)

func TestBackendIsStateBucketOnLocalS3(t *testing.T) {
	backend, err := url.Parse(backendURL(cloud.S3{Endpoint: "https://198.18.0.3", Region: "us-east-1"}))
	require.NoError(t, err)
	require.Equal(t, "s3", backend.Scheme)
	require.Equal(t, stateBucket, backend.Host)
	require.Equal(t, url.Values{"region": {"us-east-1"}, "endpoint": {"https://198.18.0.3"}, "s3ForcePathStyle": {"true"}},
		backend.Query())
}
