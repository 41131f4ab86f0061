// Package bake watches a server after the VIP has moved to it, by visiting the site and by reading the server's own
// report, and returns the VIP to the previous server if visitors fare worse.
package bake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"immutable-infra/internal/lines"
	"immutable-infra/server/report"
)

// ArrivalTimeout is how long EC2 may take to route new connections to the server that the VIP was associated with. The
// bake time and the criteria apply only after the first connection arrives.
const ArrivalTimeout = time.Minute

// Criteria decides when a bake fails: see docs/settings.md.
type Criteria struct {
	// Time is how long the new server is watched, in seconds. 0 disables the bake.
	Time int `config:"bakeTime" default:"120" range:"0 600"`
	// FailedVisits is the number of consecutive failed visits that fails a bake. There is one visit per second.
	FailedVisits int `config:"bakeFailedVisits" default:"3" range:"1 60"`
	// ErrorPercent is by how much the share of responses with a 5xx status may exceed that of the previous server, in
	// percentage points. The same percentage of visits may fail.
	ErrorPercent int `config:"bakeErrorPercent" default:"5" range:"1 100"`
	// LatencyFactor is how many times slower than the previous server the new one may respond, at the 95th percentile.
	// Latencies below a quarter of a second are always accepted.
	LatencyFactor int `config:"bakeLatencyFactor" default:"3" range:"1 100"`
	// FreePercent is the percentage of memory and of disk that must be available.
	FreePercent int `config:"bakeFreePercent" default:"5" range:"0 50"`
	// Restarts is the number of container restarts that fails a bake.
	Restarts int `config:"bakeRestarts" default:"2" range:"1 100"`
	// Patience is how long the report may be missing or outdated, or one of its checks may fail, in seconds.
	Patience int `config:"bakePatience" default:"20" range:"5 600"`
}

// FailedTag is the key of the tag that tells whether a server failed its bake. A server is created with NotFailed.
// Another value makes the next update replace the server: its refresh sees the tag, although the server may still run
// because the return of the VIP was killed.
const FailedTag, NotFailed, hasFailed = "Failed", "no", "yes"

const (
	// visitPause is the time between two visits, reportPause that between two reads of the report.
	visitPause  = time.Second
	reportPause = 5 * time.Second
	// minVisits is the number of visits from which on the share of failed visits counts.
	minVisits = 20
	// goodLatency is the latency that is always accepted, in seconds.
	goodLatency = 0.25
	// maxClockError is the maximum difference between the server's clock and this machine's.
	maxClockError = 30 * time.Second
	// moveTimeout bounds the calls that move the VIP, recordTimeout each of the writes of the record and the tag before
	// them.
	moveTimeout   = 10 * time.Second
	recordTimeout = 2 * time.Second
	// lostAfter is how long the previous server may send no sign of life.
	lostAfter = 4 * report.StandbyPause
	// maxText is how many bytes of a text in a report are shown: a compromised server may report anything.
	maxText = 500
)

// Cloud moves the VIP. *awsclient.Client implements it.
type Cloud interface {
	// AddressHolder returns the id of the instance that holds the address, or "".
	AddressHolder(ctx context.Context, allocationID string) (string, error)
	MoveAddress(ctx context.Context, allocationID, instanceID string) error
	TerminateInstance(ctx context.Context, instanceID string) error
	// TagInstance sets one tag and leaves the others as they are.
	TagInstance(ctx context.Context, instanceID, key, value string) error
}

// Bucket is the backup bucket. awsclient.Bucket implements it.
type Bucket interface {
	Get(ctx context.Context, key string) ([]byte, error)
	Put(ctx context.Context, key, contentType string, content []byte) error
}

// Bake is the bake of a server.
type Bake struct {
	Criteria
	// Server and Previous are the instance ids of the server that is watched and of the previous one. AllocationID is the
	// VIP's.
	Server, Previous, AllocationID string
	Cloud                          Cloud
	Bucket                         Bucket
	// Visit visits the site at the VIP over a new connection. It fails unless that server responds as expected.
	Visit func(ctx context.Context, server string) error
	// Log receives lines that describe the progress.
	Log func(line string)
}

// failure is the record of a failed bake. It stays in the bucket after the server is terminated.
type failure struct {
	Server string         `json:"server"`
	Time   time.Time      `json:"time"`
	Reason string         `json:"reason"`
	Report *report.Report `json:"report,omitempty"`
	// Kept is true if the previous server no longer served, so that this one kept the VIP or got it back.
	Kept bool `json:"kept,omitempty"`
}

func (b Bake) failure(reason string, last *report.Report) failure {
	return failure{Server: b.Server, Time: time.Now().UTC(), Reason: reason, Report: last}
}

func failureKey(server string) string { return "handover/failed/" + server + ".json" }

// Run watches the server for the bake time. If the bake fails, it returns the VIP and terminates the server; the
// error has the reason, and what happened to the VIP. If ctx ends, both servers are left as they are.
func (b Bake) Run(ctx context.Context) error {
	if b.Previous == "" || b.Previous == b.Server {
		b.Log("no other server held the VIP before: without a server to return it to, there is no bake")
		return nil
	}
	holder, err := b.Cloud.AddressHolder(ctx, b.AllocationID)
	if err != nil {
		return err
	}
	earlier := b.earlierFailure(ctx)
	returned := earlier != nil && !earlier.Kept
	switch {
	case holder != b.Server && returned:
		return b.finish(ctx, holder, *earlier)
	case holder != b.Server:
		return fmt.Errorf("the VIP is at %s, not at %s: run `pulumi refresh`, then `pulumi up`", orNone(holder), b.Server)
	case returned:
		// The return was killed before the VIP moved, or the next update moved the VIP again.
		return b.returnVIP(ctx, earlier.Reason, earlier.Report, true)
	case b.Time == 0:
		return nil
	}
	var last *report.Report
	var lost bool
	reason := b.awaitArrival(ctx)
	arrived := reason == ""
	if arrived && ctx.Err() == nil {
		b.Log(fmt.Sprintf("watching %s for %d s; %s still runs", b.Server, b.Time, b.Previous))
		reason, last, lost = b.watch(ctx)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("stopped the bake of %s: both servers stay; the next update repeats it: %w",
			b.Server, context.Cause(ctx))
	}
	switch {
	case reason == "":
		return nil
	case earlier != nil:
		return errors.Join(b.failedError(reason), b.keptError())
	case lost && b.Visit(ctx, b.Server) == nil:
		// A return would leave visitors without an answer until it is found to have failed.
		return errors.Join(b.failedError(reason), b.kept(ctx, b.failure(reason, last)))
	}
	return b.returnVIP(ctx, reason, last, arrived)
}

// failedError is the error of a failed bake.
func (b Bake) failedError(reason string) error {
	return fmt.Errorf("server %s failed its bake: %s", b.Server, reason)
}

// awaitArrival waits until a visit reaches the server and succeeds. It returns why the bake failed, or "".
func (b Bake) awaitArrival(ctx context.Context) (reason string) {
	began := time.Now()
	for {
		err := b.Visit(ctx, b.Server)
		took := time.Since(began)
		switch {
		case err == nil:
			return ""
		case took >= ArrivalTimeout:
			return fmt.Sprintf("no visit arrived at it within %.0f s, the last one: %v", took.Seconds(), err)
		}
		select {
		case <-ctx.Done():
			return ""
		case <-time.After(visitPause):
		}
	}
}

// watch returns why the bake failed, or "", the last report, and whether the previous server no longer sends signs of
// life.
func (b Bake) watch(ctx context.Context) (reason string, last *report.Report, lost bool) {
	began := time.Now()
	end := time.After(time.Duration(b.Time) * time.Second)
	visits, reports := time.NewTicker(visitPause), time.NewTicker(reportPause)
	defer visits.Stop()
	defer reports.Stop()
	visited, previous := visitCount{}, signs{}
	since := map[string]time.Time{}
	for {
		select {
		case <-ctx.Done():
			return "", last, lost
		case <-end:
			b.Log(fmt.Sprintf("%d visits in %.0f s, of which %d failed",
				visited.all, time.Since(began).Seconds(), visited.failed))
			return "", last, lost
		case <-visits.C:
			visited.count(b.Visit(ctx, b.Server))
			reason = visited.verdict(b.Criteria)
		case <-reports.C:
			var found []problem
			if last, found = b.readReport(ctx); len(found) > 0 {
				b.Log(fmt.Sprintf("after %.0f s: %s", time.Since(began).Seconds(), found[0].text))
			}
			reason = b.persistent(since, found)
			was := lost
			if lost = previous.lost(b.readSign(ctx)); lost && !was {
				b.Log(fmt.Sprintf("after %.0f s: %s sends no sign of life any more", time.Since(began).Seconds(), b.Previous))
			}
		}
		if reason != "" && ctx.Err() == nil {
			return reason, last, lost
		}
	}
}

// signs follows the signs of life of a server.
type signs struct {
	last report.Standby
	// renewed is when a sign last differed from the one before; zero if none did. The one that is found first may be from
	// an earlier update.
	renewed time.Time
}

// lost returns whether the server sent signs of life and no longer does. A sign that cannot be read proves nothing.
func (s *signs) lost(next report.Standby, readable bool) bool {
	switch {
	case !readable:
		s.renewed = time.Time{}
	case s.last != report.Standby{} && s.last != next:
		s.renewed = time.Now()
	}
	s.last = next
	return !s.renewed.IsZero() && time.Since(s.renewed) >= lostAfter
}

// readSign reads the last sign of life of the previous server.
func (b Bake) readSign(ctx context.Context) (sign report.Standby, readable bool) {
	content, err := b.Bucket.Get(ctx, report.StandbyKey)
	readable = err == nil && json.Unmarshal(content, &sign) == nil && sign.Server == b.Previous
	return sign, readable
}

// visitCount counts visits and failures.
type visitCount struct {
	all, failed, inRow int
	last               error
}

func (v *visitCount) count(err error) {
	v.all++
	v.inRow++
	if err == nil {
		v.inRow = 0
		return
	}
	v.failed++
	v.last = err
}

func (v *visitCount) verdict(limits Criteria) string {
	switch {
	case v.inRow >= limits.FailedVisits:
		return fmt.Sprintf("%d visits in a row failed: %v", v.inRow, v.last)
	case v.all >= minVisits && 100*v.failed > limits.ErrorPercent*v.all:
		return fmt.Sprintf("%d of %d visits failed, the last one: %v", v.failed, v.all, v.last)
	}
	return ""
}

// problem is a problem in a report. A transient one fails the bake only if it persists.
type problem struct {
	name, text string
	transient  bool
}

// persistent returns the first problem that fails the bake. since records when each problem began.
func (b Bake) persistent(since map[string]time.Time, found []problem) string {
	now := time.Now()
	for _, p := range found {
		if since[p.name].IsZero() {
			since[p.name] = now
		}
		if !p.transient || now.Sub(since[p.name]) >= time.Duration(b.Patience)*time.Second {
			return p.text
		}
	}
	for name := range since {
		if !slices.ContainsFunc(found, func(p problem) bool { return p.name == name }) {
			delete(since, name)
		}
	}
	return ""
}

// readReport reads the report and returns its problems.
func (b Bake) readReport(ctx context.Context) (*report.Report, []problem) {
	content, err := b.Bucket.Get(ctx, report.Key)
	if err != nil {
		return nil, []problem{{"report", fmt.Sprintf("the server sends no report: %v", err), true}}
	}
	var r report.Report
	if err := json.Unmarshal(content, &r); err != nil {
		text := lines.Printable(fmt.Sprintf("the server's report is invalid: %v", err), maxText)
		return nil, []problem{{"report", text, true}}
	}
	if r.Server != b.Server {
		return nil, []problem{{"report", "the server sends no report", true}}
	}
	return &r, b.judge(r, time.Now())
}

// judge returns the problems of a report.
func (b Bake) judge(r report.Report, now time.Time) []problem {
	var found []problem
	add := func(name string, transient bool, format string, args ...any) {
		found = append(found, problem{name, lines.Printable(fmt.Sprintf(format, args...), maxText), transient})
	}
	switch age := now.Sub(r.Time); {
	case age < -maxClockError:
		add("clock", true, "the server's clock is %.0f s fast", -age.Seconds())
	case age > maxClockError && !r.Last:
		add("report", true, "the newest report is %.0f s old, or the server's clock is slow", age.Seconds())
	}
	for _, check := range r.Checks {
		if !check.OK {
			add(check.Name, true, "the check %s fails: %s", check.Name, check.Detail)
		}
	}
	own, before := r.Figures[b.Server], r.Figures[b.Previous]
	if r.Missing != "" {
		add("figures", true, "the server cannot read its own figures: %s", r.Missing)
	}
	if limit := value(before.Errors, 0) + float64(b.ErrorPercent)/100; value(own.Errors, 0) > limit {
		add("errors", true, "%.1f %% of the responses are errors; the server before had %.1f %%",
			100*value(own.Errors, 0), 100*value(before.Errors, 0))
	}
	limit := max(goodLatency, float64(b.LatencyFactor)*value(before.Latency, goodLatency))
	if value(own.Latency, 0) > limit {
		add("latency", true, "95 %% of the responses take up to %.0f ms; the limit is %.0f ms",
			1000*value(own.Latency, 0), 1000*limit)
	}
	for _, resource := range []struct {
		name  string
		share *float64
	}{{"memory", own.Memory}, {"disk", own.Disk}} {
		if share := value(resource.share, 1); 100*share < float64(b.FreePercent) {
			add(resource.name, true, "%.1f %% of the %s is available", 100*share, resource.name)
		}
	}
	if restarts := value(own.Restarts, 0); restarts >= float64(b.Restarts) {
		add("restarts", false, "containers restarted %.0f times", restarts)
	}
	return found
}

func value(figure *float64, otherwise float64) float64 {
	if figure == nil {
		return otherwise
	}
	return *figure
}

// returnVIP returns the VIP to the previous server, terminates this server, and returns what happened as an error. If
// the previous server does not serve, this one gets the VIP back if visits had reached it.
func (b Bake) returnVIP(ctx context.Context, reason string, last *report.Report, arrived bool) error {
	decided := time.Now()
	b.Log("the bake failed: " + reason)
	failed := b.failedError(reason)
	// Write the record and the tag first, so that the next update continues from here if this one is killed.
	record := b.failure(reason, last)
	recorded := b.record(ctx, record)
	if elsewhere, err := b.move(ctx, b.Server, b.Previous); err != nil {
		if !elsewhere {
			err = errors.Join(fmt.Errorf("the VIP cannot return, and %s keeps serving: %w", b.Server, err),
				b.tag(context.WithoutCancel(ctx), NotFailed))
		}
		return errors.Join(failed, recorded, err)
	}
	b.Log(fmt.Sprintf("the VIP is back at %s, %.1f s after the decision", b.Previous, time.Since(decided).Seconds()))
	if recorded != nil {
		recorded = b.record(ctx, record)
	}
	// Keep this server until the previous one serves: until then, visitors may still reach this one.
	served := b.awaitPrevious(ctx, decided)
	if served != nil && (arrived || ctx.Err() != nil) {
		return errors.Join(failed, recorded, served, b.keep(ctx, record))
	}
	// Terminate the server here, because it must not get the VIP again, and only the next successful update would delete
	// it.
	return errors.Join(failed, recorded, served, b.terminate(ctx), b.advice(b.Previous))
}

// move moves the VIP from one server to another. elsewhere is true if another update has moved the VIP to a third
// server, where it stays.
func (b Bake) move(ctx context.Context, from, to string) (elsewhere bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	holder, err := b.Cloud.AddressHolder(ctx, b.AllocationID)
	switch {
	case err != nil:
		return false, err
	case holder != from:
		return true, fmt.Errorf("the VIP is at %s by now, and stays there", orNone(holder))
	}
	return false, b.Cloud.MoveAddress(ctx, b.AllocationID, to)
}

// keep moves the VIP back to the server that failed, because the previous one does not serve at all. If ctx has
// ended, the VIP stays where it is.
func (b Bake) keep(ctx context.Context, record failure) error {
	if ctx.Err() != nil {
		return nil
	}
	if _, err := b.move(ctx, b.Previous, b.Server); err != nil {
		return err
	}
	b.Log(fmt.Sprintf("the VIP is at %s again, because %s does not serve", b.Server, b.Previous))
	return b.kept(ctx, record)
}

// kept records that the server that failed keeps the VIP, and returns that as an error.
func (b Bake) kept(ctx context.Context, record failure) error {
	record.Kept = true
	return errors.Join(b.record(ctx, record), b.keptError())
}

// keptError reports that the server that failed keeps the VIP.
func (b Bake) keptError() error {
	return fmt.Errorf("the way back failed, because %s does not serve: %s keeps the VIP. Correct the cause and replace it",
		b.Previous, b.Server)
}

// record writes the record of the failure to the bucket, and tags the server accordingly.
func (b Bake) record(ctx context.Context, record failure) error {
	text, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot encode the record of the bake: %w", err)
	}
	tag := hasFailed
	if record.Kept {
		tag = NotFailed
	}
	limited, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	return errors.Join(
		b.Bucket.Put(limited, failureKey(b.Server), "application/json", append(text, '\n')), b.tag(ctx, tag))
}

func (b Bake) tag(ctx context.Context, failed string) error {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	return b.Cloud.TagInstance(ctx, b.Server, FailedTag, failed)
}

// earlierFailure returns the record of an earlier failed bake of the server, or nil.
func (b Bake) earlierFailure(ctx context.Context) *failure {
	content, err := b.Bucket.Get(ctx, failureKey(b.Server))
	var record failure
	if err != nil || json.Unmarshal(content, &record) != nil {
		return nil
	}
	record.Reason = lines.Printable(record.Reason, maxText)
	return &record
}

// terminate terminates the server, unless another update has moved the VIP to it in the meantime.
func (b Bake) terminate(ctx context.Context) error {
	holder, err := b.Cloud.AddressHolder(ctx, b.AllocationID)
	if err == nil && holder == b.Server {
		err = fmt.Errorf("the VIP is at %s again, which therefore keeps running", b.Server)
	}
	if err != nil {
		return err
	}
	return b.Cloud.TerminateInstance(ctx, b.Server)
}

// awaitPrevious waits until the previous server serves again.
func (b Bake) awaitPrevious(ctx context.Context, decided time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, ArrivalTimeout)
	defer cancel()
	for {
		err := b.Visit(ctx, b.Previous)
		if err == nil {
			b.Log(fmt.Sprintf("%s serves again, %.1f s after the decision", b.Previous, time.Since(decided).Seconds()))
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s holds the VIP again, but does not serve: %w", b.Previous, err)
		case <-time.After(visitPause):
		}
	}
}

// advice is an error that names the serving server and says what to do. The logs of the report are only in the bucket,
// because they name visitors, and the output of an update may be public.
func (b Bake) advice(serving string) error {
	return fmt.Errorf("%s serves. Correct the cause and run `pulumi up`: it creates another server. "+
		"The report, with the last lines of the logs, is in the backup bucket: %s", serving, failureKey(b.Server))
}

// finish completes an earlier return that was killed after the VIP had left the server.
func (b Bake) finish(ctx context.Context, holder string, earlier failure) error {
	return errors.Join(b.advice(orNone(holder)), fmt.Errorf("server %s failed its bake at %s: %s",
		b.Server, earlier.Time.Format(time.RFC3339), earlier.Reason), b.terminate(ctx))
}

func orNone(server string) string {
	if server == "" {
		return "no server"
	}
	return server
}
