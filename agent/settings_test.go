package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// writeSettings writes a file of settings.
func writeSettings(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "server.env")
	require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644))
	return path
}

// settingsOf writes the settings of a stack with these buckets and these changes, and returns the path of the
// file.
func settingsOf(t *testing.T, bucket string, changed ...string) string {
	t.Helper()
	return writeSettings(t, append([]string{
		"CONTENT_BUCKET=" + bucket, "BACKUP_BUCKET=" + bucket, "AWS_REGION=eu-central-1", "STACK=production",
		"BACKUP_RETENTION=24h",
		"VIP=198.51.100.7", "RELEASES_KEPT=3", "DOMAIN=site.example.org", "SITE_NAMES=example.org",
		"ACME_DIRECTORY=https://acme.example.org/dir",
	}, changed...)...)
}
