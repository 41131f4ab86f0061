// Package bake watches a server after the VIP moved to it, as visitors see it and by its own report, and returns the
// VIP to the server before it if visitors fare worse.
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

// ArrivalTimeout is how long EC2 may take to bring new connections to the server that the VIP was associated with.
// Until the first one arrives, neither the bake time nor a criterion counts.
const ArrivalTimeout = time.Minute

// Criteria decide when a bake fails: docs/settings.md.
type Criteria struct {
	// Time is how long the new server is watched, in seconds. 0 is no bake.
	Time int `config:"bakeTime" default:"120" range:"0 600"`
	// FailedVisits is how many visits in a row fail in a bake that fails. There is one each second.
	FailedVisits int `config:"bakeFailedVisits" default:"3" range:"1 60"`
	// ErrorPercent is by how much the share of responses with a status of 5xx may exceed that of the server before it,
	// in percent of all responses. The same share of visits may fail.
	ErrorPercent int `config:"bakeErrorPercent" default:"5" range:"1 100"`
	// LatencyFactor is how many times slower than the server before it the new one may respond, by the 95th percentile.
	// Below a quarter of a second it may always be.
	LatencyFactor int `config:"bakeLatencyFactor" default:"3" range:"1 100"`
	// FreePercent is how much memory and disk must be available.
	FreePercent int `config:"bakeFreePercent" default:"5" range:"0 50"`
	// Restarts is how many restarts of containers fail a bake.
	Restarts int `config:"bakeRestarts" default:"2" range:"1 100"`
	// Patience is for how many seconds the report may be missing or old, or a check of it fail.
	Patience int `config:"bakePatience" default:"20" range:"5 600"`
}

const (
	// visitPause is the time between two visits, reportPause that between two reads of the report.
	visitPause  = time.Second
	reportPause = 5 * time.Second
	// fewVisits is the number of visits before the share of those that failed counts.
	fewVisits = 20
	// goodLatency is the latency that is never too high, in seconds.
	goodLatency = 0.25
	// maxClockError is by how much the server's clock may differ from that of this machine.
	maxClockError = 30 * time.Second
	// returnTimeout bounds the calls that move the VIP, recordTimeout the write of the record before them.
	returnTimeout = 10 * time.Second
	recordTimeout = 2 * time.Second
	// maxText is how many bytes of a text of a report are shown: a server that was broken into may report anything.
	maxText = 500
)

// Cloud moves the VIP. *awsclient.Client is one.
type Cloud interface {
	// AddressHolder returns the id of the instance that holds the address, or "".
	AddressHolder(ctx context.Context, allocationID string) (string, error)
	MoveAddress(ctx context.Context, allocationID, instanceID string) error
	TerminateInstance(ctx context.Context, instanceID string) error
}

// Bucket is the backup bucket. awsclient.Bucket is one.
type Bucket interface {
	Get(ctx context.Context, key string) ([]byte, error)
	Put(ctx context.Context, key, contentType string, content []byte) error
}

// Bake is one bake of a server.
type Bake struct {
	Criteria
	// Server and Previous are the ids of the server that is watched and of the one before it. AllocationID is that of
	// the VIP.
	Server, Previous, AllocationID string
	Cloud                          Cloud
	Bucket                         Bucket
	// Visit visits the site at the VIP by a new connection, and fails unless that server responds as it should.
	Visit func(ctx context.Context, server string) error
	// Log gets a line of progress.
	Log func(line string)
}

// failure is the record of a bake that failed. It stays in the bucket when the server is gone.
type failure struct {
	Server string         `json:"server"`
	Time   time.Time      `json:"time"`
	Reason string         `json:"reason"`
	Report *report.Report `json:"report,omitempty"`
	// Kept reports that the server before did not serve any more, and that this one has the VIP again.
	Kept bool `json:"kept,omitempty"`
}

func failureKey(server string) string { return "handover/failed/" + server + ".json" }

// Run watches until the time is over. If the bake fails, it returns the VIP and terminates the server; the error is the
// reason and what became of the VIP then. If ctx ends, both servers stay as they are.
func (b Bake) Run(ctx context.Context) error {
	if b.Previous == "" || b.Previous == b.Server {
		b.Log("no other server held the VIP before: there is none to return it to, and no bake")
		return nil
	}
	holder, err := b.Cloud.AddressHolder(ctx, b.AllocationID)
	if err != nil {
		return err
	}
	earlier := b.earlier(ctx)
	returned := earlier != nil && !earlier.Kept
	switch {
	case holder != b.Server && returned:
		return b.finish(ctx, holder, *earlier)
	case holder != b.Server:
		return fmt.Errorf("the VIP is at %s, not at %s: run `pulumi refresh`, then `pulumi up`", orNone(holder), b.Server)
	case returned:
		// The way back was killed before the VIP moved, or the next update moved it again.
		return b.giveBack(ctx, earlier.Reason, earlier.Report, true)
	case b.Time == 0:
		return nil
	}
	var last *report.Report
	reason := b.arrive(ctx)
	arrived := reason == ""
	if arrived && ctx.Err() == nil {
		b.Log(fmt.Sprintf("watching %s for %d s; %s still runs", b.Server, b.Time, b.Previous))
		reason, last = b.watch(ctx)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("stopped the bake of %s: both servers stay; the next update repeats it: %w",
			b.Server, context.Cause(ctx))
	}
	switch {
	case reason == "":
		return nil
	case earlier != nil:
		return errors.Join(b.failed(reason), b.kept())
	}
	return b.giveBack(ctx, reason, last, arrived)
}

// failed is the error of a bake that failed.
func (b Bake) failed(reason string) error {
	return fmt.Errorf("server %s failed its bake: %s", b.Server, reason)
}

// arrive waits until a visit arrives at the server and succeeds. It returns why the bake failed, or "".
func (b Bake) arrive(ctx context.Context) (reason string) {
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

// watch returns why the bake failed, or "", and the last report.
func (b Bake) watch(ctx context.Context) (reason string, last *report.Report) {
	began := time.Now()
	end := time.After(time.Duration(b.Time) * time.Second)
	visits, reports := time.NewTicker(visitPause), time.NewTicker(reportPause)
	defer visits.Stop()
	defer reports.Stop()
	visited := visitCount{}
	trouble := map[string]time.Time{}
	for {
		select {
		case <-ctx.Done():
			return "", last
		case <-end:
			b.Log(fmt.Sprintf("%d visits in %.0f s, of which %d failed",
				visited.all, time.Since(began).Seconds(), visited.failed))
			return "", last
		case <-visits.C:
			visited.count(b.Visit(ctx, b.Server))
			reason = visited.verdict(b.Criteria)
		case <-reports.C:
			var found []problem
			if last, found = b.read(ctx); len(found) > 0 {
				b.Log(fmt.Sprintf("after %.0f s: %s", time.Since(began).Seconds(), found[0].text))
			}
			reason = b.lasting(trouble, found)
		}
		if reason != "" && ctx.Err() == nil {
			return reason, last
		}
	}
}

// visitCount counts visits.
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
	case v.all >= fewVisits && 100*v.failed > limits.ErrorPercent*v.all:
		return fmt.Sprintf("%d of %d visits failed, the last one: %v", v.failed, v.all, v.last)
	}
	return ""
}

// problem is what is wrong by a report. One that may pass fails the bake only if it lasts.
type problem struct {
	name, text string
	mayPass    bool
}

// lasting returns the first problem that fails the bake. since remembers when each began.
func (b Bake) lasting(since map[string]time.Time, found []problem) string {
	now := time.Now()
	for _, p := range found {
		if since[p.name].IsZero() {
			since[p.name] = now
		}
		if !p.mayPass || now.Sub(since[p.name]) >= time.Duration(b.Patience)*time.Second {
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

// read reads the report and finds its problems.
func (b Bake) read(ctx context.Context) (*report.Report, []problem) {
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

// judge compares a report with the limits.
func (b Bake) judge(r report.Report, now time.Time) []problem {
	var found []problem
	add := func(name string, mayPass bool, format string, args ...any) {
		found = append(found, problem{name, lines.Printable(fmt.Sprintf(format, args...), maxText), mayPass})
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

// giveBack returns the VIP to the server before, terminates the server, and returns what happened as an error. If the
// server before does not serve, a server at which visits arrived gets the VIP again.
func (b Bake) giveBack(ctx context.Context, reason string, last *report.Report, arrived bool) error {
	decided := time.Now()
	b.Log("the bake failed: " + reason)
	failed := b.failed(reason)
	// First, so that the next update continues from here if this one is killed.
	record := failure{Server: b.Server, Time: decided.UTC(), Reason: reason, Report: last}
	recorded := b.record(ctx, record)
	if elsewhere, err := b.move(ctx, b.Server, b.Previous); err != nil {
		if !elsewhere {
			err = fmt.Errorf("the VIP cannot return, and %s keeps serving: %w", b.Server, err)
		}
		return errors.Join(failed, recorded, err)
	}
	b.Log(fmt.Sprintf("the VIP is back at %s, %.1f s after the decision", b.Previous, time.Since(decided).Seconds()))
	if recorded != nil {
		recorded = b.record(ctx, record)
	}
	// Until the VIP leads to the server before, visitors reach this one or none.
	served := b.served(ctx, decided)
	if served != nil && (arrived || ctx.Err() != nil) {
		return errors.Join(failed, recorded, served, b.keep(ctx, record))
	}
	// It must not get the VIP again, and no update deletes it before the next one that succeeds.
	return errors.Join(failed, recorded, served, b.terminate(ctx), b.advice(b.Previous))
}

// move moves the VIP from one server to another. elsewhere reports that the VIP is at a third one, where another update
// moved it: it is that one's then.
func (b Bake) move(ctx context.Context, from, to string) (elsewhere bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, returnTimeout)
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

// keep moves the VIP to the server that failed, because the one before it does not serve at all. If ctx has ended, the
// VIP stays.
func (b Bake) keep(ctx context.Context, record failure) error {
	if ctx.Err() != nil {
		return nil
	}
	if _, err := b.move(ctx, b.Previous, b.Server); err != nil {
		return err
	}
	b.Log(fmt.Sprintf("the VIP is at %s again, because %s does not serve", b.Server, b.Previous))
	record.Kept = true
	return errors.Join(b.record(ctx, record), b.kept())
}

// kept says that the server that failed keeps the VIP.
func (b Bake) kept() error {
	return fmt.Errorf("the way back failed, because %s does not serve: %s keeps the VIP. Correct the cause and replace it",
		b.Previous, b.Server)
}

// record writes the record of the failure to the bucket.
func (b Bake) record(ctx context.Context, record failure) error {
	text, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot encode the record of the bake: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	return b.Bucket.Put(ctx, failureKey(b.Server), "application/json", append(text, '\n'))
}

// earlier returns the record of an earlier bake of the server that failed, or nil.
func (b Bake) earlier(ctx context.Context) *failure {
	content, err := b.Bucket.Get(ctx, failureKey(b.Server))
	var record failure
	if err != nil || json.Unmarshal(content, &record) != nil {
		return nil
	}
	record.Reason = lines.Printable(record.Reason, maxText)
	return &record
}

// terminate ends the server, unless another update moved the VIP to it meanwhile.
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

// served waits until the server before serves again.
func (b Bake) served(ctx context.Context, decided time.Time) error {
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

// advice says which server serves, and what to do. The logs of the report name visitors, and the output of an update
// may be public: they stay in the bucket.
func (b Bake) advice(serving string) error {
	return fmt.Errorf("%s serves. Correct the cause and run `pulumi up`: it creates another server. "+
		"The report, with the last lines of the logs, is in the backup bucket: %s", serving, failureKey(b.Server))
}

// finish ends the way back of an earlier bake, which was killed. The VIP has left the server.
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
