package readiness

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const showPull = "systemctl show --property=Id,LoadState,ActiveState,SubState,Result,ExecMainStatus,ExecMainExitTimestampMonotonic agent-pull.timer agent-pull.service"

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

func lookAtTimers(t *testing.T, runner Runner) Finding {
	t.Helper()
	return Timers{Units: []string{"agent-pull.timer"}, Runner: runner}.Look(t.Context())
}

func TestTimersHoldWhenActiveAndTheLastRunSucceeded(t *testing.T) {
	finding := lookAtTimers(t, answers{showPull: waitingTimer + "\n" + succeededService})
	require.Equal(t, Finding{Verdict: Holds, Detail: "agent-pull.timer: active, last run succeeded"}, finding)
}

func TestATimerThatNoLongerDoesItsWorkIsTold(t *testing.T) {
	replaced := func(text string, changes ...string) string {
		changed := strings.NewReplacer(changes...).Replace(text)
		require.NotEqual(t, text, changed)
		return changed
	}
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
			service: replaced(succeededService, "Result=success", "Result=exit-code", "Status=0", "Status=1", "=inactive", "=failed", "=dead", "=failed"),
			detail:  "agent-pull.service: last run failed (exit-code, status 1)",
			logs:    []string{"agent-pull.service"},
		},
		"killed run": {
			service: replaced(succeededService, "Result=success", "Result=signal", "Status=0", "Status=9", "=inactive", "=failed", "=dead", "=failed"),
			detail:  "agent-pull.service: last run failed (signal, status 9)",
			logs:    []string{"agent-pull.service"},
		},
		"never ran": {
			service: replaced(succeededService, "93042173", "0"),
			detail:  "agent-pull.service: has not run since boot",
			logs:    []string{"agent-pull.service"},
		},
		"runs now": {
			timer:   replaced(waitingTimer, "waiting", "running"),
			service: replaced(succeededService, "93042173", "0", "=inactive", "=activating", "=dead", "=start"),
			verdict: Undecided,
			detail:  "agent-pull.service: runs, its result is not known yet",
		},
		"runs now, but the timer is dead": {
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
			finding := lookAtTimers(t, answers{showPull: test.timer + "\n" + test.service})
			require.Equal(t, test.detail, finding.Detail)
			require.Equal(t, test.verdict, finding.Verdict)
			require.Equal(t, test.logs, logNames(finding))
		})
	}
}

func TestASilentSystemdIsNotReady(t *testing.T) {
	require.Equal(t, Finding{Detail: showPull + ": exit status 1: Failed to connect to bus"}, lookAtTimers(t, fails("Failed to connect to bus\n")))
	require.Equal(t, Finding{Detail: "systemctl show says nothing of agent-pull.service"}, lookAtTimers(t, answers{showPull: waitingTimer}))
}
