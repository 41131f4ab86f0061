package components

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnyStackNameResultsInAValidBucketName(t *testing.T) {
	for stack, expected := range map[string]string{
		"production":            "production-content-",
		"Test_2.eu":             "test-2-eu-content-",
		strings.Repeat("a", 60): strings.Repeat("a", 28) + "-content-",
	} {
		prefix := bucketPrefix(stack, "content")
		require.Equal(t, expected, prefix)
		require.LessOrEqual(t, len(prefix), maxBucketPrefix)
	}
}
