package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"time"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/agent/internal/certificates"
	"immutable-infra/agent/internal/history"
	"immutable-infra/agent/internal/metrics"
)

// restore runs `agent restore`: it parses the flags and runs certificates.Restore and
// history.Restore.
func restore(ctx context.Context, args []string, stdout, stderr io.Writer, log *slog.Logger) error {
	flags := flag.NewFlagSet("agent restore", flag.ContinueOnError)
	var (
		archive    = archiveFlags(flags)
		holderFile = holderFlag(flags)
		project    = projectFlag(flags)
		path       = metricsFlag(flags)
	)
	if err := parseFlags(flags, args, "usage: agent restore [flags]", stderr); err != nil {
		return err
	}
	if err := archive.load(flags); err != nil {
		return err
	}
	holds, err := exists(*holderFile)
	if err != nil {
		return err
	}
	if holds {
		fmt.Fprintln(stdout, "restore: skipped: this server is active, its data is authoritative")
		return nil
	}
	store, _, err := archive.open(ctx)
	if err != nil {
		return err
	}
	// A failure of one must not block the other.
	restored, failed := archive.restoreCertificates(ctx, store, *project, stdout)
	result, err := archive.history.restoreStopped(ctx, store, *project, log)
	if err == nil {
		fmt.Fprintf(stdout, "restore: %s\n", result)
		recordRestore(log, *path, result, restored)
	}
	return errors.Join(failed, err)
}

// restoreCertificates restores the certificates, and restarts Traefik if they changed.
func (a *archive) restoreCertificates(
	ctx context.Context, store *bucket.Bucket, project string, stdout io.Writer,
) (certificates.Result, error) {
	restoring, err := a.certificates.restore(store)
	if err != nil {
		return certificates.Result{}, err
	}
	result, err := restoring.Run(ctx)
	if err != nil {
		return result, err
	}
	fmt.Fprintf(stdout, "restore: %s\n", result)
	if !result.Changed {
		return result, nil
	}
	return result, traefikService(project).Restart(ctx)
}

func recordRestore(log *slog.Logger, path string, result history.Result, certificateResult certificates.Result) {
	toFloat := func(set bool) float64 {
		if set {
			return 1
		}
		return 0
	}
	err := metrics.Textfile{Path: path}.Write(
		metrics.Metric{
			Name:  "agent_restore_timestamp_seconds",
			Help:  "When this server last restored the monitoring's history.",
			Value: float64(time.Now().Unix()),
		},
		metrics.Metric{Name: "agent_restore_duration_seconds", Help: "How long that restore took.", Value: result.Seconds},
		metrics.Metric{
			Name:  "agent_restore_bytes",
			Help:  "Bytes of the history that was restored.",
			Value: float64(result.Bytes),
		},
		metrics.Metric{
			Name:  "agent_restore_fallbacks",
			Help:  "Newer backups that were unusable.",
			Value: float64(result.Fallbacks),
		},
		metrics.Metric{
			Name:  "agent_restore_lost",
			Help:  "Whether backups of the history existed and none was usable, so that Prometheus started empty.",
			Value: toFloat(result.Lost()),
		},
		metrics.Metric{
			Name:  "agent_restore_certificates_unusable",
			Help:  "Whether certificates in the backup bucket were unusable.",
			Value: toFloat(certificateResult.Unusable != ""),
		},
		metrics.Metric{
			Name:  "agent_restored_backup_age_seconds",
			Help:  "How old the backup was when it was restored.",
			Value: result.AgeSeconds,
		},
	)
	if err != nil {
		log.Warn(err.Error())
	}
}
