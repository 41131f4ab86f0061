package load

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Summary holds the results of visitors of one kind.
type Summary struct {
	Requests int
	// Failures are the requests without a correct response, sorted by the time at which they were sent.
	Failures []Failure
	// LongestGap is the longest time from the first visitor to the end in which no correct response was completed. It
	// began at GapAt.
	LongestGap time.Duration
	GapAt      time.Time
	// P50, P99 and Max are the median, the 99th percentile and the maximum of the times to a correct response.
	P50, P99, Max time.Duration
	// Reconnects counts connections that were opened because the previous one broke without an announcement.
	Reconnects int
	// Repeated counts requests that the client retried on its own, as browsers do, because their connection broke before a
	// response began.
	Repeated int
	// Resets counts connections that were reset.
	Resets int
	// Behind is the largest delay of a request. If it is not small, this machine was too busy for an accurate measurement.
	Behind time.Duration
}

// Failure is a request without a correct response.
type Failure struct {
	// At is the time at which the request was sent.
	At   time.Time
	Took time.Duration
	Page string
	// Kind is "reset", "refused", "timeout", "eof", "unreachable", "status 502", "wrong body",
	// "client" (a limit of the client's machine) or "other".
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

// ByKind counts failures by kind.
func ByKind(failures []Failure) map[string]int {
	counts := map[string]int{}
	for _, failure := range failures {
		counts[failure.Kind]++
	}
	return counts
}

// Kinds formats numbers of failures by kind, such as "3 reset, 1 timeout", or "0".
func Kinds(counts map[string]int) string {
	if len(counts) == 0 {
		return "0"
	}
	var list []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		list = append(list, fmt.Sprintf("%d %s", counts[kind], kind))
	}
	return strings.Join(list, ", ")
}

// Milliseconds converts a duration to milliseconds, rounded to a tenth.
func Milliseconds(d time.Duration) float64 {
	return math.Round(float64(d)/float64(100*time.Microsecond)) / 10
}

// longestGap returns the longest time between began and ended in which no response was completed, and when it began.
func longestGap(answers []answer, began, ended time.Time) (gap time.Duration, at time.Time) {
	slices.SortFunc(answers, func(a, b answer) int { return a.at.Compare(b.at) })
	last := began
	at = began
	for _, answer := range append(answers, answer{at: ended}) {
		// Responses to requests in flight at the end arrive after it.
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

// quantile returns the time within which a share of the responses was complete.
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
