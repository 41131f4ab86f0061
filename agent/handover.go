package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"

	"immutable-infra/agent/internal/handover"
	"immutable-infra/agent/internal/traefik"
)

// watch runs `agent watch`: it parses the flags and runs handover.Watcher until ctx ends, which is not an error.
func watch(ctx context.Context, args []string, stderr io.Writer, log *slog.Logger) error {
	flags := flag.NewFlagSet("agent watch", flag.ContinueOnError)
	var (
		archive    = archiveFlags(flags)
		holderFile = holderFlag(flags)
		states     = flags.String("states", "/opt/site/traefik/states", "`directory` of Traefik's states")
		poll       = flags.Duration("poll", 2*time.Second, "`time` between two checks")
		drain      = flags.Duration("drain", 3*time.Second, "ask visitors for this `time` to reconnect")
	)
	if err := parseFlags(flags, args, "usage: agent watch [flags]", stderr); err != nil {
		return err
	}
	if err := archive.load(flags); err != nil {
		return err
	}
	address, err := netip.ParseAddr(archive.vip)
	switch {
	case err != nil || !address.Is4():
		return fmt.Errorf("%w: agent watch: VIP is %q: expected an IPv4 address, such as 198.51.100.7",
			errUsage, archive.vip)
	case *poll <= 0:
		return fmt.Errorf("%w: agent watch: --poll is %s: give a duration above zero, such as 2s", errUsage, *poll)
	case *drain < 0:
		return fmt.Errorf("%w: agent watch: --drain is %s: give a duration, such as 3s, or 0s", errUsage, *drain)
	}
	store, server, err := archive.open(ctx)
	if err != nil {
		return err
	}
	// The units that stop and start Prometheus watch the directory of the holder file.
	data, err := archive.old(store, server, filepath.Dir(*holderFile), log)
	if err != nil {
		return err
	}
	watcher := handover.Watcher{
		Server:       server,
		VIP:          address,
		Metadata:     handover.NewIMDS(),
		Store:        store,
		Data:         data,
		Proxy:        traefik.StateFile{Path: archive.certificates.stateFile(), Shipped: *states},
		Certificates: archive.certificates,
		HolderFile:   *holderFile,
		Poll:         *poll,
		Drain:        *drain,
		Log:          log,
	}
	watcher.Run(ctx)
	return nil
}

// takeOver runs `agent handover`: it parses the flags and runs handover.Successor.
func takeOver(ctx context.Context, args []string, stdout, stderr io.Writer, log *slog.Logger) error {
	flags := flag.NewFlagSet("agent handover", flag.ContinueOnError)
	var (
		archive = archiveFlags(flags)
		project = projectFlag(flags)
		path    = flags.String("metrics", "/srv/metrics/restore.prom",
			"`file` for the metrics of the restore; empty for none")
		wait   = flags.Duration("wait", 30*time.Second, "wait at most this `time` for the previous server to hand over")
		window = flags.Duration("window", 2*time.Minute, "`time` after which that server resumes if it still holds the VIP")
	)
	if err := parseFlags(flags, args, "usage: agent handover [flags]", stderr); err != nil {
		return err
	}
	if err := archive.load(flags); err != nil {
		return err
	}
	switch {
	case *wait <= 0:
		return fmt.Errorf("%w: agent handover: --wait is %s: give a duration above zero, such as 30s", errUsage, *wait)
	case *window > handover.MaxWindow:
		return fmt.Errorf("%w: agent handover: --window is %s: give at most %s, the longest window of a request",
			errUsage, *window, handover.MaxWindow)
	case *wait >= *window:
		return fmt.Errorf("%w: agent handover: --wait is %s and --window %s: give a window that is longer than the wait, "+
			"so that the VIP can move in it",
			errUsage, *wait, *window)
	}
	store, server, err := archive.open(ctx)
	if err != nil {
		return err
	}
	var found restored
	data, err := archive.successor(store, *project, &found, stdout, log)
	if err != nil {
		return err
	}
	err = handover.Successor{
		Server: server,
		Store:  store,
		Data:   data,
		Wait:   *wait,
		Window: *window,
		Out:    stdout,
	}.TakeOver(ctx)
	if found.done {
		recordRestore(log, *path, found.history, found.certificates)
	}
	return err
}
