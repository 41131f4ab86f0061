// Package backupbench judges what backups of a growing history cost, and what they bring
// back.
package backupbench

import (
	"cmp"
	"slices"
)

// Run is what one run of a backup took.
type Run struct {
	// Minute is which one of the simulation it was, from 1.
	Minute int
	// Sent and Received are bytes on the wire: HTTP with its headers, without TLS.
	Sent, Received int64
	Requests       int
	// Seconds is how long the process ran.
	Seconds float64
	// Told is how many bytes it says itself that it has sent; 0 is that it does not say.
	Told int64
}

// Figures are those of several runs. Sizes are in bytes, of one run.
type Figures struct {
	Runs               int     `json:"runs"`
	SentMean           float64 `json:"sentMean"`
	SentMedian         float64 `json:"sentMedian"`
	SentMax            float64 `json:"sentMax"`
	ReceivedMean       float64 `json:"receivedMean"`
	RequestsMean       float64 `json:"requestsMean"`
	RequestsMax        float64 `json:"requestsMax"`
	SecondsMean        float64 `json:"secondsMean"`
	SecondsMax         float64 `json:"secondsMax"`
	ToldMean           float64 `json:"toldMean,omitempty"`
	OverheadPerRequest float64 `json:"overheadPerRequest,omitempty"`
}

func figures(runs []Run) Figures {
	if len(runs) == 0 {
		return Figures{}
	}
	of := func(figure func(Run) float64) (mean, median, most float64) {
		var all []float64
		for _, run := range runs {
			all = append(all, figure(run))
			mean += figure(run) / float64(len(runs))
		}
		slices.Sort(all)
		return mean, all[len(all)/2], all[len(all)-1]
	}
	f := Figures{Runs: len(runs)}
	f.SentMean, f.SentMedian, f.SentMax = of(func(r Run) float64 { return float64(r.Sent) })
	f.ReceivedMean, _, _ = of(func(r Run) float64 { return float64(r.Received) })
	f.RequestsMean, _, f.RequestsMax = of(func(r Run) float64 { return float64(r.Requests) })
	f.SecondsMean, _, f.SecondsMax = of(func(r Run) float64 { return r.Seconds })
	f.ToldMean, _, _ = of(func(r Run) float64 { return float64(r.Told) })
	if f.ToldMean > 0 {
		f.OverheadPerRequest = (f.SentMean - f.ToldMean) / f.RequestsMean
	}
	return f
}

// between are the runs of some hours, from 1, the last one included.
func between(runs []Run, first, last int) []Run {
	return slices.DeleteFunc(slices.Clone(runs),
		func(r Run) bool { return r.Minute <= (first-1)*60 || r.Minute > last*60 })
}

// hours is how many hours the runs are of.
func hours(runs []Run) int {
	if len(runs) == 0 {
		return 0
	}
	last := slices.MaxFunc(runs, func(a, b Run) int { return cmp.Compare(a.Minute, b.Minute) })
	return (last.Minute + 59) / 60
}
