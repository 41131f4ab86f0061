package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/agent/internal/history"
	"immutable-infra/agent/internal/metrics"
)

// backupTimeout bounds a run, so that a stalled transfer does not keep the timer from starting the
// next one, which continues the transfer.
const backupTimeout = 10 * time.Minute

// backup runs `agent backup`: it parses the flags and runs certificates.Backup and history.Backup.
// A server that does not hold the VIP has nothing to back up.
func backup(ctx context.Context, args []string, stderr io.Writer, log *slog.Logger) error {
	flags := flag.NewFlagSet("agent backup", flag.ContinueOnError)
	var (
		archive    = archiveFlags(flags)
		holderFile = holderFlag(flags)
		path       = metricsFlag(flags)
	)
	if err := parseFlags(flags, args, "usage: agent backup [flags]", stderr); err != nil {
		return err
	}
	if err := archive.load(flags); err != nil {
		return err
	}
	holds, err := exists(*holderFile)
	if err != nil {
		return err
	}
	if !holds {
		return nil
	}
	store, server, err := archive.open(ctx)
	if err != nil {
		return err
	}

	running, cancel := context.WithTimeout(ctx, backupTimeout)
	defer cancel()
	saving := archive.history.backup(store, server, log)
	// A failure of one must not block the other.
	gone, failed := archive.saveCertificates(running, store,
		filepath.Join(filepath.Dir(*archive.history.state), "certificates.sent"), log)
	report, err := saving.Run(running)
	failed = errors.Join(failed, err)
	// Not within the time limit of the run.
	if err := noteBackup(ctx, *path, saving, report, failed != nil, gone); err != nil {
		log.Warn(err.Error())
	}
	return failed
}

// saveCertificates backs up the certificates, and reports whether the backup was gone.
func (a *archive) saveCertificates(
	ctx context.Context, store *bucket.Bucket, sent string, log *slog.Logger,
) (gone bool, err error) {
	saving, err := a.certificates.backup(store, log)
	if err != nil {
		return false, err
	}
	saving.Sent = sent
	return saving.Watch(ctx)
}

// noteBackup counts a run and writes its metrics.
func noteBackup(
	ctx context.Context, path string, saving history.Backup, report history.Report, failed, gone bool,
) error {
	tally, err := saving.Note(ctx, failed, gone)
	if err != nil {
		return err
	}
	written := []metrics.Metric{
		{Name: "agent_backup_bytes", Help: "Bytes that the last run of the backup sent to the backup bucket.",
			Value: float64(report.Bytes)},
		{Name: "agent_backup_objects", Help: "Objects that the last run of the backup sent to the backup bucket.",
			Value: float64(report.Objects)},
		{Name: "agent_backup_duration_seconds", Help: "How long the last run of the backup took.",
			Value: report.Duration.Seconds()},
		{Name: "agent_backup_failures_total", Help: "Runs of the backup that failed on this server.",
			Value: float64(tally.Failures), Counter: true},
		{Name: "agent_backup_lost_objects_total",
			Help:  "Objects that this server wrote to the backup bucket, did not delete, and found gone or changed.",
			Value: float64(tally.Lost), Counter: true},
		{Name: "agent_backup_epoch", Help: "The epoch in which this server backs up; 0 is none yet.",
			Value: float64(report.Epoch)},
	}
	if !tally.LastSuccess.IsZero() {
		written = append(written, metrics.Metric{
			Name:  "agent_last_backup_timestamp_seconds",
			Help:  "When the backup bucket last had all that this server has to back up.",
			Value: float64(tally.LastSuccess.Unix()),
		})
	}
	return metrics.Textfile{Path: path}.Write(written...)
}

func metricsFlag(flags *flag.FlagSet) *string {
	return flags.String("metrics", "", "`file` for the node exporter's textfile collector; empty for none")
}

// noteSuccess writes to the metrics that a verb succeeded now. If that fails, the work is done
// nevertheless.
func noteSuccess(log *slog.Logger, path, name, help string) {
	err := metrics.Textfile{Path: path}.Write(metrics.Metric{Name: name, Help: help, Value: float64(time.Now().Unix())})
	if err != nil {
		log.Warn(err.Error())
	}
}
