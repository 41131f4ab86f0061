package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"immutable-infra/ops/internal/program"
)

const restoreTimeout = 30 * time.Minute

// drill holds the settings of a restore drill.
type drill struct {
	stack  string
	maxAge time.Duration
	// agent and prometheus are the programs' paths, or names on the PATH.
	agent, prometheus string
}

// verifyReport is the report of the command `agent verify`.
type verifyReport struct {
	Server     string  `json:"server"`
	Epoch      uint64  `json:"epoch"`
	Sequence   uint64  `json:"sequence"`
	AgeSeconds float64 `json:"ageSeconds"`
	Bytes      int64   `json:"bytes"`
	Blocks     int     `json:"blocks"`
	Seconds    float64 `json:"seconds"`
	Fallbacks  int     `json:"fallbacks"`
}

func (d drill) run(ctx context.Context) (found report, err error) {
	bucket, err := program.Pulumi(ctx, "stack", "output", "backupBucket", "--stack", d.stack)
	if err != nil {
		return report{}, fmt.Errorf("cannot look up the backup bucket: %w", err)
	}
	region, err := program.Pulumi(ctx, "config", "get", "aws:region", "--stack", d.stack)
	if err != nil {
		return report{}, fmt.Errorf("cannot look up the bucket's region: %w", err)
	}
	dir, err := os.MkdirTemp("", "restore-drill-")
	if err != nil {
		return report{}, fmt.Errorf("cannot create a directory to restore into: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	backup, err := d.restore(ctx, bucket, region, filepath.Join(dir, "restored"))
	if err != nil {
		return report{}, err
	}
	contents, err := inspect(ctx, d.prometheus, filepath.Join(dir, "restored", "data"), dir)
	if err != nil {
		return report{}, err
	}
	found = report{
		Stack: d.stack, Bucket: bucket, Server: backup.Server, Epoch: backup.Epoch, Sequence: backup.Sequence,
		AgeSeconds: backup.AgeSeconds, Bytes: backup.Bytes, Fallbacks: backup.Fallbacks, RestoreSeconds: backup.Seconds,
		StartSeconds: contents.start.Seconds(), Blocks: contents.blocks, Metrics: contents.metrics, Series: contents.series,
		Samples: contents.samples, OldestSample: contents.oldest, NewestSample: contents.newest,
		NewestSampleAgeSeconds: time.Since(contents.newest).Seconds(), Repaired: contents.repaired,
	}
	found.Problems = found.judge(d.maxAge, backup.Blocks)
	return found, nil
}

// restore makes the agent restore the newest backup into a new directory.
func (d drill) restore(ctx context.Context, bucket, region, dir string) (verifyReport, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return verifyReport{}, fmt.Errorf("cannot create a directory to restore into: %w", err)
	}
	// The agent reads its settings from a file, as it does on a server.
	settings := dir + ".env"
	text := fmt.Sprintf("BACKUP_BUCKET=%s\nAWS_REGION=%s\nSTACK=%s\n", bucket, region, d.stack)
	if err := os.WriteFile(settings, []byte(text), 0o644); err != nil {
		return verifyReport{}, fmt.Errorf("cannot write the settings of the agent: %w", err)
	}
	output, err := program.Output(ctx, restoreTimeout, d.agent, "verify", "--env-file", settings, "--dir", dir)
	if err != nil {
		return verifyReport{}, fmt.Errorf("cannot restore the newest backup: %w", err)
	}
	var backup verifyReport
	if err := json.Unmarshal([]byte(output), &backup); err != nil {
		return verifyReport{}, fmt.Errorf("cannot parse the agent's report: %w: %s", err, output)
	}
	return backup, nil
}
