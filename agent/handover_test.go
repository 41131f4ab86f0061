package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/bucket/buckettest"
)

const oldHolds = `{"server":"i-old","since":"2026-11-23T04:39:21Z"}`

func TestTheFirstServerHasNobodyToTakeOverFrom(t *testing.T) {
	s3 := buckettest.Start(t)
	var stdout, stderr bytes.Buffer
	env := environment(t, "BACKUP_BUCKET="+s3.Bucket, "AWS_REGION=eu-central-1")
	require.Equal(t, exitDone, run(t.Context(), []string{"handover", "--env-file", env}, &stdout, &stderr), &stderr)
	require.Equal(t, "handover: no server before this one\n", stdout.String())
	require.Empty(t, stderr.String())
}

func TestANewServerAnnouncesItselfAndWaitsForTheAnswer(t *testing.T) {
	s3 := buckettest.Start(t)
	s3.Put("handover/holder.json", oldHolds)
	s3.OnGet(func(key string, _ *http.Request) {
		if id := record(t, s3, "handover/announcement.json")["id"]; key == "handover/answer.json" && id != "" {
			s3.Put(key, fmt.Sprintf(`{"announcement":%q,"server":"i-old","answered":"2026-11-23T04:40:00Z"}`, id))
		}
	})
	var stdout, stderr bytes.Buffer
	args := []string{"handover", "--env-file", "none", "--bucket", s3.Bucket, "--wait", "20s", "--window", "3m"}
	require.Equal(t, exitDone, run(t.Context(), args, &stdout, &stderr), &stderr)
	require.Regexp(t, `^handover: i-old handed over after \d\.\d s\n$`, stdout.String())
	require.Empty(t, stderr.String())

	announcement := record(t, s3, "handover/announcement.json")
	host, err := serverName("none")
	require.NoError(t, err)
	require.Equal(t, host, announcement["server"])
	announced, err := time.Parse(time.RFC3339Nano, announcement["announced"])
	require.NoError(t, err)
	expires, err := time.Parse(time.RFC3339Nano, announcement["expires"])
	require.NoError(t, err)
	require.Equal(t, 3*time.Minute, expires.Sub(announced))
}

func TestADeadServerDoesNotStopAnUpdate(t *testing.T) {
	s3 := buckettest.Start(t)
	s3.Put("handover/holder.json", oldHolds)
	var stdout, stderr bytes.Buffer
	args := []string{"handover", "--env-file", "none", "--bucket", s3.Bucket, "--wait", "50ms"}
	require.Equal(t, exitDone, run(t.Context(), args, &stdout, &stderr), &stderr)
	require.Equal(t, "handover: i-old did not answer within 50ms: going on without its last data\n", stdout.String())
}

func TestABucketThatMayNotBeWrittenToStopsAnUpdate(t *testing.T) {
	s3 := buckettest.Start(t)
	s3.Put("handover/holder.json", oldHolds)
	s3.DenyPuts()
	var stdout, stderr bytes.Buffer
	require.Equal(t, exitFailed, run(t.Context(), []string{"handover", "--env-file", "none", "--bucket", s3.Bucket}, &stdout, &stderr))
	require.Empty(t, stdout.String())
	require.Equal(t, "level=ERROR msg=\"handover: announce this server: put s3://content/handover/announcement.json: "+
		"access denied (AccessDenied: AccessDenied in words): look at what the role of this server may do in the backup bucket\"\n", stderr.String())
}

func TestAWrongCommandLineOfHandoverIsAnsweredWithWhatToWrite(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"", exitUsage, "usage: agent handover: --bucket is missing, and none names no BACKUP_BUCKET: give the name of the backup bucket"},
		{"--bucket b --wait 0s", exitUsage, "usage: agent handover: --wait is 0s: give a duration above zero, such as 30s"},
		{"--bucket b --wait 2m", exitUsage, "usage: agent handover: --wait is 2m0s and --window 2m0s: give a window that is longer than the wait"},
		{"--bucket b --window 30s", exitUsage, "usage: agent handover: --wait is 30s and --window 30s: give a window that is longer than the wait"},
		{"--bucket b --wait long", exitUsage, `usage: agent handover: invalid value "long" for flag -wait`},
		{"--bucket b now", exitUsage, `usage: agent handover: unexpected argument "now": flags only`},
		{"-h", exitDone, "usage: agent handover [flags]"},
	} {
		t.Run(c.args, func(t *testing.T) {
			var stderr bytes.Buffer
			args := append([]string{"handover", "--env-file", "none"}, strings.Fields(c.args)...)
			require.Equal(t, c.code, run(t.Context(), args, io.Discard, &stderr))
			require.Contains(t, stderr.String(), c.says)
		})
	}
}
