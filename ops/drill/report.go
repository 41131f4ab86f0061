package main

import (
	"fmt"
	"time"
)

// report is what the drill found.
type report struct {
	Stack  string `json:"stack"`
	Bucket string `json:"bucket"`
	// Server is the one that wrote the backup, as its manifest of this epoch and
	// sequence.
	Server   string `json:"server"`
	Epoch    uint64 `json:"epoch"`
	Sequence uint64 `json:"sequence"`
	// AgeSeconds is how old the backup is, by the bucket's clock.
	AgeSeconds float64 `json:"ageSeconds"`
	Bytes      int64   `json:"bytes"`
	// Fallbacks is how many newer backups were of no use.
	Fallbacks int `json:"fallbacks"`
	// RestoreSeconds is how long the restore took, and StartSeconds how long
	// Prometheus needed until it answered.
	RestoreSeconds float64 `json:"restoreSeconds"`
	StartSeconds   float64 `json:"startSeconds"`
	// Blocks, Metrics (by name), Series and Samples are what Prometheus has.
	Blocks       int       `json:"blocks"`
	Metrics      int       `json:"metrics"`
	Series       int64     `json:"series"`
	Samples      int64     `json:"samples"`
	OldestSample time.Time `json:"oldestSample"`
	NewestSample time.Time `json:"newestSample"`
	// NewestSampleAgeSeconds is by this machine's clock.
	NewestSampleAgeSeconds float64 `json:"newestSampleAgeSeconds"`
	// Repaired is whether the end of the write-ahead log was torn, as it is when a
	// record was just being written. Prometheus drops that record.
	Repaired bool     `json:"repaired"`
	Problems []string `json:"problems"`
}

// judge says what is not as it should be. The backup named so many blocks.
func (r report) judge(maxAge time.Duration, blocks int) []string {
	problems := []string{}
	add := func(format string, values ...any) { problems = append(problems, fmt.Sprintf(format, values...)) }
	if age := seconds(r.AgeSeconds); age > maxAge {
		add("it is %s old, and should not be older than %s: look at agent-backup.service on the server", age, maxAge)
	}
	if r.Fallbacks > 0 {
		add("%d newer backups are of no use: the agent's log above says why", r.Fallbacks)
	}
	if r.Blocks < blocks {
		add("it names %d blocks, and Prometheus has loaded %d", blocks, r.Blocks)
	}
	if r.Samples == 0 {
		add("there is no sample in it")
	} else if age := seconds(r.NewestSampleAgeSeconds); age > maxAge {
		add("its newest sample is %s old: backups go on, and Prometheus on the server does not measure", age)
	}
	return problems
}

func seconds(value float64) time.Duration {
	return time.Duration(value * float64(time.Second)).Round(time.Second)
}
