package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/bucket/buckettest"
	"immutable-infra/agent/internal/certificates/certificatestest"
)

const acmeKey = "certificates/c361ddfb95553cdf/acme.json"

func TestOnlyTheServerWithTheVIPBacksUp(t *testing.T) {
	s3 := buckettest.Start(t)
	traefik, flags := siteFlags(t)
	text := certificatestest.Storage(t, certificatestest.New(t, time.Now().AddDate(0, 3, 0), "example.org"))
	require.NoError(t, os.WriteFile(filepath.Join(traefik, "acme", "acme.json"), []byte(text), 0o600))
	holder := filepath.Join(t.TempDir(), "holder")
	metrics := filepath.Join(t.TempDir(), "backup.prom")
	args := append([]string{"backup", "--env-file", "none", "--bucket", s3.Bucket, "--holder-file", holder, "--metrics", metrics}, flags...)

	var stderr bytes.Buffer
	require.Equal(t, exitDone, run(t.Context(), args, io.Discard, &stderr), &stderr)
	require.Empty(t, s3.TakeRequests())
	require.Empty(t, stderr.String(), "this is how most of a server's first minutes are")
	require.NoFileExists(t, metrics, "nothing was backed up")

	require.NoError(t, os.WriteFile(holder, nil, 0o644))
	require.Equal(t, exitDone, run(t.Context(), args, io.Discard, &stderr), &stderr)
	stored, _ := s3.Object(acmeKey)
	require.Equal(t, text, stored.Content)
	require.Equal(t, "level=INFO msg=\"backed up the certificates\" names=example.org to="+acmeKey+"\n", stderr.String())
	noted, err := os.ReadFile(metrics)
	require.NoError(t, err)
	require.Regexp(t, `(?m)^agent_last_backup_timestamp_seconds \d{10}$`, string(noted))

	stderr.Reset()
	s3.DenyPuts()
	s3.Delete(acmeKey)
	require.Equal(t, exitFailed, run(t.Context(), args, io.Discard, &stderr))
	require.Contains(t, stderr.String(), "level=ERROR msg=\"backup: back up the certificates: put s3://content/"+acmeKey+": access denied")
	after, err := os.ReadFile(metrics)
	require.NoError(t, err)
	require.Contains(t, string(after), "\nagent_backup_failures_total 1\n")
	const success = "agent_last_backup_timestamp_seconds "
	_, when, _ := strings.Cut(string(noted), "\n"+success)
	require.Contains(t, string(after), "\n"+success+when, "the last success is not forgotten")
}

func TestARestoreSaysWhatItFound(t *testing.T) {
	s3 := buckettest.Start(t)
	traefik, flags := siteFlags(t)
	project, _ := dockerIn(t, "")
	holder := filepath.Join(t.TempDir(), "holder")
	args := append([]string{"restore", "--env-file", "none", "--bucket", s3.Bucket, "--holder-file", holder, "--project", project}, flags...)

	var stdout, stderr bytes.Buffer
	require.Equal(t, exitDone, run(t.Context(), args, &stdout, &stderr), &stderr)
	const noHistory = "restore: no history was backed up yet: Prometheus begins with nothing\n"
	require.Equal(t, "restore: no certificates were backed up yet; example.org: asked for when the VIP arrives\n"+noHistory, stdout.String())
	require.FileExists(t, filepath.Join(traefik, "restored.json"))

	stdout.Reset()
	text := certificatestest.Storage(t, certificatestest.New(t, time.Date(2038, 1, 19, 3, 14, 7, 0, time.UTC), "example.org"))
	s3.Put(acmeKey, text)
	require.Equal(t, exitDone, run(t.Context(), args, &stdout, &stderr), &stderr)
	require.Equal(t, "restore: example.org: valid until 2038-01-19T03:14:07Z\n"+noHistory, stdout.String())
	restored, err := os.ReadFile(filepath.Join(traefik, "acme", "acme.json"))
	require.NoError(t, err)
	require.Equal(t, text, string(restored))

	s3.Deny()
	require.Equal(t, exitFailed, run(t.Context(), args, io.Discard, &stderr))
	require.Contains(t, stderr.String(), "level=ERROR msg=\"restore: restore the certificates: the backup cannot be read, which is not as if there were none: ")
}

func TestAServerWithTheVIPRestoresNothingOverWhatItHas(t *testing.T) {
	s3 := buckettest.Start(t)
	traefik, flags := siteFlags(t)
	s3.Put(acmeKey, certificatestest.Storage(t, certificatestest.New(t, time.Now().AddDate(0, 3, 0), "example.org")))
	holder := filepath.Join(t.TempDir(), "holder")
	require.NoError(t, os.WriteFile(holder, nil, 0o644))
	var stdout, stderr bytes.Buffer
	args := append([]string{"restore", "--env-file", "none", "--bucket", s3.Bucket, "--holder-file", holder}, flags...)
	require.Equal(t, exitDone, run(t.Context(), args, &stdout, &stderr), &stderr)
	require.Equal(t, "restore: this server has the VIP: what it has is what counts\n", stdout.String())
	require.NoFileExists(t, filepath.Join(traefik, "acme", "acme.json"))
}

func TestTheCertificatesAreThoseOfTheAuthorityThatIsTrusted(t *testing.T) {
	s3 := buckettest.Start(t)
	_, flags := siteFlags(t)
	ca := filepath.Join(t.TempDir(), "acme-ca.pem")
	project, _ := dockerIn(t, "")
	s3.Put(acmeKey, certificatestest.Storage(t, certificatestest.New(t, time.Now().AddDate(0, 3, 0), "example.org")))
	restored := func() string {
		var stdout, stderr bytes.Buffer
		args := append([]string{"restore", "--env-file", "none", "--bucket", s3.Bucket, "--holder-file", ca + ".none", "--project", project}, flags...)
		require.Equal(t, exitDone, run(t.Context(), append(args, "--acme-ca", ca), &stdout, &stderr), &stderr)
		return stdout.String()
	}
	require.NoError(t, os.WriteFile(ca, []byte("-----BEGIN CERTIFICATE-----\n"), 0o644))
	require.Contains(t, restored(), "no certificates were backed up yet")

	require.NoError(t, os.WriteFile(ca, nil, 0o644))
	require.Contains(t, restored(), "example.org: valid until", "an empty file is as none")
}

func TestAWrongCommandLineOfBackupAndRestoreIsAnsweredWithWhatToWrite(t *testing.T) {
	for _, verb := range []string{"backup", "restore"} {
		for _, c := range []struct {
			args string
			code int
			says string
		}{
			{"", exitUsage, "--bucket is missing, and none names no BACKUP_BUCKET: give the name of the backup bucket"},
			{"--bucket b", exitUsage, "--names is missing, and the server's environment has no SITE_NAMES: give the site's names, separated by commas"},
			{"--bucket b --names n", exitUsage, "--acme-directory is missing, and the server's environment has no ACME_DIRECTORY: give the URL of the certificate authority's directory"},
			{"--bucket b --names n --acme-directory d", exitUsage, "--stack is missing, and the server's environment has no STACK: give the name of the stack"},
			{"--bucket b --names n --acme-directory d --stack s --retention 1m", exitUsage, "--retention is 1m0s: give one hour or more, such as 24h"},
			{"--bucket b now", exitUsage, `unexpected argument "now": flags only`},
			{"-h", exitDone, "[flags]"},
		} {
			t.Run(verb+" "+c.args, func(t *testing.T) {
				var stderr bytes.Buffer
				args := append([]string{verb, "--env-file", "none"}, strings.Fields(c.args)...)
				require.Equal(t, c.code, run(t.Context(), args, io.Discard, &stderr))
				require.Contains(t, stderr.String(), "usage: agent "+verb)
				require.Contains(t, stderr.String(), c.says)
			})
		}
	}
}
