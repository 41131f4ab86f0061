package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/bucket/buckettest"
	"immutable-infra/agent/internal/certificates/certificatestest"
	"immutable-infra/agent/internal/imdstest"
)

// serveMetadata serves the metadata of a server with this public address.
func serveMetadata(t *testing.T, address string) {
	t.Helper()
	imdstest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/latest/meta-data/public-ipv4" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, address)
	})
}

// record reads a record of the bucket; nil if it does not exist.
func record(t *testing.T, s3 *buckettest.Server, key string) map[string]string {
	t.Helper()
	object, exists := s3.Object(key)
	if !exists {
		return nil
	}
	require.Equal(t, "application/json", object.ContentType)
	var read map[string]string
	require.NoError(t, json.Unmarshal([]byte(object.Content), &read))
	return read
}

// eventually waits for an event that takes milliseconds.
func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	require.Eventually(t, holds, 30*time.Second, 10*time.Millisecond)
}

func TestWatchRunsUntilStopped(t *testing.T) {
	s3 := buckettest.Start(t)
	serveMetadata(t, "198.51.100.7")
	dir := t.TempDir()
	traefik, states := t.TempDir(), t.TempDir()
	for _, dir := range []string{"dynamic", "acme"} {
		require.NoError(t, os.Mkdir(filepath.Join(traefik, dir), 0o700))
	}
	for _, state := range []string{"waiting", "serving", "draining"} {
		require.NoError(t, os.WriteFile(filepath.Join(states, state+".yaml"), []byte(state), 0o644))
	}
	certificates := certificatestest.Storage(t, certificatestest.New(t, time.Now().AddDate(0, 3, 0), "example.org"))
	require.NoError(t, os.WriteFile(filepath.Join(traefik, "acme", "acme.json"), []byte(certificates), 0o600))
	requireState := func(want string) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(traefik, "dynamic", "state.yaml"))
		require.NoError(t, err)
		require.Equal(t, want, string(text))
	}
	prometheus := t.TempDir()
	log := filepath.Join(prometheus, "data", "wal", "00000000")
	require.NoError(t, os.MkdirAll(filepath.Dir(log), 0o755))
	require.NoError(t, os.WriteFile(log, []byte("samples"), 0o644))
	command, stderr := agent(t, "watch", "--env-file", settingsOf(t, s3.Bucket), "--holder-file",
		filepath.Join(dir, "holder"), "--acme-ca", "none", "--traefik", traefik, "--states", states, "--poll", "10ms",
		"--drain", "10ms",
		"--prometheus", prometheus, "--history-state", filepath.Join(t.TempDir(), "history.json"))
	require.NoError(t, command.Start())

	eventually(t, func() bool { _, err := os.Stat(filepath.Join(dir, "holder")); return err == nil })
	host, err := serverName("none")
	require.NoError(t, err)
	require.Equal(t, host, record(t, s3, "handover/holder.json")["server"])
	requireState("serving")

	now := time.Now().UTC()
	s3.Put("handover/announcement.json", fmt.Sprintf(`{"id":"i-new-1","server":"i-new","announced":%q,"expires":%q}`,
		now.Format(time.RFC3339Nano), now.Add(time.Minute).Format(time.RFC3339Nano)))
	// A unit that runs as root stops Prometheus, which writes its samples.
	pause := filepath.Join(dir, "pause")
	eventually(t, func() bool { _, err := os.Stat(pause); return err == nil })
	require.Nil(t, record(t, s3, "handover/answer.json"), "its last data is not uploaded yet")
	require.NoError(t, os.WriteFile(log, []byte("samples, and the last ones"), 0o644))
	require.NoError(t, os.Remove(pause))
	eventually(t, func() bool { return record(t, s3, "handover/answer.json")["announcement"] == "i-new-1" })
	require.Equal(t, host, record(t, s3, "handover/answer.json")["server"])
	requireState("draining")
	backup, exists := s3.Object("certificates/c361ddfb95553cdf/acme.json")
	require.True(t, exists, "the data is uploaded before the acknowledgment")
	require.Equal(t, certificates, backup.Content)
	last, exists := s3.Object("history/wal/00000001/00000000/000000000000-000000000026")
	require.True(t, exists)
	require.Equal(t, "samples, and the last ones", last.Content)
	_, exists = s3.Object("history/manifests/00000001/00000001.json")
	require.True(t, exists)

	// It continues to check after the handover.
	s3.TakeRequests()
	eventually(t, func() bool { return slices.Contains(s3.TakeRequests(), "GET handover/announcement.json 304") })
	require.NoError(t, command.Process.Signal(syscall.SIGTERM))
	require.NoError(t, command.Wait(), stderr)
	require.Regexp(t, `^level=INFO msg="this server holds the VIP" vip=198\.51\.100\.7
level=INFO msg="handing over: asking visitors to reconnect" successor=i-new until=\S+
level=INFO msg="backed up the certificates" names=example\.org to=certificates/c361ddfb95553cdf/acme\.json
level=INFO msg="backing up the history: claimed an epoch" epoch=1
level=INFO msg="handed over" successor=i-new
$`, stderr.String())
}

func TestErrorOfWatchUsageNamesTheFix(t *testing.T) {
	for _, c := range []struct {
		settings []string
		args     string
		code     int
		want     string
	}{
		{[]string{"BACKUP_BUCKET="}, "", exitUsage, "server.env does not set BACKUP_BUCKET\n"},
		{[]string{"SITE_NAMES="}, "", exitUsage, "server.env does not set SITE_NAMES\n"},
		{[]string{"ACME_DIRECTORY="}, "", exitUsage, "server.env does not set ACME_DIRECTORY\n"},
		{[]string{"VIP="}, "", exitUsage, "server.env does not set VIP\n"},
		{[]string{"VIP=", "STACK="}, "", exitUsage, "server.env does not set STACK; "},
		{[]string{"VIP=example.org"}, "", exitUsage,
			`usage: agent watch: VIP is "example.org": expected an IPv4 address, such as 198.51.100.7`},
		{[]string{"VIP=2001:db8::7"}, "", exitUsage, `usage: agent watch: VIP is "2001:db8::7": expected an IPv4 address`},
		{nil, "--poll 0s", exitUsage, "usage: agent watch: --poll is 0s: give a duration above zero, such as 2s"},
		{nil, "--drain -1s", exitUsage, "usage: agent watch: --drain is -1s: give a duration, such as 3s, or 0s"},
		{nil, "now", exitUsage, `usage: agent watch: unexpected argument "now": flags only`},
		{nil, "-h", exitDone, "usage: agent watch [flags]"},
	} {
		t.Run(c.want, func(t *testing.T) {
			var stderr bytes.Buffer
			args := append([]string{"watch", "--env-file", settingsOf(t, "b", c.settings...)}, strings.Fields(c.args)...)
			require.Equal(t, c.code, run(t.Context(), args, io.Discard, &stderr))
			require.Contains(t, stderr.String(), c.want)
		})
	}
}
