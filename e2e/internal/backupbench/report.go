package backupbench

import (
	"fmt"
	"math"
	"time"

	"immutable-infra/e2e/internal/compare"
)

const (
	// Flat is the allowed relative difference from the initial cost.
	Flat = 0.10
	// Limit is the maximum mean cost of a minute, in bytes.
	Limit = 50_000
	// cycle is the number of hours between the blocks that Prometheus cuts, and firstCycle the hour in which the first
	// complete cycle begins.
	cycle, firstCycle = 2, 3
	// overhead is the maximum size of a request's headers, in bytes.
	overhead = 1500
)

// Report is the result of the benchmark.
type Report struct {
	Series          int     `json:"series"`
	IntervalSeconds float64 `json:"intervalSeconds"`
	// Ours and Original cover all runs.
	Ours     Figures `json:"ours"`
	Original Figures `json:"original"`
	// Noise covers the first cycle with incompressible values.
	Noise Figures `json:"noise"`
	// Ratio is the number of bytes that the original sends divided by ours.
	Ratio float64 `json:"ratio"`
	// Hours are by the simulated clock, with one run per minute.
	Hours []Hour `json:"hours"`
	// Cycles are periods of two hours with one block each.
	Cycles   []Cycle   `json:"cycles"`
	Restores []Restore `json:"restores"`
	Killed   []Killed  `json:"killed"`
	Problems []string  `json:"problems"`
}

// Hour summarizes the runs of an hour.
type Hour struct {
	// Hour counts from 1.
	Hour     int     `json:"hour"`
	Ours     Figures `json:"ours"`
	Original Figures `json:"original"`
}

// Cycle summarizes the cost from one block to the next.
type Cycle struct {
	FirstHour int     `json:"firstHour"`
	LastHour  int     `json:"lastHour"`
	SentMean  float64 `json:"sentMean"`
}

// Restore compares the restores of a history.
type Restore struct {
	// After describes the time that was backed up.
	After string `json:"after"`
	// Bytes is the size of the backed-up data directory.
	Bytes    int64    `json:"bytes"`
	Blocks   int      `json:"blocks"`
	Ours     Transfer `json:"ours"`
	Original Transfer `json:"original"`
}

// Transfer is the result of a restore.
type Transfer struct {
	Received int64 `json:"received"`
	Requests int   `json:"requests"`
	// Seconds is how long the restore took, and OpenSeconds how long Prometheus' storage took to open the result.
	Seconds     float64            `json:"seconds"`
	OpenSeconds float64            `json:"openSeconds"`
	Samples     compare.Difference `json:"samples"`
	// Failed is why the restore failed, if it did.
	Failed string `json:"failed,omitempty"`
}

// Killed is the loss when a server is killed.
type Killed struct {
	// AfterBackup is the time from the last backup to the kill, in seconds.
	AfterBackup float64  `json:"afterBackupSeconds"`
	Ours        Transfer `json:"ours"`
	Original    Transfer `json:"original"`
	// Interval is the number of samples between two backups.
	Interval int64 `json:"samplesPerInterval"`
}

// Measured holds the measurements of the benchmark.
type Measured struct {
	Series   int
	Interval time.Duration
	// Ours and Original are the runs of both systems, and Noise our runs with incompressible values.
	Ours, Original, Noise []Run
	Restores              []Restore
	Killed                []Killed
}

// NewReport evaluates the measurements.
func NewReport(m Measured) Report {
	report := Report{
		Series: m.Series, IntervalSeconds: m.Interval.Seconds(),
		Ours: figures(m.Ours), Original: figures(m.Original), Restores: m.Restores, Killed: m.Killed,
		Noise: figures(between(m.Noise, firstCycle, firstCycle+cycle-1)),
		Hours: []Hour{}, Cycles: []Cycle{}, Problems: []string{},
	}
	if report.Ours.SentMean > 0 {
		report.Ratio = report.Original.SentMean / report.Ours.SentMean
	}
	for hour := 1; hour <= hours(m.Ours); hour++ {
		report.Hours = append(report.Hours,
			Hour{Hour: hour, Ours: figures(between(m.Ours, hour, hour)), Original: figures(between(m.Original, hour, hour))})
	}
	for first := firstCycle; first+cycle-1 <= hours(m.Ours); first += cycle {
		runs := between(m.Ours, first, first+cycle-1)
		report.Cycles = append(report.Cycles,
			Cycle{FirstHour: first, LastHour: first + cycle - 1, SentMean: figures(runs).SentMean})
	}
	report.Problems = append(report.Problems, report.problems()...)
	return report
}

// problems returns the violated requirements.
func (r Report) problems() (problems []string) {
	add := func(format string, values ...any) { problems = append(problems, fmt.Sprintf(format, values...)) }
	if r.Ours.SentMean > Limit {
		add("a minute takes %.0f bytes: more than %d", r.Ours.SentMean, Limit)
	}
	for i, hour := range r.Hours {
		first := r.Hours[0].Ours.SentMedian
		if i > 0 && math.Abs(hour.Ours.SentMedian/first-1) > Flat {
			add("an ordinary minute of hour %d takes %.0f bytes, one of hour 1 %.0f", hour.Hour, hour.Ours.SentMedian, first)
		}
		// The agent must report the bytes that it sends, without headers.
		if headers := hour.Ours.OverheadPerRequest; headers < 0 || headers > overhead {
			add("the agent reports that a run of hour %d sent %.0f bytes, but %.0f went over the wire", hour.Hour,
				hour.Ours.ToldMean, hour.Ours.SentMean)
		}
	}
	for i, cycle := range r.Cycles {
		if first := r.Cycles[0]; i > 0 && math.Abs(cycle.SentMean/first.SentMean-1) > Flat {
			add("a minute of hours %d and %d takes %.0f bytes, one of hours %d and %d %.0f", cycle.FirstHour, cycle.LastHour,
				cycle.SentMean, first.FirstHour, first.LastHour, first.SentMean)
		}
	}
	for _, restore := range r.Restores {
		if d := restore.Ours.Samples; d.Same == 0 || d.Lost+d.Changed+d.Invented > 0 {
			add("after %s, the restore is incomplete: %s", restore.After, d)
		}
	}
	for _, killed := range r.Killed {
		if d := killed.Ours.Samples; d.Same == 0 || d.Changed+d.Invented > 0 || d.Lost > killed.Interval {
			add("killed %.0f s after a backup, more than one interval of %d samples is lost: %s", killed.AfterBackup,
				killed.Interval, d)
		}
	}
	return problems
}
