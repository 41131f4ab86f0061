// Package metrics reports the agent's work to Prometheus, through the node exporter.
package metrics

import (
	"fmt"
	"strconv"
	"strings"

	"immutable-infra/server/atomicfile"
)

// Textfile is a file that the node exporter's textfile collector reads.
type Textfile struct {
	// Path ends with .prom; "" writes nothing.
	Path string
}

// Metric is a metric with one value.
type Metric struct {
	Name  string
	Help  string
	Value float64
	// Counter reports whether the value only grows, such as a number of failures. Others are
	// gauges.
	Counter bool
}

// Write replaces the file as a whole: the collector may read at any time.
func (f Textfile) Write(metrics ...Metric) error {
	if f.Path == "" {
		return nil
	}
	var text strings.Builder
	for _, metric := range metrics {
		kind := "gauge"
		if metric.Counter {
			kind = "counter"
		}
		fmt.Fprintf(&text, "# HELP %s %s\n# TYPE %s %s\n%s %s\n", metric.Name, metric.Help, metric.Name, kind, metric.Name,
			strconv.FormatFloat(metric.Value, 'f', -1, 64))
	}
	// The exporter runs as another user. The temporary name does not end with .prom, so that the
	// collector ignores it.
	if err := atomicfile.Write(f.Path, []byte(text.String()), 0o644); err != nil {
		return fmt.Errorf("cannot write metrics: %w", err)
	}
	return nil
}
