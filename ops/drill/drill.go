package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	pulumiTimeout  = 2 * time.Minute
	restoreTimeout = 30 * time.Minute
)

// drill has the settings of one restore drill.
type drill struct {
	stack  string
	maxAge time.Duration
	// agent and prometheus are paths of programs, or names on the PATH.
	agent, prometheus string
}

// restored is the report of the command `agent verify`.
type restored struct {
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
	bucket, err := pulumi(ctx, "stack", "output", "backupBucket", "--stack", d.stack)
	if err != nil {
		return report{}, fmt.Errorf("cannot look up the backup bucket: %w", err)
	}
	region, err := pulumi(ctx, "config", "get", "aws:region", "--stack", d.stack)
	if err != nil {
		return report{}, fmt.Errorf("cannot look up the bucket's region: %w", err)
	}
	dir, err := os.MkdirTemp("", "restore-drill-")
	if err != nil {
		return report{}, fmt.Errorf("cannot create a directory to restore into: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	there, err := d.restore(ctx, bucket, region, filepath.Join(dir, "restored"))
	if err != nil {
		return report{}, err
	}
	held, err := answered(ctx, d.prometheus, filepath.Join(dir, "restored", "data"), dir)
	if err != nil {
		return report{}, err
	}
	found = report{
		Stack: d.stack, Bucket: bucket, Server: there.Server, Epoch: there.Epoch, Sequence: there.Sequence,
		AgeSeconds: there.AgeSeconds, Bytes: there.Bytes, Fallbacks: there.Fallbacks, RestoreSeconds: there.Seconds,
		StartSeconds: held.start.Seconds(), Blocks: held.blocks, Metrics: held.metrics, Series: held.series,
		Samples: held.samples, OldestSample: held.oldest, NewestSample: held.newest,
		NewestSampleAgeSeconds: time.Since(held.newest).Seconds(), Repaired: held.repaired,
	}
	found.Problems = found.judge(d.maxAge, there.Blocks)
	return found, nil
}

// restore lets the agent cannot restore the newest backup into a new directory.
func (d drill) restore(ctx context.Context, bucket, region, dir string) (restored, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return restored{}, fmt.Errorf("cannot create a directory to restore into: %w", err)
	}
	// The agent reads its settings from a file, as on a server.
	settings := dir + ".env"
	text := fmt.Sprintf("BACKUP_BUCKET=%s\nAWS_REGION=%s\nSTACK=%s\n", bucket, region, d.stack)
	if err := os.WriteFile(settings, []byte(text), 0o644); err != nil {
		return restored{}, fmt.Errorf("cannot write the settings of the agent: %w", err)
	}
	output, err := command(ctx, restoreTimeout, d.agent, "verify", "--env-file", settings, "--dir", dir)
	if err != nil {
		return restored{}, fmt.Errorf("cannot restore the newest backup: %w", err)
	}
	var there restored
	if err := json.Unmarshal([]byte(output), &there); err != nil {
		return restored{}, fmt.Errorf("cannot parse the agent's report: %w: %s", err, output)
	}
	return there, nil
}

// pulumi returns the one value that a command of Pulumi prints.
func pulumi(ctx context.Context, args ...string) (string, error) {
	output, err := command(ctx, pulumiTimeout, "pulumi", append(args, "--non-interactive")...)
	if err != nil {
		return "", err
	}
	value := strings.TrimSpace(output)
	if value == "" {
		return "", fmt.Errorf("pulumi %s printed nothing", strings.Join(args, " "))
	}
	return value, nil
}

// command runs a program and returns its stdout. Its stderr goes to the user, since it may be a warning.
func command(ctx context.Context, limit time.Duration, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no result within %s", limit))
	defer cancel()
	command := exec.CommandContext(ctx, name, args...)
	command.Stderr = os.Stderr
	var stdout bytes.Buffer
	command.Stdout = &stdout
	if err := command.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", fmt.Errorf("%s %s: %w", filepath.Base(name), args[0], err)
	}
	return stdout.String(), nil
}
