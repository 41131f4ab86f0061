// Package metrics tells Prometheus what the agent did, by way of the node exporter.
package metrics

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Textfile is a file that the node exporter's textfile collector reads.
type Textfile struct {
	// Path ends with .prom; "" is no file, and nobody is told.
	Path string
}

// Metric is a metric with one value.
type Metric struct {
	Name string
	// Help is one line.
	Help  string
	Value float64
	// Counter is whether it only grows, as a number of failures does. Others are gauges.
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
		fmt.Fprintf(&text, "# HELP %s %s\n# TYPE %s %s\n%s %s\n", metric.Name, metric.Help, metric.Name, kind, metric.Name, strconv.FormatFloat(metric.Value, 'f', -1, 64))
	}
	// Its name does not end with .prom: the collector leaves it alone.
	file, err := os.CreateTemp(filepath.Dir(f.Path), filepath.Base(f.Path)+".tmp-*")
	if err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	defer os.Remove(file.Name())
	_, err = file.WriteString(text.String())
	// The exporter runs as somebody else.
	if err = errors.Join(err, file.Chmod(0o644), file.Close()); err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	if err := os.Rename(file.Name(), f.Path); err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	return nil
}
