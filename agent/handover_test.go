package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/bucket/buckettest"
	"immutable-infra/agent/internal/certificates/certificatestest"
)

const oldHolds = `{"server":"i-old","since":"2026-11-23T04:39:21Z"}`

// siteFlags returns the flags of a verb that handles the certificates of a new server, and the directory of
// Traefik.
func siteFlags(t *testing.T) (traefik string, flags []string) {
	t.Helper()
	traefik = t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(traefik, "acme"), 0o700))
	return traefik, append(historyArgs(t), "--acme-ca", "none", "--traefik", traefik)
}

// historyArgs returns the flags by which a verb finds the history of a server whose Prometheus has never run.
func historyArgs(t *testing.T) []string {
	t.Helper()
	return []string{"--prometheus", t.TempDir(), "--history-state", filepath.Join(t.TempDir(), "history.json")}
}

// handoverArgs returns the command line of `agent handover` on such a server, with a Docker whose commands all
// succeed.
func handoverArgs(t *testing.T, flags ...string) []string {
	t.Helper()
	_, site := siteFlags(t)
	project, _ := fakeDocker(t, "")
	return append(append([]string{"handover", "--project", project, "--metrics", filepath.Join(project, "restore.prom")},
		site...), flags...)
}

// fakeDocker replaces Docker by a program that records its calls, and then runs the script. It returns the compose
// project, and a function that returns the calls so far.
func fakeDocker(t *testing.T, script string) (project string, calls func() string) {
	t.Helper()
	programs, project := t.TempDir(), t.TempDir()
	install(t, programs, "docker", `echo "$*" >>calls; `+script)
	t.Setenv("PATH", programs+":"+os.Getenv("PATH"))
	return project, func() string {
		text, err := os.ReadFile(filepath.Join(project, "calls"))
		if errors.Is(err, fs.ErrNotExist) {
			return ""
		}
		require.NoError(t, err)
		return strings.ReplaceAll(string(text), "compose --progress plain ", "")
	}
}

const (
	stopPrometheus  = "stop prometheus\n"
	startPrometheus = "up --detach --no-deps --no-recreate --wait --wait-timeout 60 prometheus\n"
)

func TestFirstServerStartsWithoutHandover(t *testing.T) {
	s3 := buckettest.Start(t)
	var stdout, stderr bytes.Buffer
	prometheus := t.TempDir()
	project, calls := fakeDocker(t, "case \"$*\" in *stop*) ;; *) test -e "+prometheus+"/collecting || exit 1 ;; esac")
	require.Equal(t, exitDone,
		run(t.Context(), []string{
			"handover", "--env-file", settingsOf(t, s3.Bucket), "--prometheus", prometheus, "--project", project,
		}, &stdout, &stderr), &stderr)
	require.Equal(t, "handover: no previous server\n", stdout.String())
	require.Empty(t, stderr.String())
	require.Equal(t, stopPrometheus+startPrometheus, calls(), "no other server collects")
}

func TestNewServerRequestsHandoverAndAwaitsAcknowledgment(t *testing.T) {
	s3 := buckettest.Start(t)
	s3.Put("handover/holder.json", oldHolds)
	s3.OnGet(func(key string, _ *http.Request) {
		if id := record(t, s3, "handover/announcement.json")["id"]; key == "handover/answer.json" && id != "" {
			s3.Put(key, fmt.Sprintf(`{"announcement":%q,"server":"i-old","answered":"2026-11-23T04:40:00Z"}`, id))
		}
	})
	var stdout, stderr bytes.Buffer
	args := handoverArgs(t, "--env-file", settingsOf(t, s3.Bucket), "--wait", "20s", "--window", "3m")
	require.Equal(t, exitDone, run(t.Context(), args, &stdout, &stderr), &stderr)
	require.Regexp(t, `^handover: i-old handed over after \d\.\d s
restored: no history was backed up yet: Prometheus starts empty
$`, stdout.String())
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

func TestTraefikRestartsForNewerCertificatesOfTheOldServer(t *testing.T) {
	s3 := buckettest.Start(t)
	s3.Put("handover/holder.json", oldHolds)
	traefik, flags := siteFlags(t)
	renewed := certificatestest.Storage(t, certificatestest.New(t, time.Now().AddDate(0, 3, 0), "example.org"))
	s3.Put("certificates/c361ddfb95553cdf/acme.json", renewed)
	project, calls := fakeDocker(t, `case "$*" in *" ps "*) echo 5b3f6d6a1c2e ;; esac`)

	var stdout, stderr bytes.Buffer
	args := append([]string{"handover", "--env-file", settingsOf(t, s3.Bucket), "--wait", "50ms", "--project", project},
		flags...)
	require.Equal(t, exitDone, run(t.Context(), args, &stdout, &stderr), &stderr)
	require.Regexp(t, `^handover: i-old did not answer within 50ms: continuing without its last data
restored newer certificates: example\.org: valid until 20\S+Z
restored: no history was backed up yet: Prometheus starts empty
$`, stdout.String())
	text, err := os.ReadFile(filepath.Join(traefik, "acme", "acme.json"))
	require.NoError(t, err)
	require.Equal(t, renewed, string(text))
	require.Contains(t, calls(), "restart --no-deps traefik\n")
}

func TestDeadServerDoesNotBlockUpdate(t *testing.T) {
	s3 := buckettest.Start(t)
	s3.Put("handover/holder.json", oldHolds)
	var stdout, stderr bytes.Buffer
	args := handoverArgs(t, "--env-file", settingsOf(t, s3.Bucket), "--wait", "50ms")
	require.Equal(t, exitDone, run(t.Context(), args, &stdout, &stderr), &stderr)
	require.Equal(t, "handover: i-old did not answer within 50ms: continuing without its last data\n"+
		"restored: no history was backed up yet: Prometheus starts empty\n", stdout.String())
}

func TestUnwritableBucketFailsUpdate(t *testing.T) {
	s3 := buckettest.Start(t)
	s3.Put("handover/holder.json", oldHolds)
	s3.DenyPuts()
	var stdout, stderr bytes.Buffer
	require.Equal(t, exitFailed,
		run(t.Context(), handoverArgs(t, "--env-file", settingsOf(t, s3.Bucket)), &stdout, &stderr))
	require.Empty(t, stdout.String())
	require.Equal(t,
		"level=ERROR msg=\"handover: cannot request the handover: put s3://content/handover/announcement.json: "+
			"access denied (AccessDenied: AccessDenied in words): check what this server's role may do in the backup bucket\"\n",
		stderr.String())
}

func TestErrorOfHandoverUsageNamesTheFix(t *testing.T) {
	for _, c := range []struct {
		settings []string
		args     string
		code     int
		want     string
	}{
		{[]string{"BACKUP_BUCKET="}, "", exitUsage, "server.env does not set BACKUP_BUCKET\n"},
		{nil, "--wait 0s", exitUsage, "usage: agent handover: --wait is 0s: give a duration above zero, such as 30s"},
		{nil, "--wait 2m", exitUsage,
			"usage: agent handover: --wait is 2m0s and --window 2m0s: give a window that is longer than the wait"},
		{nil, "--window 30s", exitUsage,
			"usage: agent handover: --wait is 30s and --window 30s: give a window that is longer than the wait"},
		{[]string{"SITE_NAMES="}, "", exitUsage, "server.env does not set SITE_NAMES\n"},
		{nil, "--wait long", exitUsage, `usage: agent handover: invalid value "long" for flag -wait`},
		{nil, "now", exitUsage, `usage: agent handover: unexpected argument "now": flags only`},
		{nil, "-h", exitDone, "usage: agent handover [flags]"},
	} {
		t.Run(c.want, func(t *testing.T) {
			var stderr bytes.Buffer
			args := append([]string{"handover", "--env-file", settingsOf(t, "b", c.settings...)}, strings.Fields(c.args)...)
			require.Equal(t, c.code, run(t.Context(), args, io.Discard, &stderr))
			require.Contains(t, stderr.String(), c.want)
		})
	}
}

// The previous server's objects must not block its replacement, at either restore.
func TestInvalidBucketDoesNotBlockUpdateAndIsInMetrics(t *testing.T) {
	for _, verb := range []string{"restore", "handover"} {
		t.Run(verb, func(t *testing.T) {
			s3 := buckettest.Start(t)
			s3.Put("certificates/c361ddfb95553cdf/acme.json", "{}")
			s3.Put("history/manifests/00000001/00000001.json", `{"version":999}`)
			s3.Put("history/manifests/18446744073709551615/18446744073709551615.json", `{}`)
			s3.Put("history/epochs/18446744073709551615.json", `[]`)
			s3.Put("handover/holder.json", strings.Repeat("x", 5_000))
			s3.Put("handover/answer.json", `{"announcement":[]}`)
			args := handoverArgs(t, "--env-file", settingsOf(t, s3.Bucket))
			args[0] = verb
			if verb == "handover" {
				args = append(args, "--wait", "50ms")
			}
			var stdout, stderr bytes.Buffer
			require.Equal(t, exitDone, run(t.Context(), args, &stdout, &stderr), &stderr)
			require.Contains(t, stdout.String(), "CERTIFICATES IN THE BACKUP BUCKET ARE UNUSABLE")
			require.Contains(t, stdout.String(), "NO BACKUP OF THE HISTORY IN THE BUCKET IS USABLE (2)")
			text, err := os.ReadFile(args[slices.Index(args, "--metrics")+1])
			require.NoError(t, err)
			for _, metric := range []string{
				"agent_restore_lost 1\n", "agent_restore_certificates_unusable 1\n", "agent_restore_fallbacks 2\n",
			} {
				require.Contains(t, string(text), metric)
			}
		})
	}
}
