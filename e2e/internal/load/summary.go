package load

import (
	"encoding/json"
	"math"
	"slices"
	"time"
)

// Summary is what visitors of one kind saw.
type Summary struct {
	Requests int
	// Failures are the requests that were not answered with the page, by the
	// time they were sent.
	Failures []Failure
	// LongestGap is the longest time without a good answer, by the time at which
	// answers were complete, from the first visitor to the end. It began at GapAt.
	LongestGap time.Duration
	GapAt      time.Time
	// P50, P99 and Max are of the time that good answers took.
	P50, P99, Max time.Duration
	// Reconnects are connections that were made because the one before broke
	// without having been announced to close.
	Reconnects int
	// Repeated are requests that the client sent again by itself, because the
	// connection they were sent on broke before an answer began, as browsers do.
	Repeated int
	// Resets are connections that were reset.
	Resets int
	// Behind is how late a request was sent at worst. When it is not small, this
	// machine was too busy to measure well.
	Behind time.Duration
}

// Failure is a request without the answer that it should have had.
type Failure struct {
	// At is when it was sent.
	At   time.Time
	Took time.Duration
	Page string
	// Kind is "reset", "refused", "timeout", "eof", "unreachable", "status 502",
	// "wrong body", "client" (a limit of the machine that asks) or "other".
	Kind   string
	Detail string
}

// MarshalJSON implements json.Marshaler.
func (s Summary) MarshalJSON() ([]byte, error) {
	failures := s.Failures
	if failures == nil {
		failures = []Failure{}
	}
	return json.Marshal(struct {
		Requests     int       `json:"requests"`
		Failures     []Failure `json:"failures"`
		LongestGapMs float64   `json:"longestGapMs"`
		GapAt        time.Time `json:"gapAt"`
		P50Ms        float64   `json:"p50Ms"`
		P99Ms        float64   `json:"p99Ms"`
		MaxMs        float64   `json:"maxMs"`
		Reconnects   int       `json:"reconnects"`
		Repeated     int       `json:"repeated"`
		Resets       int       `json:"resets"`
		BehindMs     float64   `json:"behindMs"`
	}{
		s.Requests, failures, Milliseconds(s.LongestGap), s.GapAt, Milliseconds(s.P50), Milliseconds(s.P99),
		Milliseconds(s.Max),
		s.Reconnects, s.Repeated, s.Resets, Milliseconds(s.Behind),
	})
}

// MarshalJSON implements json.Marshaler.
func (f Failure) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		At     time.Time `json:"at"`
		TookMs float64   `json:"tookMs"`
		Page   string    `json:"page"`
		Kind   string    `json:"kind"`
		Detail string    `json:"detail"`
	}{f.At, Milliseconds(f.Took), f.Page, f.Kind, f.Detail})
}

// Milliseconds is a duration for a report, to a tenth of a millisecond.
func Milliseconds(d time.Duration) float64 {
	return math.Round(float64(d)/float64(100*time.Microsecond)) / 10
}

// longestGap returns the longest time between began and ended in which no
// answer was complete, and when it began.
func longestGap(answers []answer, began, ended time.Time) (gap time.Duration, at time.Time) {
	slices.SortFunc(answers, func(a, b answer) int { return a.at.Compare(b.at) })
	last := began
	at = began
	for _, answer := range append(answers, answer{at: ended}) {
		// What was in flight at the end arrives after it.
		now := answer.at
		if now.After(ended) {
			now = ended
		}
		if now.Sub(last) > gap {
			gap, at = now.Sub(last), last
		}
		last = now
	}
	return gap, at
}

// quantile returns the time within which the given share of the answers was complete.
func quantile(answers []answer, share float64) time.Duration {
	if len(answers) == 0 {
		return 0
	}
	times := make([]time.Duration, 0, len(answers))
	for _, answer := range answers {
		times = append(times, answer.took)
	}
	slices.Sort(times)
	return times[max(int(math.Ceil(share*float64(len(times)))), 1)-1]
}
