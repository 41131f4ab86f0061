package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/agent/internal/compose"
	"immutable-infra/agent/internal/history"
	"immutable-infra/agent/internal/pause"
	"immutable-infra/server/atomicfile"
)

const (
	prometheusService = "prometheus"
	// pauseTimeout bounds a stop or start of Prometheus. It exceeds the grace period of a stop.
	pauseTimeout = 60 * time.Second
)

// siteHistory is the monitoring history, on this server and in the backup bucket.
type siteHistory struct {
	// prometheus and state are flags.
	prometheus, state *string
	stack             string
	// retention is how long the bucket keeps objects that are not current.
	retention time.Duration
}

func historyFlags(flags *flag.FlagSet) siteHistory {
	return siteHistory{
		prometheus: prometheusFlag(flags),
		state: flags.String("history-state", "/var/lib/site-agent/history.json",
			"`file` that records which parts of the history are in the backup bucket"),
	}
}

func prometheusFlag(flags *flag.FlagSet) *string {
	return flags.String("prometheus", "/srv/prometheus", "`directory` that contains Prometheus' data directory")
}

func (h *siteHistory) load(s *settings) {
	h.stack, h.retention = s.required("STACK"), s.atLeastDuration(time.Hour, "BACKUP_RETENTION")
}

func (h siteHistory) backup(store *bucket.Bucket, server string, log *slog.Logger) history.Backup {
	return history.Backup{
		Store: store, Server: server, Stack: h.stack, Dir: filepath.Join(*h.prometheus, history.DataDir),
		State: *h.state, Retention: h.retention, Log: log,
	}
}

func (h siteHistory) restore(store *bucket.Bucket, log *slog.Logger) history.Restore {
	return history.Restore{Store: store, Stack: h.stack, Dir: *h.prometheus, State: *h.state, Log: log}
}

// old returns the history as the handover.Data of a server that holds the VIP. There, `agent watch` has no access
// to Docker, and Prometheus already collects.
func (h siteHistory) old(store *bucket.Bucket, server, dir string, log *slog.Logger) history.Data {
	prometheus := pause.Switch{Dir: dir, Timeout: pauseTimeout}
	return history.Data{
		Backup: h.backup(store, server, log), Stop: prometheus.Pause, Start: prometheus.Resume,
		Collect: func() error { return nil }, Out: io.Discard,
	}
}

// successor returns the history as the handover.Data of a new server.
func (h siteHistory) successor(store *bucket.Bucket, project string, out io.Writer, log *slog.Logger) history.Data {
	prometheus := compose.Service{Project: project, Name: prometheusService}
	return history.Data{
		Restoring: h.restore(store, log), Stop: prometheus.Stop, Start: prometheus.Start, Collect: h.collect, Out: out,
	}
}

// collect allows Prometheus to collect from its next start on.
func (h siteHistory) collect() error {
	if err := atomicfile.Write(filepath.Join(*h.prometheus, history.CollectingFile), nil, 0o644); err != nil {
		return fmt.Errorf("cannot allow Prometheus to collect: %w", err)
	}
	return nil
}

// restoreStopped restores the history while Prometheus is stopped, and restarts Prometheus if it
// was running.
func (h siteHistory) restoreStopped(
	ctx context.Context, store *bucket.Bucket, project string, log *slog.Logger,
) (result history.Result, err error) {
	prometheus := compose.Service{Project: project, Name: prometheusService}
	running, err := prometheus.Running(ctx)
	if err != nil {
		return history.Result{}, err
	}
	if running {
		if err := prometheus.Stop(ctx); err != nil {
			return history.Result{}, err
		}
		defer func() {
			if startErr := prometheus.Start(ctx); err == nil {
				err = startErr
			}
		}()
	}
	return h.restore(store, log).Run(ctx)
}
