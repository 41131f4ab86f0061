package backupbench

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// String formats the report as a short table for a terminal.
func (r Report) String() string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(cells ...string) { fmt.Fprintln(w, strings.Join(cells, "\t")+"\t") }
	line("hour", "kB/run", "median", "most", "kB received", "requests", "s/run", "most", "original kB/run", "most",
		"s/run")
	row := func(name string, ours, original Figures) {
		line(name, kB(ours.SentMean), kB(ours.SentMedian), kB(ours.SentMax), kB(ours.ReceivedMean),
			fmt.Sprintf("%.1f", ours.RequestsMean),
			seconds(ours.SecondsMean), seconds(ours.SecondsMax), kB(original.SentMean), kB(original.SentMax),
			seconds(original.SecondsMean))
	}
	for _, hour := range r.Hours {
		row(fmt.Sprint(hour.Hour), hour.Ours, hour.Original)
	}
	row("all", r.Ours, r.Original)
	// Writing to memory does not fail.
	_ = w.Flush()
	fmt.Fprintf(&text,
		"The original sends %.0f times as much. With incompressible values, a minute takes %s kB here.\n\n", r.Ratio,
		kB(r.Noise.SentMean))

	line("restored after", "MB on disk", "blocks", "samples", "MB received", "requests", "s", "s to open", "original MB",
		"s", "s to open")
	for _, restore := range r.Restores {
		ours, original := restore.Ours, restore.Original
		line(restore.After, mB(restore.Bytes), fmt.Sprint(restore.Blocks), fmt.Sprint(ours.Samples.Same), mB(ours.Received),
			fmt.Sprint(ours.Requests),
			seconds(ours.Seconds), seconds(ours.OpenSeconds), mB(original.Received), seconds(original.Seconds),
			seconds(original.OpenSeconds))
	}
	_ = w.Flush()
	for _, killed := range r.Killed {
		fmt.Fprintf(&text, "\nKilled %.0f s after a backup (an interval has %d samples):\n  ours:     %s\n  original: %s\n",
			killed.AfterBackup, killed.Interval, killed.Ours, killed.Original)
	}
	for _, problem := range r.Problems {
		fmt.Fprintf(&text, "PROBLEM: %s\n", problem)
	}
	return text.String()
}

// String describes the restore.
func (t Transfer) String() string {
	if t.Failed != "" {
		return "RESTORE FAILED: " + t.Failed
	}
	return t.Samples.String()
}

func kB(bytes float64) string      { return fmt.Sprintf("%.1f", bytes/1000) }
func mB(bytes int64) string        { return fmt.Sprintf("%.1f", float64(bytes)/1e6) }
func seconds(value float64) string { return fmt.Sprintf("%.2f", value) }
