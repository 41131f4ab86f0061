// Package backupbench evaluates the cost of backups of a growing history, and of restores.
package backupbench

import (
	"cmp"
	"slices"
)

// Run is the cost of one backup.
type Run struct {
	// Minute is the minute of the simulation, counted from 1.
	Minute int
	// Sent and Received are bytes on the wire: HTTP with its headers, without TLS.
	Sent, Received int64
	Requests       int
	// Seconds is how long the process ran.
	Seconds float64
	// Told is the number of bytes that the backup itself reports; 0 means no report.
	Told int64
}

// Figures summarizes several runs. Sizes are in bytes per run.
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

// between returns the runs of the hours first to last, inclusive. Hours count from 1.
func between(runs []Run, first, last int) []Run {
	return slices.DeleteFunc(slices.Clone(runs),
		func(r Run) bool { return r.Minute <= (first-1)*60 || r.Minute > last*60 })
}

// hours returns the number of hours that the runs cover.
func hours(runs []Run) int {
	if len(runs) == 0 {
		return 0
	}
	last := slices.MaxFunc(runs, func(a, b Run) int { return cmp.Compare(a.Minute, b.Minute) })
	return (last.Minute + 59) / 60
}
