package main

import (
	"flag"
	"log/slog"
	"time"

	"immutable-infra/agent/internal/metrics"
)

func metricsFlag(flags *flag.FlagSet) *string {
	return flags.String("metrics", "", "`file` that tells the node exporter's textfile collector of it; empty for none")
}

// noteSuccess tells Prometheus that a verb did its work now. That it cannot be told
// does not undo the work.
func noteSuccess(log *slog.Logger, path, name, help string) {
	err := metrics.Textfile{Path: path}.Write(metrics.Metric{Name: name, Help: help, Value: float64(time.Now().Unix())})
	if err != nil {
		log.Warn(err.Error())
	}
}
