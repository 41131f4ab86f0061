package readiness

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"immutable-infra/agent/internal/proc"
)

const (
	// settleTime is how long a service must have been active: even one that exits right after its start is active
	// for a moment.
	settleTime = 5 * time.Second
	// settleTimeRestarted is the same for a service that has exited before: one that keeps exiting may run for a
	// while each time.
	settleTimeRestarted = 30 * time.Second
)

// Units checks the agent's own systemd units: timers are active, and the last run of each timer's
// service did not fail; services that run permanently are active, and stay so.
type Units struct {
	// Timers are the names of timers. The service of NAME.timer is NAME.service.
	Timers []string
	// Services are the names of services that run permanently.
	Services []string
	Runner   proc.Runner
	// Now returns the time on the clock of systemd's timestamps: Monotonic.
	Now func() (time.Duration, error)
}

// Monotonic returns the time of CLOCK_MONOTONIC.
func Monotonic() (time.Duration, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0, fmt.Errorf("cannot read the monotonic clock: %w", err)
	}
	return time.Duration(now.Nano()), nil
}

func (u Units) Name() string { return "agent" }

func (u Units) Check(ctx context.Context) Result {
	units, err := u.show(ctx)
	if err != nil {
		return failed(err)
	}
	// Read after systemd's response, so that no unit has been active since a time in the future.
	now, err := u.Now()
	if err != nil {
		return failed(err)
	}
	var found parts
	var running []string
	for _, timer := range u.Timers {
		service := serviceOf(timer)
		if problem := units[timer].timerProblem(); problem != "" {
			found.fail(timer+": "+problem, unitLog(timer))
		}
		problem, ended := units[service].lastRun()
		switch {
		case problem != "":
			found.fail(service+": "+problem, unitLog(service))
		case !ended:
			running = append(running, service+": running, its result is not known yet")
		default:
			found.pass(timer + ": active, last run succeeded")
		}
	}
	for _, service := range u.Services {
		if problem := units[service].serviceProblem(now); problem != "" {
			found.fail(service+": "+problem, unitLog(service))
			continue
		}
		found.pass(service + ": active")
	}
	if len(found.problems) == 0 && len(running) > 0 {
		return Result{Verdict: Undecided, Detail: strings.Join(running, "; ")}
	}
	return found.result()
}

func serviceOf(timer string) string {
	return strings.TrimSuffix(timer, ".timer") + ".service"
}

// show queries systemd for all units at once, and returns their properties by unit. A unit that does not exist is
// included, with LoadState not-found.
func (u Units) show(ctx context.Context) (map[string]unit, error) {
	var names []string
	for _, timer := range u.Timers {
		names = append(names, timer, serviceOf(timer))
	}
	names = append(names, u.Services...)
	output, err := u.Runner.Run(ctx, proc.Command{Args: append([]string{
		"systemctl", "show",
		"--property=Id,LoadState,ActiveState,SubState,Result,ExecMainStatus,ExecMainExitTimestampMonotonic," +
			"ActiveEnterTimestampMonotonic,NRestarts",
	}, names...)})
	if err != nil {
		return nil, err
	}
	units := map[string]unit{}
	for block := range strings.SplitSeq(strings.TrimSpace(string(output)), "\n\n") {
		properties := unit{}
		for line := range strings.Lines(block) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			properties[name] = value
		}
		units[properties["Id"]] = properties
	}
	for _, name := range names {
		if units[name] == nil {
			return nil, fmt.Errorf("systemctl show does not report %s", name)
		}
	}
	return units, nil
}

// unit holds the properties of a systemd unit, by name: see org.freedesktop.systemd1(5).
type unit map[string]string

// timerProblem returns the problem of a timer, or "".
func (u unit) timerProblem() string {
	switch {
	case u["LoadState"] != "loaded":
		return "not installed (" + u["LoadState"] + ")"
	case u["ActiveState"] != "active":
		return u["ActiveState"]
	case u["SubState"] == "elapsed":
		return "active, but it will not run again (elapsed)"
	default:
		return ""
	}
}

// lastRun returns the problem of the last run of a service, or "". While the service runs, ended is false: systemd
// no longer knows the result of the previous run.
func (u unit) lastRun() (problem string, ended bool) {
	switch {
	case u["LoadState"] != "loaded":
		return "not installed (" + u["LoadState"] + ")", true
	case u["Result"] != "success":
		return fmt.Sprintf("last run failed (%s, status %s)", u["Result"], u["ExecMainStatus"]), true
	case u["ActiveState"] == "activating" || u["ActiveState"] == "deactivating":
		return "", false
	case u["ExecMainExitTimestampMonotonic"] == "0":
		return "has not run since boot", true
	default:
		return "", true
	}
}

// serviceProblem returns the problem of a service that should run permanently, or "". now is the
// time on systemd's monotonic clock.
func (u unit) serviceProblem(now time.Duration) string {
	restarts := ""
	settle := settleTime
	if u["NRestarts"] != "" && u["NRestarts"] != "0" {
		restarts = ", restarts: " + u["NRestarts"]
		settle = settleTimeRestarted
	}
	switch {
	case u["LoadState"] != "loaded":
		return "not installed (" + u["LoadState"] + ")"
	case u["ActiveState"] != "active":
		return fmt.Sprintf("%s (%s, result %s)%s", u["ActiveState"], u["SubState"], u["Result"], restarts)
	}
	since, err := strconv.ParseInt(u["ActiveEnterTimestampMonotonic"], 10, 64)
	if err != nil {
		return fmt.Sprintf("active since %q, which is not a timestamp", u["ActiveEnterTimestampMonotonic"])
	}
	if active := now - time.Duration(since)*time.Microsecond; active < settle {
		return fmt.Sprintf("active for %.1f s, %.0f s needed%s", active.Seconds(), settle.Seconds(), restarts)
	}
	return ""
}
