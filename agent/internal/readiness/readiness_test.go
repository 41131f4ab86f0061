package readiness

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/release"
)

// scripted is a check whose result depends on the time since the test began. The tests run in a synctest bubble,
// in which time begins at midnight UTC of 2000-01-01.
type scripted struct {
	name  string
	check func(ctx context.Context, elapsed time.Duration) Result
}

func (s scripted) Name() string { return s.name }

func (s scripted) Check(ctx context.Context) Result {
	return s.check(ctx, time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)))
}

// always is a check with a constant result.
func always(name string, result Result) Check {
	return scripted{name, func(context.Context, time.Duration) Result { return result }}
}

// okAfter is a check that fails until begin.
func okAfter(name string, begin time.Duration) Check {
	return scripted{name, func(_ context.Context, elapsed time.Duration) Result {
		if elapsed < begin {
			return Result{Detail: "web: starting", Logs: []Log{serviceLog("/opt/site", "web")}}
		}
		return Result{Verdict: Pass, Detail: "web: healthy"}
	}}
}

var passing = Result{Verdict: Pass, Detail: "as it should be"}

// newReadiness returns a server's readiness, its progress output and its log.
func newReadiness(t *testing.T, checks ...Check) (r Readiness, progress, log *bytes.Buffer) {
	t.Helper()
	progress, log = &bytes.Buffer{}, &bytes.Buffer{}
	dir := t.TempDir()
	require.NoError(t, os.Symlink("releases/3f0c6f1b2a9d8e47", filepath.Join(dir, "current")))
	return Readiness{
		Server:   "i-0123456789abcdef0",
		Releases: release.ReadReleases(dir),
		Checks:   checks,
		Memory:   Memory{Path: filepath.Join(dir, "state.json")},
		Runner:   answers{serviceLog("/opt/site", "web").Command.String(): "starting up\nbind: address in use\n"},
		Progress: progress,
		Log:      slog.New(slog.NewTextHandler(log, nil)),
	}, progress, log
}

func TestReportOfReadyServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, progress, log := newReadiness(t, always("containers", passing), always("release", passing))
		report, err := r.Await(t.Context(), 0)
		require.NoError(t, err)
		var text bytes.Buffer
		require.NoError(t, report.WriteText(&text))
		require.Equal(t, `ready: server i-0123456789abcdef0, release 3f0c6f1b2a9d8e47

CHECK       STATE  SINCE                 DETAIL
containers  ok     2000-01-01T00:00:00Z  as it should be
release     ok     2000-01-01T00:00:00Z  as it should be
`, text.String())
		require.Empty(t, progress.String())
		require.Empty(t, log.String())
	})
}

func TestCheckThatPassesDuringWaitMakesServerReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, progress, _ := newReadiness(t, okAfter("containers", 12*time.Second), always("release", passing))
		begin := time.Now()
		report, err := r.Await(t.Context(), 10*time.Minute)
		require.NoError(t, err)
		require.True(t, report.Ready)
		require.Equal(t, 12*time.Second, time.Since(begin), "the wait ends when the server is ready")
		require.Empty(t, report.Logs)
		require.Equal(t, `   0.0 s  containers   not ok  web: starting
   0.0 s  release      ok      as it should be
  12.0 s  containers   ok      web: healthy
`, progress.String())
		require.Equal(t, begin.Add(12*time.Second).UTC(), report.Checks[0].Since)
		require.Equal(t, begin.UTC(), report.Checks[1].Since)
	})
}

func TestChecksMustPassAtTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		breaks := scripted{"release", func(_ context.Context, elapsed time.Duration) Result {
			if elapsed >= 5*time.Second {
				return Result{Detail: "it broke"}
			}
			return passing
		}}
		r, _, _ := newReadiness(t, okAfter("containers", 5*time.Second), breaks)
		report, err := r.Await(t.Context(), 20*time.Second)
		require.NoError(t, err)
		require.False(t, report.Ready)
	})
}

func TestReportOfUnreadyServerContainsLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, _ := newReadiness(t, okAfter("containers", time.Hour), always("release", passing))
		begin := time.Now()
		report, err := r.Await(t.Context(), 90*time.Second)
		require.NoError(t, err)
		require.Equal(t, 90*time.Second, time.Since(begin))

		var text bytes.Buffer
		require.NoError(t, report.WriteText(&text))
		require.Equal(t, `not ready: server i-0123456789abcdef0, release 3f0c6f1b2a9d8e47

CHECK       STATE   SINCE                 DETAIL
containers  not ok  2000-01-01T00:00:00Z  web: starting
release     ok      2000-01-01T00:00:00Z  as it should be

last lines of the log of web:
  starting up
  bind: address in use
`, text.String())

		text.Reset()
		require.NoError(t, report.WriteJSON(&text))
		require.Equal(t, `{
  "ready": false,
  "server": "i-0123456789abcdef0",
  "release": "3f0c6f1b2a9d8e47",
  "checks": [
    {
      "name": "containers",
      "ok": false,
      "since": "2000-01-01T00:00:00Z",
      "detail": "web: starting"
    },
    {
      "name": "release",
      "ok": true,
      "since": "2000-01-01T00:00:00Z",
      "detail": "as it should be"
    }
  ],
  "logs": {
    "web": [
      "starting up",
      "bind: address in use"
    ]
  }
}
`, text.String())
	})
}

func TestLogsAreShownDuringALongWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, progress, _ := newReadiness(t, okAfter("containers", 5*time.Minute), always("release", passing))
		report, err := r.Await(t.Context(), 10*time.Minute)
		require.NoError(t, err)
		require.True(t, report.Ready)
		require.Equal(t, `   0.0 s  containers   not ok  web: starting
   0.0 s  release      ok      as it should be
         last lines of the log of web:
  starting up
  bind: address in use
         waiting for up to 9m30s more
 300.0 s  containers   ok      web: healthy
`, progress.String())
	})
}

func TestReadyExactlyAtDeadlineIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, _ := newReadiness(t, okAfter("containers", 2500*time.Millisecond))
		report, err := r.Await(t.Context(), 2500*time.Millisecond)
		require.NoError(t, err)
		require.True(t, report.Ready)
	})
}

func TestHangingCheckIsCutOffSoonAfterDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := scripted{"release", func(ctx context.Context, _ time.Duration) Result {
			<-ctx.Done()
			return Result{Detail: ctx.Err().Error()}
		}}
		r, _, _ := newReadiness(t, hangs)
		begin := time.Now()
		report, err := r.Await(t.Context(), 5*time.Second)
		require.NoError(t, err)
		require.Equal(t, "context deadline exceeded", report.Checks[0].Detail)
		require.Equal(t, checkGrace, time.Since(begin))
	})
}

func TestCancelledWaitEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, _ := newReadiness(t, okAfter("containers", time.Hour))
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		begin := time.Now()
		_, err := r.Await(ctx, 10*time.Minute)
		require.EqualError(t, err, "cannot await readiness: context deadline exceeded")
		require.Equal(t, 3500*time.Millisecond, time.Since(begin))
	})
}

func TestSinceIsKeptFromRunToRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, _ := newReadiness(t, okAfter("containers", 30*time.Second), always("release", passing))
		since := func() []string {
			report, err := r.Await(t.Context(), 0)
			require.NoError(t, err)
			var times []string
			for _, check := range report.Checks {
				times = append(times, check.Since.Format(time.TimeOnly))
			}
			return times
		}
		require.Equal(t, []string{"00:00:00", "00:00:00"}, since())
		time.Sleep(20 * time.Second)
		require.Equal(t, []string{"00:00:00", "00:00:00"}, since(), "still not ok, still ok")
		time.Sleep(20 * time.Second)
		require.Equal(t, []string{"00:00:40", "00:00:00"}, since(), "ok since it was checked")
		time.Sleep(time.Hour)
		require.Equal(t, []string{"00:00:40", "00:00:00"}, since())

		for name, text := range map[string]string{
			"broken":    `{"containers": {"ok": tr`,
			"empty":     ``,
			"a null":    `null`,
			"no time":   `{"containers": {"ok": true}, "release": {"ok": true}}`,
			"from 2038": `{"containers": {"ok": true, "since": "2038-01-19T00:00:00Z"}, "release": {"ok": true, "since": "2038-01-19T00:00:00Z"}}`,
		} {
			require.NoError(t, os.WriteFile(r.Memory.Path, []byte(text), 0o600))
			require.Equal(t, []string{"01:00:40", "01:00:40"}, since(), name)
		}
		require.NoError(t, os.Remove(r.Memory.Path))
		require.Equal(t, []string{"01:00:40", "01:00:40"}, since(), "removed by a boot")
		left, err := filepath.Glob(r.Memory.Path + ".tmp-*")
		require.NoError(t, err)
		require.Empty(t, left)
	})
}

func TestReportIsCompleteWithoutMemory(t *testing.T) {
	r, _, log := newReadiness(t, always("containers", passing))
	r.Memory.Path = filepath.Join(t.TempDir(), "missing", "state.json")
	report, err := r.Await(t.Context(), 0)
	require.NoError(t, err)
	require.True(t, report.Ready)
	require.Contains(t, log.String(), `level=WARN msg="cannot save the states of the checks: open `)
}

func TestRunningPullKeepsTheVerdict(t *testing.T) {
	for name, before := range map[string]Result{"was ok": passing, "was not ok": {Detail: "last run failed"}} {
		t.Run(name, func(t *testing.T) {
			r, _, _ := newReadiness(t, always("timers", before))
			first, err := r.Await(t.Context(), 0)
			require.NoError(t, err)

			r.Checks = []Check{always("timers", Result{Verdict: Undecided, Detail: "runs"})}
			second, err := r.Await(t.Context(), 0)
			require.NoError(t, err)
			require.Equal(t, first.Ready, second.Ready)
			require.Equal(t, first.Checks[0].Since, second.Checks[0].Since)
			require.Equal(t, "runs", second.Checks[0].Detail)
		})
	}
	t.Run("was never checked", func(t *testing.T) {
		r, _, _ := newReadiness(t, always("timers", Result{Verdict: Undecided, Detail: "runs"}))
		report, err := r.Await(t.Context(), 0)
		require.NoError(t, err)
		require.False(t, report.Ready)
	})
}

// While `agent pull` runs, its result is unknown, and a run starts every few seconds.
func TestFrequentPullsDoNotBlockReadiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pulling := scripted{"agent", func(_ context.Context, elapsed time.Duration) Result {
			if elapsed%(6*time.Second) < time.Second {
				return Result{Verdict: Undecided, Detail: "agent-pull.service: running, its result is not known yet"}
			}
			return passing
		}}
		r, progress, _ := newReadiness(t, okAfter("containers", 12*time.Second), pulling)
		report, err := r.Await(t.Context(), time.Minute)
		require.NoError(t, err)
		require.True(t, report.Ready)
		require.Equal(t, `   0.0 s  containers   not ok  web: starting
   0.0 s  agent        not ok  agent-pull.service: running, its result is not known yet
   1.0 s  agent        ok      as it should be
  12.0 s  containers   ok      web: healthy
`, progress.String())
	})
}
