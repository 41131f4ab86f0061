package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/bucket/buckettest"
)

// historyServer is a server with a Prometheus, and the command lines of its verbs.
type historyServer struct {
	prometheus, metrics string
	flags               []string
	project             string
	calls               func() string
}

func newHistoryServer(t *testing.T, s3 *buckettest.Server) historyServer {
	t.Helper()
	_, site := siteFlags(t)
	s := historyServer{prometheus: t.TempDir(), metrics: filepath.Join(t.TempDir(), "history.prom")}
	s.project, s.calls = fakeDocker(t, `case "$*" in *" ps "*) echo 5b3f6d6a1c2e ;; esac`)
	s.flags = append(site, "--env-file", settingsOf(t, s3.Bucket), "--prometheus", s.prometheus)
	return s
}

// holdVIP makes this server the holder of the VIP, with the bucket's record and the holder file.
func holdVIP(t *testing.T, s3 *buckettest.Server) (host, holder string) {
	t.Helper()
	host, err := serverName("none")
	require.NoError(t, err)
	s3.Put("handover/holder.json", `{"server":"`+host+`","since":"2026-11-23T04:39:21Z"}`)
	holder = filepath.Join(t.TempDir(), "holder")
	require.NoError(t, os.WriteFile(holder, nil, 0o644))
	return host, holder
}

// appendWAL appends to the write-ahead log.
func (s historyServer) appendWAL(t *testing.T, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Join(s.prometheus, "data", "wal"), 0o755))
	file, err := os.OpenFile(filepath.Join(s.prometheus, "data", "wal", "00000000"), os.O_CREATE|os.O_APPEND|os.O_WRONLY,
		0o644)
	require.NoError(t, err)
	_, err = file.WriteString(text)
	require.NoError(t, err)
	require.NoError(t, file.Close())
}

// readWAL returns the content of the write-ahead log below a directory.
func readWAL(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "data", "wal", "00000000"))
	require.NoError(t, err)
	return string(text)
}

// readMetrics returns the values in the file for the node exporter's textfile collector, by metric.
func (s historyServer) readMetrics(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(s.metrics)
	require.NoError(t, err)
	values := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name != "#" {
			values[name] = value
		}
	}
	return values
}

func TestHistoryMovesToTheNextServer(t *testing.T) {
	s3 := buckettest.Start(t)
	host, holder := holdVIP(t, s3)
	old := newHistoryServer(t, s3)
	old.appendWAL(t, "one, two")
	var stdout, stderr bytes.Buffer
	backup := append([]string{"backup", "--holder-file", holder, "--metrics", old.metrics}, old.flags...)
	require.Equal(t, exitDone, run(t.Context(), backup, io.Discard, &stderr), &stderr)
	old.appendWAL(t, ", three")
	require.Equal(t, exitDone, run(t.Context(), backup, io.Discard, &stderr), &stderr)
	metrics := old.readMetrics(t)
	require.Equal(t, "1", metrics["agent_backup_epoch"])
	require.Equal(t, "0", metrics["agent_backup_failures_total"])
	require.Equal(t, "2", metrics["agent_backup_objects"], "the new bytes, and the manifest")
	require.Regexp(t, `^[3-9]\d\d$`, metrics["agent_backup_bytes"])
	require.Regexp(t, `^0\.\d+$`, metrics["agent_backup_duration_seconds"])
	require.Regexp(t, `^\d{10}$`, metrics["agent_last_backup_timestamp_seconds"])

	successor := newHistoryServer(t, s3)
	require.NoError(t, os.WriteFile(filepath.Join(successor.prometheus, "collecting"), nil, 0o644))
	restore := append([]string{
		"restore", "--holder-file", holder + ".none", "--metrics", successor.metrics, "--project", successor.project,
	}, successor.flags...)
	require.Equal(t, exitDone, run(t.Context(), restore, &stdout, &stderr), &stderr)
	require.Contains(t, stdout.String(), "restore: history of "+host+", ")
	require.Equal(t, "one, two, three", readWAL(t, successor.prometheus))
	require.Equal(t, "ps --status running --quiet prometheus\n"+stopPrometheus+startPrometheus, successor.calls(),
		"Prometheus must not run during the restore")
	require.NoFileExists(t, filepath.Join(successor.prometheus, "collecting"), "the old server still collects")
	metrics = successor.readMetrics(t)
	require.Equal(t, "15", metrics["agent_restore_bytes"])
	require.Equal(t, "0", metrics["agent_restore_fallbacks"])
	require.Regexp(t, `^\d+(\.\d+)?$`, metrics["agent_restored_backup_age_seconds"])

	// The last data of the old server.
	old.appendWAL(t, ", four")
	require.Equal(t, exitDone, run(t.Context(), backup, io.Discard, &stderr), &stderr)
	s3.Put("handover/holder.json", oldHolds)
	stdout.Reset()
	project, calls := fakeDocker(t, "")
	handover := append([]string{"handover", "--wait", "50ms", "--project", project}, successor.flags...)
	require.Equal(t, exitDone, run(t.Context(), handover, &stdout, &stderr), &stderr)
	require.Contains(t, stdout.String(), "\nrestored: history of "+host+", ")
	require.Equal(t, "one, two, three, four", readWAL(t, successor.prometheus))
	require.Equal(t, stopPrometheus+startPrometheus, calls())
	require.FileExists(t, filepath.Join(successor.prometheus, "collecting"))
}

func TestFailedBackupOfCertificatesDoesNotBlockTheHistory(t *testing.T) {
	s3 := buckettest.Start(t)
	_, holder := holdVIP(t, s3)
	s := newHistoryServer(t, s3)
	s.appendWAL(t, "one")
	traefik := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(traefik, "acme"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(traefik, "acme", "acme.json"), []byte("{"), 0o600))
	args := append(append([]string{"backup", "--holder-file", holder, "--metrics", s.metrics}, s.flags...), "--traefik",
		traefik)
	var stderr bytes.Buffer
	require.Equal(t, exitFailed, run(t.Context(), args, io.Discard, &stderr))
	require.Contains(t, stderr.String(), "cannot back up the certificates: ")
	_, exists := s3.Object("history/manifests/00000001/00000001.json")
	require.True(t, exists)
	metrics := s.readMetrics(t)
	require.Equal(t, "1", metrics["agent_backup_failures_total"])
	require.NotContains(t, metrics, "agent_last_backup_timestamp_seconds", "no backup succeeded")

	// The other way round.
	require.NoError(t, os.WriteFile(filepath.Join(traefik, "acme", "acme.json"), nil, 0o600))
	require.NoError(t, os.RemoveAll(filepath.Join(s.prometheus, "data")))
	stderr.Reset()
	require.Equal(t, exitFailed, run(t.Context(), args, io.Discard, &stderr))
	require.NotContains(t, stderr.String(), "certificates")
	require.Equal(t, "2", s.readMetrics(t)["agent_backup_failures_total"])
}

func TestDrillVerifiesTheBackupAndChangesNothing(t *testing.T) {
	s3 := buckettest.Start(t)
	host, err := serverName("none")
	require.NoError(t, err)
	dir := t.TempDir()
	args := []string{"verify", "--env-file", settingsOf(t, s3.Bucket), "--dir", dir}
	var stdout, stderr bytes.Buffer
	require.Equal(t, exitFailed, run(t.Context(), args, &stdout, &stderr))
	require.Contains(t, stderr.String(), "level=ERROR msg=\"verify: no history was backed up yet\"")

	s3.Put("handover/holder.json", `{"server":"`+host+`","since":"2026-11-23T04:39:21Z"}`)
	holder := filepath.Join(t.TempDir(), "holder")
	require.NoError(t, os.WriteFile(holder, nil, 0o644))
	s := newHistoryServer(t, s3)
	s.appendWAL(t, "one, two")
	require.Equal(t, exitDone,
		run(t.Context(), append([]string{"backup", "--holder-file", holder}, s.flags...), io.Discard, &stderr), &stderr)
	s3.DenyPuts()
	stdout.Reset()
	stderr.Reset()
	require.Equal(t, exitFailed, run(t.Context(), args, &stdout, &stderr))
	require.Contains(t, stderr.String(), dir+" is not empty", "existing files prove nothing")

	dir = t.TempDir()
	args[len(args)-1] = dir
	require.Equal(t, exitDone, run(t.Context(), args, &stdout, &stderr), &stderr)
	var report map[string]any
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &report))
	require.Equal(t, host, report["server"])
	for name, want := range map[string]float64{"epoch": 1, "sequence": 1, "bytes": 8, "blocks": 0, "fallbacks": 0} {
		require.Equal(t, want, report[name], name)
	}
	for _, name := range []string{"ageSeconds", "seconds"} {
		require.IsType(t, 0.0, report[name], name)
	}
	require.Equal(t, "one, two", readWAL(t, dir))
}

func TestErrorOfVerifyUsageNamesTheFix(t *testing.T) {
	for settings, want := range map[string]string{
		"BACKUP_BUCKET=": "server.env does not set BACKUP_BUCKET\n",
		"STACK=":         "server.env does not set STACK\n",
		"STACK=s":        "usage: agent verify: --dir is missing: give an empty directory",
	} {
		var stderr bytes.Buffer
		require.Equal(t, exitUsage,
			run(t.Context(), []string{"verify", "--env-file", settingsOf(t, "b", settings)}, io.Discard, &stderr))
		require.Contains(t, stderr.String(), want)
	}
}

func TestDrillFailsIfNoBackupIsUsable(t *testing.T) {
	s3 := buckettest.Start(t)
	s3.Put("history/manifests/00000001/00000001.json", "{}")
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"verify", "--env-file", settingsOf(t, s3.Bucket), "--dir", t.TempDir()}, &stdout,
		&stderr)
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr.String(), "verify: none of the 1 backups in the bucket is usable")
}
