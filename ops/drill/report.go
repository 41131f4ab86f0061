package main

import (
	"fmt"
	"time"
)

// report is the result of a drill.
type report struct {
	Stack  string `json:"stack"`
	Bucket string `json:"bucket"`
	// Server is the server that wrote the backup, as the manifest with this epoch and sequence.
	Server   string `json:"server"`
	Epoch    uint64 `json:"epoch"`
	Sequence uint64 `json:"sequence"`
	// AgeSeconds is the age of the backup by the bucket's clock.
	AgeSeconds float64 `json:"ageSeconds"`
	Bytes      int64   `json:"bytes"`
	// Fallbacks is the number of newer backups, which were unusable.
	Fallbacks int `json:"fallbacks"`
	// RestoreSeconds is the duration of the restore, StartSeconds the time until Prometheus was ready.
	RestoreSeconds float64 `json:"restoreSeconds"`
	StartSeconds   float64 `json:"startSeconds"`
	// Blocks, Metrics (distinct names), Series and Samples are counts in Prometheus.
	Blocks       int       `json:"blocks"`
	Metrics      int       `json:"metrics"`
	Series       int64     `json:"series"`
	Samples      int64     `json:"samples"`
	OldestSample time.Time `json:"oldestSample"`
	NewestSample time.Time `json:"newestSample"`
	// NewestSampleAgeSeconds is the newest sample's age by this machine's clock.
	NewestSampleAgeSeconds float64 `json:"newestSampleAgeSeconds"`
	// Repaired reports whether Prometheus dropped the last record of the write-ahead log, which is torn if it was being
	// written during the backup.
	Repaired bool     `json:"repaired"`
	Problems []string `json:"problems"`
}

// judge returns the problems of a backup. blocks is the number of blocks in its manifest.
func (r report) judge(maxAge time.Duration, blocks int) []string {
	problems := []string{}
	add := func(format string, values ...any) { problems = append(problems, fmt.Sprintf(format, values...)) }
	if age := seconds(r.AgeSeconds); age > maxAge {
		add("it is %s old, more than %s; check agent-backup.service on the server", age, maxAge)
	}
	if r.Fallbacks > 0 {
		add("%d newer backups are unusable; see the agent's log above", r.Fallbacks)
	}
	if r.Blocks < blocks {
		add("it names %d blocks, but Prometheus loaded %d", blocks, r.Blocks)
	}
	if r.Samples == 0 {
		add("it has no samples")
	} else if age := seconds(r.NewestSampleAgeSeconds); age > maxAge {
		add("its newest sample is %s old: backups continue, but Prometheus on the server collects nothing", age)
	}
	return problems
}

func seconds(value float64) time.Duration {
	return time.Duration(value * float64(time.Second)).Round(time.Second)
}
