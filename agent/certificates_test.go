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
	args := append([]string{
		"backup", "--env-file", settingsOf(t, s3.Bucket), "--holder-file", holder, "--metrics", metrics,
	}, flags...)

	var stderr bytes.Buffer
	require.Equal(t, exitDone, run(t.Context(), args, io.Discard, &stderr), &stderr)
	require.Empty(t, s3.TakeRequests())
	require.Empty(t, stderr.String(), "a server without the VIP logs nothing")
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
	require.Contains(t, stderr.String(),
		"level=ERROR msg=\"backup: cannot back up the certificates: put s3://content/"+acmeKey+": access denied")
	after, err := os.ReadFile(metrics)
	require.NoError(t, err)
	require.Contains(t, string(after), "\nagent_backup_failures_total 1\n")
	const success = "agent_last_backup_timestamp_seconds "
	_, when, _ := strings.Cut(string(noted), "\n"+success)
	require.Contains(t, string(after), "\n"+success+when, "the last success is kept")
}

func TestRestorePrintsItsResult(t *testing.T) {
	s3 := buckettest.Start(t)
	traefik, flags := siteFlags(t)
	project, _ := fakeDocker(t, "")
	holder := filepath.Join(t.TempDir(), "holder")
	args := append([]string{
		"restore", "--env-file", settingsOf(t, s3.Bucket), "--holder-file", holder, "--project", project,
	}, flags...)

	var stdout, stderr bytes.Buffer
	require.Equal(t, exitDone, run(t.Context(), args, &stdout, &stderr), &stderr)
	const noHistory = "restore: no history was backed up yet: Prometheus starts empty\n"
	require.Equal(t,
		"restore: no certificates were backed up yet; example.org: requested when the VIP arrives\n"+noHistory,
		stdout.String())
	require.FileExists(t, filepath.Join(traefik, "restored.json"))

	stdout.Reset()
	text := certificatestest.Storage(t,
		certificatestest.New(t, time.Date(2038, 1, 19, 3, 14, 7, 0, time.UTC), "example.org"))
	s3.Put(acmeKey, text)
	require.Equal(t, exitDone, run(t.Context(), args, &stdout, &stderr), &stderr)
	require.Equal(t, "restore: example.org: valid until 2038-01-19T03:14:07Z\n"+noHistory, stdout.String())
	restored, err := os.ReadFile(filepath.Join(traefik, "acme", "acme.json"))
	require.NoError(t, err)
	require.Equal(t, text, string(restored))

	s3.Deny()
	require.Equal(t, exitFailed, run(t.Context(), args, io.Discard, &stderr))
	require.Contains(t, stderr.String(),
		"level=ERROR msg=\"restore: cannot restore the certificates: the backup is unreadable; refusing to treat it as "+
			"missing: ")
}

func TestHolderOfTheVIPDoesNotRestoreOverItsData(t *testing.T) {
	s3 := buckettest.Start(t)
	traefik, flags := siteFlags(t)
	s3.Put(acmeKey, certificatestest.Storage(t, certificatestest.New(t, time.Now().AddDate(0, 3, 0), "example.org")))
	holder := filepath.Join(t.TempDir(), "holder")
	require.NoError(t, os.WriteFile(holder, nil, 0o644))
	var stdout, stderr bytes.Buffer
	args := append([]string{"restore", "--env-file", settingsOf(t, s3.Bucket), "--holder-file", holder}, flags...)
	require.Equal(t, exitDone, run(t.Context(), args, &stdout, &stderr), &stderr)
	require.Equal(t, "restore: skipped: this server is active, its data is authoritative\n", stdout.String())
	require.NoFileExists(t, filepath.Join(traefik, "acme", "acme.json"))
}

func TestOnlyCertificatesOfTrustedAuthorityAreRestored(t *testing.T) {
	s3 := buckettest.Start(t)
	_, flags := siteFlags(t)
	ca := filepath.Join(t.TempDir(), "acme-ca.pem")
	project, _ := fakeDocker(t, "")
	s3.Put(acmeKey, certificatestest.Storage(t, certificatestest.New(t, time.Now().AddDate(0, 3, 0), "example.org")))
	restored := func() string {
		var stdout, stderr bytes.Buffer
		args := append([]string{
			"restore", "--env-file", settingsOf(t, s3.Bucket), "--holder-file", ca + ".none", "--project", project,
		}, flags...)
		require.Equal(t, exitDone, run(t.Context(), append(args, "--acme-ca", ca), &stdout, &stderr), &stderr)
		return stdout.String()
	}
	require.NoError(t, os.WriteFile(ca, []byte("-----BEGIN CERTIFICATE-----\n"), 0o644))
	require.Contains(t, restored(), "no certificates were backed up yet")

	require.NoError(t, os.WriteFile(ca, nil, 0o644))
	require.Contains(t, restored(), "example.org: valid until", "an empty file is like none")
}

func TestErrorOfBackupAndRestoreUsageNamesTheFix(t *testing.T) {
	for _, verb := range []string{"backup", "restore"} {
		for _, c := range []struct {
			settings []string
			args     string
			code     int
			want     string
		}{
			{[]string{"BACKUP_BUCKET="}, "", exitUsage, "server.env does not set BACKUP_BUCKET\n"},
			{[]string{"SITE_NAMES="}, "", exitUsage, "server.env does not set SITE_NAMES\n"},
			{[]string{"ACME_DIRECTORY="}, "", exitUsage, "server.env does not set ACME_DIRECTORY\n"},
			{[]string{"STACK="}, "", exitUsage, "server.env does not set STACK\n"},
			{[]string{"BACKUP_RETENTION=1m"}, "", exitUsage, `BACKUP_RETENTION is "1m": expected 1h0m0s or more`},
			{nil, "now", exitUsage, `unexpected argument "now": flags only`},
			{nil, "-h", exitDone, "[flags]"},
		} {
			t.Run(verb+" "+c.want, func(t *testing.T) {
				var stderr bytes.Buffer
				args := append([]string{verb, "--env-file", settingsOf(t, "b", c.settings...)}, strings.Fields(c.args)...)
				require.Equal(t, c.code, run(t.Context(), args, io.Discard, &stderr))
				require.Contains(t, stderr.String(), "usage: agent "+verb)
				require.Contains(t, stderr.String(), c.want)
			})
		}
	}
}
