package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"immutable-infra/agent/internal/atomicfile"
	"immutable-infra/agent/internal/bucket"
	"immutable-infra/agent/internal/compose"
	"immutable-infra/agent/internal/history"
	"immutable-infra/agent/internal/pause"
)

const (
	// prometheusService is Prometheus' name in the compose project.
	prometheusService = "prometheus"
	// pauseTimeout is how long Prometheus may take to stop or to start: longer than
	// its grace period.
	pauseTimeout = 60 * time.Second
)

// siteHistory is the flags by which a verb finds the monitoring's history, here and in
// the backup bucket.
type siteHistory struct {
	prometheus, state, stack *string
	retention                *time.Duration
}

func historyFlags(flags *flag.FlagSet) siteHistory {
	return siteHistory{
		prometheus: prometheusFlag(flags),
		state:      flags.String("history-state", "/var/lib/site-agent/history.json", "`file` that remembers what the backup bucket has of the history"),
		stack:      stackFlag(flags),
		retention:  flags.Duration("retention", 24*time.Hour, "for how long the bucket keeps what is not current any more"),
	}
}

// complete fills in what the flags leave to the server's environment.
func (h siteHistory) complete(flags *flag.FlagSet, environment map[string]string) error {
	if *h.retention < time.Hour {
		return fmt.Errorf("%w: %s: --retention is %s: give one hour or more, such as 24h", errUsage, flags.Name(), *h.retention)
	}
	return completeStack(flags, h.stack, environment)
}

func prometheusFlag(flags *flag.FlagSet) *string {
	return flags.String("prometheus", "/srv/prometheus", "`directory` that Prometheus' data directory is in")
}

func stackFlag(flags *flag.FlagSet) *string {
	return flags.String("stack", "", "`name` of the stack (default: STACK of --env-file)")
}

func completeStack(flags *flag.FlagSet, stack *string, environment map[string]string) error {
	if *stack = cmp.Or(*stack, environment["STACK"]); *stack == "" {
		return fmt.Errorf("%w: %s: --stack is missing, and the server's environment has no STACK: give the name of the stack", errUsage, flags.Name())
	}
	return nil
}

func (h siteHistory) backup(store *bucket.Bucket, server string, log *slog.Logger) history.Backup {
	return history.Backup{
		Store: store, Server: server, Stack: *h.stack, Dir: filepath.Join(*h.prometheus, history.DataDir),
		State: *h.state, Retention: *h.retention, Log: log,
	}
}

func (h siteHistory) restore(store *bucket.Bucket, log *slog.Logger) history.Restore {
	return history.Restore{Store: store, Stack: *h.stack, Dir: *h.prometheus, State: *h.state, Log: log}
}

// old is the history as a handover sees it on a server that has the VIP, where `agent
// watch` may not talk to Docker. Prometheus collects there already.
func (h siteHistory) old(store *bucket.Bucket, server, dir string, log *slog.Logger) history.Data {
	prometheus := pause.Switch{Dir: dir, Timeout: pauseTimeout}
	return history.Data{
		Backup: h.backup(store, server, log), Stop: prometheus.Pause, Start: prometheus.Resume,
		Collect: func() error { return nil }, Out: io.Discard,
	}
}

// successor is the history as a handover sees it on a new server.
func (h siteHistory) successor(store *bucket.Bucket, project string, out io.Writer, log *slog.Logger) history.Data {
	prometheus := compose.Service{Project: project, Name: prometheusService}
	return history.Data{
		Restoring: h.restore(store, log), Stop: prometheus.Stop, Start: prometheus.Start, Collect: h.collect, Out: out,
	}
}

// collect allows Prometheus to collect, from its next start on.
func (h siteHistory) collect() error {
	if err := atomicfile.Write(filepath.Join(*h.prometheus, history.CollectingFile), nil, 0o644); err != nil {
		return fmt.Errorf("allow Prometheus to collect: %w", err)
	}
	return nil
}

// restoreStopped restores the history while Prometheus does not run, which is running
// afterwards if it was before.
func (h siteHistory) restoreStopped(ctx context.Context, store *bucket.Bucket, project string, log *slog.Logger) (result history.Result, err error) {
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
			if failed := prometheus.Start(ctx); err == nil {
				err = failed
			}
		}()
	}
	return h.restore(store, log).Run(ctx)
}
