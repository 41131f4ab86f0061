package readiness

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/proc"
)

const showPull = "systemctl show " +
	"--property=Id,LoadState,ActiveState,SubState,Result,ExecMainStatus,ExecMainExitTimestampMonotonic," +
	"ActiveEnterTimestampMonotonic,NRestarts agent-pull.timer agent-pull.service"

const (
	waitingTimer = `Result=success
Id=agent-pull.timer
LoadState=loaded
ActiveState=active
SubState=waiting
`
	succeededService = `Result=success
ExecMainExitTimestampMonotonic=93042173
ExecMainStatus=0
Id=agent-pull.service
LoadState=loaded
ActiveState=inactive
SubState=dead
`
)

func checkTimers(t *testing.T, runner proc.Runner) Result {
	t.Helper()
	return Units{Timers: []string{"agent-pull.timer"}, Runner: runner, Now: Monotonic}.Check(t.Context())
}

func TestTimersPassWhenActiveAfterASuccess(t *testing.T) {
	result := checkTimers(t, answers{showPull: waitingTimer + "\n" + succeededService})
	require.Equal(t, Result{Verdict: Pass, Detail: "agent-pull.timer: active, last run succeeded"}, result)
}

// replacer returns a function that changes a text, and fails the test if the text stays the same.
func replacer(t *testing.T) func(text string, changes ...string) string {
	return func(text string, changes ...string) string {
		t.Helper()
		changed := strings.NewReplacer(changes...).Replace(text)
		require.NotEqual(t, text, changed)
		return changed
	}
}

func TestProblemsOfTimersAreReported(t *testing.T) {
	replaced := replacer(t)
	for name, test := range map[string]struct {
		timer, service string
		verdict        Verdict
		detail         string
		logs           []string
	}{
		"stopped": {
			timer:  replaced(waitingTimer, "active", "inactive", "waiting", "dead"),
			detail: "agent-pull.timer: inactive",
			logs:   []string{"agent-pull.timer"},
		},
		"elapsed": {
			timer:  replaced(waitingTimer, "waiting", "elapsed"),
			detail: "agent-pull.timer: active, but it will not run again (elapsed)",
			logs:   []string{"agent-pull.timer"},
		},
		"not installed": {
			timer:   replaced(waitingTimer, "=loaded", "=not-found", "=active", "=inactive"),
			service: replaced(succeededService, "=loaded", "=not-found"),
			detail:  "agent-pull.timer: not installed (not-found); agent-pull.service: not installed (not-found)",
			logs:    []string{"agent-pull.timer", "agent-pull.service"},
		},
		"failed run": {
			service: replaced(succeededService, "Result=success", "Result=exit-code", "Status=0", "Status=1", "=inactive",
				"=failed", "=dead", "=failed"),
			detail: "agent-pull.service: last run failed (exit-code, status 1)",
			logs:   []string{"agent-pull.service"},
		},
		"killed run": {
			service: replaced(succeededService, "Result=success", "Result=signal", "Status=0", "Status=9", "=inactive",
				"=failed", "=dead", "=failed"),
			detail: "agent-pull.service: last run failed (signal, status 9)",
			logs:   []string{"agent-pull.service"},
		},
		"never ran": {
			service: replaced(succeededService, "93042173", "0"),
			detail:  "agent-pull.service: has not run since boot",
			logs:    []string{"agent-pull.service"},
		},
		"running": {
			timer:   replaced(waitingTimer, "waiting", "running"),
			service: replaced(succeededService, "93042173", "0", "=inactive", "=activating", "=dead", "=start"),
			verdict: Undecided,
			detail:  "agent-pull.service: running, its result is not known yet",
		},
		"running, but the timer is dead": {
			timer:   replaced(waitingTimer, "active", "failed"),
			service: replaced(succeededService, "93042173", "0", "=inactive", "=activating", "=dead", "=start"),
			detail:  "agent-pull.timer: failed",
			logs:    []string{"agent-pull.timer"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if test.timer == "" {
				test.timer = waitingTimer
			}
			if test.service == "" {
				test.service = succeededService
			}
			result := checkTimers(t, answers{showPull: test.timer + "\n" + test.service})
			require.Equal(t, test.detail, result.Detail)
			require.Equal(t, test.verdict, result.Verdict)
			require.Equal(t, test.logs, logNames(result))
		})
	}
}

func TestFailingSystemdIsNotReady(t *testing.T) {
	require.Equal(t, Result{Detail: showPull + ": exit status 1: Failed to connect to bus"},
		checkTimers(t, fails("Failed to connect to bus\n")))
	require.Equal(t, Result{Detail: "systemctl show does not report agent-pull.service"},
		checkTimers(t, answers{showPull: waitingTimer}))
}

const showWatch = "systemctl show " +
	"--property=Id,LoadState,ActiveState,SubState,Result,ExecMainStatus,ExecMainExitTimestampMonotonic," +
	"ActiveEnterTimestampMonotonic,NRestarts agent-watch.service"

// runningService has been active since second 100 of the monotonic clock.
const runningService = `Result=success
NRestarts=0
ExecMainExitTimestampMonotonic=0
ExecMainStatus=0
Id=agent-watch.service
LoadState=loaded
ActiveState=active
SubState=running
ActiveEnterTimestampMonotonic=100000000
`

// checkService checks a service at this second of the monotonic clock.
func checkService(t *testing.T, show string, second float64) Result {
	t.Helper()
	now := func() (time.Duration, error) { return time.Duration(second * float64(time.Second)), nil }
	return Units{Services: []string{"agent-watch.service"}, Runner: answers{showWatch: show}, Now: now}.Check(t.Context())
}

func TestServicePassesWhenItStaysActive(t *testing.T) {
	replaced := replacer(t)
	passing := Result{Verdict: Pass, Detail: "agent-watch.service: active"}
	require.Equal(t, passing, checkService(t, runningService, 105))
	restarted := replaced(runningService, "NRestarts=0", "NRestarts=1")
	require.Equal(t, passing, checkService(t, restarted, 130), "a restart is tolerated")
	restarted = replaced(restarted, "Result=success", "Result=signal")
	require.Equal(t, passing, checkService(t, restarted, 130), "the result is that of the previous run")
}

func TestProblemsOfServicesAreReportedWithTheirLog(t *testing.T) {
	replaced := replacer(t)
	for name, test := range map[string]struct {
		show   string
		second float64
		detail string
	}{
		"just started": {runningService, 104.9, "active for 4.9 s, 5 s needed"},
		"just restarted": {
			replaced(runningService, "NRestarts=0", "NRestarts=7"), 101.25,
			"active for 1.2 s, 30 s needed, restarts: 7",
		},
		"killed repeatedly": {
			replaced(runningService, "NRestarts=0", "NRestarts=2"), 129,
			"active for 29.0 s, 30 s needed, restarts: 2",
		},
		"about to be restarted": {
			replaced(runningService, "NRestarts=0", "NRestarts=7", "=active", "=activating", "=running", "=auto-restart",
				"=success", "=signal"), 200,
			"activating (auto-restart, result signal), restarts: 7",
		},
		"failed": {
			replaced(runningService, "=active", "=failed", "=running", "=failed", "=success", "=exit-code"), 200,
			"failed (failed, result exit-code)",
		},
		"stopped": {
			replaced(runningService, "=active", "=inactive", "=running", "=dead"), 200,
			"inactive (dead, result success)",
		},
		"not installed": {
			replaced(runningService, "=loaded", "=not-found", "=active", "=inactive", "=running", "=dead"), 200,
			"not installed (not-found)",
		},
		"invalid timestamp": {
			replaced(runningService, "=100000000", "=n/a"), 200,
			`active since "n/a", which is not a timestamp`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			result := checkService(t, test.show, test.second)
			require.Equal(t, Fail, result.Verdict)
			require.Equal(t, "agent-watch.service: "+test.detail, result.Detail)
			require.Equal(t, []string{"agent-watch.service"}, logNames(result))
		})
	}
}

func TestUndecidedTimerDoesNotHideFailedService(t *testing.T) {
	replaced := replacer(t)
	units := Units{
		Timers:   []string{"agent-pull.timer"},
		Services: []string{"agent-watch.service"},
		Now:      func() (time.Duration, error) { return time.Hour, nil },
	}
	show := strings.TrimSuffix(showPull, " agent-pull.timer agent-pull.service") +
		" agent-pull.timer agent-pull.service agent-watch.service"
	pulling := replaced(succeededService, "93042173", "0", "=inactive", "=activating", "=dead", "=start")

	units.Runner = answers{show: waitingTimer + "\n" + succeededService + "\n" + runningService}
	require.Equal(t, Result{
		Verdict: Pass, Detail: "agent-pull.timer: active, last run succeeded; agent-watch.service: active",
	}, units.Check(t.Context()))

	units.Runner = answers{show: waitingTimer + "\n" + pulling + "\n" + runningService}
	require.Equal(t, Undecided, units.Check(t.Context()).Verdict)

	units.Runner = answers{show: waitingTimer + "\n" + pulling + "\n" + replaced(runningService, "=active", "=failed")}
	require.Equal(t, Fail, units.Check(t.Context()).Verdict)
}

func TestUnitsUseTheMonotonicClock(t *testing.T) {
	before, err := Monotonic()
	require.NoError(t, err)
	require.Positive(t, before)
	after, err := Monotonic()
	require.NoError(t, err)
	require.GreaterOrEqual(t, after, before)

	broken := func() (time.Duration, error) { return 0, errors.New("cannot read the monotonic clock: no clock") }
	result := Units{
		Services: []string{"agent-watch.service"},
		Runner:   answers{showWatch: runningService},
		Now:      broken,
	}.Check(t.Context())
	require.Equal(t, Result{Detail: "cannot read the monotonic clock: no clock"}, result)
}
