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

// backupTimeout bounds a run, so that a stalled transfer does not keep the timer from starting the next run, which
// resumes the transfer.
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

	runCtx, cancel := context.WithTimeout(ctx, backupTimeout)
	defer cancel()
	historyBackup := archive.history.backup(store, server, log)
	// A failure of one must not block the other.
	missing, failed := archive.saveCertificates(runCtx, store,
		filepath.Join(filepath.Dir(*archive.history.state), "certificates.sent"), log)
	report, err := historyBackup.Run(runCtx)
	failed = errors.Join(failed, err)
	// Not with runCtx, which may have expired.
	if err := recordBackup(ctx, *path, historyBackup, report, failed != nil, missing); err != nil {
		log.Warn(err.Error())
	}
	return failed
}

// saveCertificates backs up the certificates, and reports whether an earlier upload was missing from the bucket.
func (a *archive) saveCertificates(
	ctx context.Context, store *bucket.Bucket, sent string, log *slog.Logger,
) (missing bool, err error) {
	certificateBackup, err := a.certificates.backup(store, log)
	if err != nil {
		return false, err
	}
	certificateBackup.Sent = sent
	return certificateBackup.Watch(ctx)
}

// recordBackup records the outcome of a run and writes its metrics.
func recordBackup(
	ctx context.Context, path string, historyBackup history.Backup, report history.Report, failed, missing bool,
) error {
	tally, err := historyBackup.Note(ctx, failed, missing)
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
			Help:  "Objects that this server wrote to the backup bucket, did not delete, and later found missing or changed.",
			Value: float64(tally.Lost), Counter: true},
		{Name: "agent_backup_epoch", Help: "The epoch in which this server backs up; 0 if it has none yet.",
			Value: float64(report.Epoch)},
	}
	if !tally.LastSuccess.IsZero() {
		written = append(written, metrics.Metric{
			Name:  "agent_last_backup_timestamp_seconds",
			Help:  "When the backup bucket last held everything that this server has to back up.",
			Value: float64(tally.LastSuccess.Unix()),
		})
	}
	return metrics.Textfile{Path: path}.Write(written...)
}

func metricsFlag(flags *flag.FlagSet) *string {
	return flags.String("metrics", "", "`file` for the node exporter's textfile collector; empty for none")
}

// recordSuccess sets the metric of a verb to the current time. An error is only logged: the work is done.
func recordSuccess(log *slog.Logger, path, name, help string) {
	err := metrics.Textfile{Path: path}.Write(metrics.Metric{Name: name, Help: help, Value: float64(time.Now().Unix())})
	if err != nil {
		log.Warn(err.Error())
	}
}
