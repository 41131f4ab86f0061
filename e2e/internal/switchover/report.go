package switchover

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"immutable-infra/e2e/internal/engine"
	"immutable-infra/e2e/internal/load"
)

// examples is the maximum number of failures that a report shows in full.
const examples = 10

// Report holds the figures of replacements that were made in the same way.
type Report struct {
	Way string `json:"way"`
	// Move describes how the VIP moved.
	Move         string `json:"move"`
	Replacements int    `json:"replacements"`
	// Fresh and KeepAlive summarize all replacements: counts are sums; longest gap, maximum and behind are the worst
	// values; quantiles are medians.
	Fresh     Visits `json:"fresh"`
	KeepAlive Visits `json:"keepAlive"`
	Logins    Logins `json:"logins"`
	// Median holds the median of each figure by itself, so the parts need not add up.
	Median Times    `json:"median"`
	Each   []Figure `json:"each,omitempty"`
}

type Figure struct {
	Generation int `json:"generation"`
	Times
	Fresh     Visits `json:"fresh"`
	KeepAlive Visits `json:"keepAlive"`
	Logins    Logins `json:"logins"`
	// Lines are the lines of output of the steps on the new server.
	Lines []Line `json:"lines"`
	// Failures are the first failures that were not in flight when the VIP moved.
	Failures []load.Failure `json:"failures"`
	Problems []string       `json:"problems"`
}

// Visits are the results of visitors of one kind.
type Visits struct {
	Requests int `json:"requests"`
	// InFlight and Other count failures by kind: those in progress while the VIP moved, and the others.
	InFlight     map[string]int `json:"failedInFlight"`
	Other        map[string]int `json:"failedOther"`
	LongestGapMs float64        `json:"longestGapMs"`
	MedianGapMs  float64        `json:"medianLongestGapMs,omitempty"`
	P50Ms        float64        `json:"p50Ms"`
	P99Ms        float64        `json:"p99Ms"`
	MaxMs        float64        `json:"maxMs"`
	// See load.Summary.
	Reconnects int     `json:"reconnects"`
	Repeated   int     `json:"repeated"`
	Resets     int     `json:"resets"`
	BehindMs   float64 `json:"behindMs"`
}

// Logins holds the results of SSH logins.
type Logins struct {
	Tried int `json:"tried"`
	// Cut counts those that failed while the VIP moved.
	Cut    int `json:"cut"`
	Failed int `json:"failed"`
	// Told counts those that succeeded but wrote to stderr.
	Told int `json:"told"`
}

// Times holds the durations of a replacement.
type Times struct {
	UpMs float64 `json:"upMs"`
	// MovedMs is the time from the beginning until the VIP was at the new server.
	MovedMs float64 `json:"movedMs"`
	Parts   []Part  `json:"parts"`
}

// Part is a part of a replacement. Parts may overlap.
type Part struct {
	Name   string  `json:"name"`
	FromMs float64 `json:"fromMs"`
	TookMs float64 `json:"tookMs"`
}

// Line is a line of output of a step on the new server.
type Line struct {
	AtMs float64 `json:"atMs"`
	Step string  `json:"step"`
	Text string  `json:"text"`
}

func NewReport(way string, replacements []Replacement) Report {
	report := Report{Way: way, Replacements: len(replacements)}
	if len(replacements) > 0 {
		report.Move = replacements[0].Move.String()
	}
	var fresh, keepAlive []Visits
	var times []Times
	for _, r := range replacements {
		figure := r.figure()
		report.Each = append(report.Each, figure)
		fresh, keepAlive = append(fresh, figure.Fresh), append(keepAlive, figure.KeepAlive)
		times = append(times, figure.Times)
		report.Logins = report.Logins.plus(figure.Logins)
	}
	report.Fresh, report.KeepAlive, report.Median = summarize(fresh), summarize(keepAlive), medianTimes(times)
	return report
}

func (r Replacement) figure() Figure {
	figure := Figure{
		Generation: r.Generation,
		Times:      r.times(),
		Fresh:      r.visits(r.Load.Fresh, 0),
		KeepAlive:  r.visits(r.Load.KeepAlive, NextRequest),
		Lines:      []Line{},
		Failures:   []load.Failure{},
		Problems:   []string{},
	}
	for _, login := range r.Logins {
		figure.Logins = figure.Logins.plus(r.judge(login))
	}
	for _, line := range r.Engine.Lines {
		figure.Lines = append(figure.Lines, Line{AtMs: r.offset(line.At), Step: line.Name, Text: line.Text})
	}
	_, fresh := r.split(r.Load.Fresh.Failures, 0)
	_, keepAlive := r.split(r.Load.KeepAlive.Failures, NextRequest)
	figure.Failures = append(append(figure.Failures, fresh...), keepAlive...)
	slices.SortFunc(figure.Failures, func(a, b load.Failure) int { return a.At.Compare(b.At) })
	figure.Failures = figure.Failures[:min(len(figure.Failures), examples)]
	problems := r.Problems()
	figure.Problems = append(figure.Problems, problems[:min(len(problems), examples)]...)
	return figure
}

func (r Replacement) visits(s load.Summary, grace time.Duration) Visits {
	inFlight, others := r.split(s.Failures, grace)
	return Visits{
		Requests: s.Requests, InFlight: load.ByKind(inFlight), Other: load.ByKind(others),
		LongestGapMs: load.Milliseconds(s.LongestGap),
		P50Ms:        load.Milliseconds(s.P50), P99Ms: load.Milliseconds(s.P99), MaxMs: load.Milliseconds(s.Max),
		Reconnects: s.Reconnects, Repeated: s.Repeated, Resets: s.Resets, BehindMs: load.Milliseconds(s.Behind),
	}
}

func (r Replacement) judge(login Login) Logins {
	judged := Logins{Tried: 1}
	switch {
	case login.Status == 0 && login.Stderr != "":
		judged.Told = 1
	case login.Status != 0 && r.inFlight(login.At, login.Took, 0):
		judged.Cut = 1
	case login.Status != 0:
		judged.Failed = 1
	}
	return judged
}

func (l Logins) plus(other Logins) Logins {
	return Logins{
		Tried:  l.Tried + other.Tried,
		Cut:    l.Cut + other.Cut,
		Failed: l.Failed + other.Failed,
		Told:   l.Told + other.Told,
	}
}

// offset returns a time relative to the beginning of the update, in milliseconds.
func (r Replacement) offset(at time.Time) float64 { return load.Milliseconds(at.Sub(r.Began)) }

func (r Replacement) times() Times {
	times := Times{UpMs: r.offset(r.Ended), MovedMs: load.Milliseconds(r.moved()), Parts: []Part{}}
	add := func(name string, from, to time.Time) {
		times.Parts = append(times.Parts, Part{Name: name, FromMs: r.offset(from), TookMs: load.Milliseconds(to.Sub(from))})
	}
	// The update runs the program again after the preview.
	program := r.Began
	if !r.Engine.Previewed.IsZero() {
		add("preview", r.Began, r.Engine.Previewed)
		program = r.Engine.Previewed
	}
	last := program
	for i, step := range r.Engine.Steps {
		if i == 0 {
			add("program until its first change", program, step.Began)
		}
		if step.Ended.IsZero() {
			continue
		}
		add(partName(step), step.Began, step.Ended)
		if step.Ended.After(last) {
			last = step.Ended
		}
	}
	add("end after the last change", last, r.Ended)
	return times
}

// partName describes a step. It includes the last part of the type because resources of different types can have
// the same name.
func partName(step engine.Step) string {
	verb := step.Op
	switch {
	case step.Creates():
		verb = "create"
	case step.Deletes():
		verb = "delete"
	}
	return verb + " " + step.Name + " (" + step.Type[strings.LastIndex(step.Type, ":")+1:] + ")"
}

// summarize summarizes the results of visitors of one kind in several replacements.
func summarize(each []Visits) Visits {
	total := Visits{InFlight: map[string]int{}, Other: map[string]int{}}
	for _, v := range each {
		total.Requests += v.Requests
		for kind, count := range v.InFlight {
			total.InFlight[kind] += count
		}
		for kind, count := range v.Other {
			total.Other[kind] += count
		}
		total.LongestGapMs = max(total.LongestGapMs, v.LongestGapMs)
		total.MaxMs = max(total.MaxMs, v.MaxMs)
		total.Reconnects += v.Reconnects
		total.Repeated += v.Repeated
		total.Resets += v.Resets
		total.BehindMs = max(total.BehindMs, v.BehindMs)
	}
	total.MedianGapMs = medianOf(each, func(v Visits) float64 { return v.LongestGapMs })
	total.P50Ms = medianOf(each, func(v Visits) float64 { return v.P50Ms })
	total.P99Ms = medianOf(each, func(v Visits) float64 { return v.P99Ms })
	return total
}

// medianTimes returns the median of each figure and of each part.
func medianTimes(each []Times) Times {
	parts := map[string][]Part{}
	for _, times := range each {
		for _, part := range times.Parts {
			parts[part.Name] = append(parts[part.Name], part)
		}
	}
	median := Times{
		UpMs:    medianOf(each, func(t Times) float64 { return t.UpMs }),
		MovedMs: medianOf(each, func(t Times) float64 { return t.MovedMs }),
		Parts:   []Part{},
	}
	for name, same := range parts {
		median.Parts = append(median.Parts, Part{
			Name:   name,
			FromMs: medianOf(same, func(p Part) float64 { return p.FromMs }),
			TookMs: medianOf(same, func(p Part) float64 { return p.TookMs }),
		})
	}
	slices.SortFunc(median.Parts, func(a, b Part) int {
		return cmp.Or(cmp.Compare(a.FromMs, b.FromMs), cmp.Compare(a.Name, b.Name))
	})
	return median
}

// medianOf returns the median of a figure. With an even number of values, it is the upper of the two middle ones.
func medianOf[T any](each []T, figure func(T) float64) float64 {
	if len(each) == 0 {
		return 0
	}
	figures := make([]float64, 0, len(each))
	for _, one := range each {
		figures = append(figures, figure(one))
	}
	slices.Sort(figures)
	return figures[len(figures)/2]
}
