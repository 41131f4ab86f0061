// Package readiness decides whether a server may get visitors: it defines what "ready" means.
package readiness

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"immutable-infra/agent/internal/proc"
	"immutable-infra/agent/internal/release"
	"immutable-infra/server/report"
)

const (
	// pollInterval is the pause between two checks.
	pollInterval = time.Second
	// checkGrace is how much time remains for a check that begins at the deadline: a check that is cut off would
	// report nothing else.
	checkGrace  = 10 * time.Second
	logsTimeout = 10 * time.Second
	// patience is how long a wait lasts before it prints the logs of failing checks. A healthy server is ready by
	// then.
	patience     = 30 * time.Second
	explainLines = 5
)

// Readiness is the set of conditions that a server must meet before the VIP may move to it.
type Readiness struct {
	Server   string
	Releases *release.Releases
	// Checks must all hold, in the order of the report.
	Checks []Check
	// Memory records since when each check has been in its state.
	Memory Memory
	// Runner reads the logs of failing checks.
	Runner proc.Runner
	// Progress receives a line whenever a check changes its state during a wait, and, once, the logs of failing
	// checks if the wait is long.
	Progress io.Writer
	// Log receives errors of Memory, which do not affect the report.
	Log *slog.Logger
}

// Await checks until every check passes at the same time, but not longer than wait, plus the time of the last
// check and of reading logs: about 20 seconds. With a wait of 0 it checks once. The report is that of the last
// check. If ctx ends earlier, the error is that of ctx.
func (r Readiness) Await(ctx context.Context, wait time.Duration) (Report, error) {
	begin := time.Now()
	deadline := begin.Add(wait)
	states := r.Memory.load()
	seen := map[string]bool{}
	explained := false
	for {
		found := r.runChecks(ctx, wait, deadline)
		if err := ctx.Err(); err != nil {
			return Report{}, fmt.Errorf("cannot check readiness: %w", err)
		}
		results, changed := judge(r.Checks, found, states)
		if changed {
			if err := r.Memory.save(states); err != nil {
				r.Log.Warn(err.Error())
			}
		}
		if wait > 0 {
			r.progress(results, seen, time.Since(begin))
		}
		report := r.report(results)
		if report.Ready {
			return report, nil
		}
		left := time.Until(deadline)
		if left <= 0 {
			report.Logs = r.logs(ctx, results, found)
			return report, nil
		}
		if !explained && time.Since(begin) >= patience {
			r.explain(r.logs(ctx, results, found), left)
			explained = true
		}
		select {
		case <-ctx.Done():
			return Report{}, fmt.Errorf("cannot await readiness: %w", ctx.Err())
		case <-time.After(min(pollInterval, left)):
		}
	}
}

// runChecks runs all checks concurrently and returns their results in order.
func (r Readiness) runChecks(ctx context.Context, wait time.Duration, deadline time.Time) []Result {
	if wait > 0 {
		if earliest := time.Now().Add(checkGrace); earliest.After(deadline) {
			deadline = earliest
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	found := make([]Result, len(r.Checks))
	var group sync.WaitGroup
	for i, check := range r.Checks {
		group.Go(func() { found[i] = check.Check(ctx) })
	}
	group.Wait()
	return found
}

// judge updates the states of the checks from their results. changed reports whether any state has changed.
func judge(checks []Check, found []Result, states map[string]checkState) (results []report.Check, changed bool) {
	now := time.Now().UTC().Truncate(time.Second)
	for i, result := range found {
		name := checks[i].Name()
		before, known := states[name]
		ok := result.Verdict == Pass || result.Verdict == Undecided && before.OK
		// If the clock was set back, no state may begin in the future.
		if !known || before.OK != ok || before.Since.IsZero() || before.Since.After(now) {
			before = checkState{OK: ok, Since: now}
			states[name] = before
			changed = true
		}
		results = append(results, report.Check{Name: name, OK: ok, Since: before.Since, Detail: result.Detail})
	}
	return results, changed
}

// progress writes a line for each check whose state has changed during this run.
func (r Readiness) progress(results []report.Check, seen map[string]bool, elapsed time.Duration) {
	for _, result := range results {
		if before, known := seen[result.Name]; known && before == result.OK {
			continue
		}
		seen[result.Name] = result.OK
		fmt.Fprintf(r.Progress, "%6.1f s  %-11s  %-6s  %s\n", elapsed.Seconds(), result.Name, word(result), result.Detail)
	}
}

// explain prints why the wait takes long, for a caller that may not wait until its end.
func (r Readiness) explain(logs map[string][]string, left time.Duration) {
	for _, name := range slices.Sorted(maps.Keys(logs)) {
		lines := logs[name]
		fmt.Fprintf(r.Progress, "         last lines of the log of %s:\n%s", name,
			indented(lines[max(0, len(lines)-explainLines):]))
	}
	fmt.Fprintf(r.Progress, "         waiting for up to %s more\n", left.Round(time.Second))
}

func (r Readiness) report(results []report.Check) Report {
	report := Report{Ready: true, Server: r.Server, Checks: results}
	for _, result := range results {
		report.Ready = report.Ready && result.OK
	}
	// The release check reports a problem with the link to the release.
	report.Release, _ = r.Releases.Current()
	return report
}

// logs reads the log of each failure once.
func (r Readiness) logs(ctx context.Context, results []report.Check, found []Result) map[string][]string {
	ctx, cancel := context.WithTimeoutCause(ctx, logsTimeout, fmt.Errorf("no response within %s", logsTimeout))
	defer cancel()
	logs := map[string][]string{}
	for i, result := range results {
		if result.OK {
			continue
		}
		for _, log := range found[i].Logs {
			if _, read := logs[log.Name]; !read {
				logs[log.Name] = log.tail(ctx, r.Runner)
			}
		}
	}
	return logs
}
