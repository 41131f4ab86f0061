package readiness

import (
	"context"
	"fmt"
	"strings"
)

// Timers is the check that systemd timers are active and that the last run of
// the service of each did not fail.
type Timers struct {
	// Units are the names of the timers. The service of NAME.timer is
	// NAME.service.
	Units  []string
	Runner Runner
}

// Name implements Check.
func (t Timers) Name() string { return "timers" }

// Look implements Check.
func (t Timers) Look(ctx context.Context) Finding {
	var sound, problems, running []string
	var logs []Log
	for _, timer := range t.Units {
		service := strings.TrimSuffix(timer, ".timer") + ".service"
		units, err := t.show(ctx, timer, service)
		if err != nil {
			return Finding{Detail: oneLine(err.Error())}
		}
		if problem := units[timer].timerProblem(); problem != "" {
			problems = append(problems, timer+": "+problem)
			logs = append(logs, unitLog(timer))
		}
		problem, ended := units[service].lastRun()
		switch {
		case problem != "":
			problems = append(problems, service+": "+problem)
			logs = append(logs, unitLog(service))
		case !ended:
			running = append(running, service+": runs, its result is not known yet")
		default:
			sound = append(sound, timer+": active, last run succeeded")
		}
	}
	switch {
	case len(problems) > 0:
		return Finding{Detail: strings.Join(problems, "; "), Logs: logs}
	case len(running) > 0:
		return Finding{Verdict: Undecided, Detail: strings.Join(running, "; ")}
	default:
		return Finding{Verdict: Holds, Detail: strings.Join(sound, "; ")}
	}
}

// show asks systemd about units, and returns what it says by unit and property.
// A unit that does not exist is there as well, with LoadState not-found.
func (t Timers) show(ctx context.Context, names ...string) (map[string]unit, error) {
	output, err := t.Runner.Run(ctx, Command{Args: append([]string{
		"systemctl", "show", "--property=Id,LoadState,ActiveState,SubState,Result,ExecMainStatus,ExecMainExitTimestampMonotonic",
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
			return nil, fmt.Errorf("systemctl show says nothing of %s", name)
		}
	}
	return units, nil
}

// unit is the properties of a systemd unit, by name: see org.freedesktop.systemd1(5).
type unit map[string]string

// timerProblem says what is wrong with a timer, or "".
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

// lastRun says what was wrong with the last run of a service, or "". While it
// runs, ended is false: systemd has then forgotten the run before.
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
