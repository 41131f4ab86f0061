package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/agent/internal/handover"
	"immutable-infra/agent/internal/traefik"
)

// watch runs `agent watch`: it reads the flags and leaves the work to
// handover.Watcher until ctx ends. That it was told to end is no error.
func watch(ctx context.Context, args []string, stderr io.Writer, log *slog.Logger) error {
	flags := flag.NewFlagSet("agent watch", flag.ContinueOnError)
	var (
		archive    = archiveFlags(flags)
		vip        = flags.String("vip", "", "the stack's persistent IPv4 `address` (default: VIP of --env-file)")
		holderFile = flags.String("holder-file", runtimeFile(os.Getenv("RUNTIME_DIRECTORY"), "holder"), "`file` that is there while this server has the VIP; empty for none")
		states     = flags.String("states", "/opt/site/traefik/states", "`directory` of Traefik's configuration in each state")
		poll       = flags.Duration("poll", 2*time.Second, "look every so much `time`")
		drain      = flags.Duration("drain", 3*time.Second, "ask visitors to reconnect for this `time` before the answer")
	)
	if err := parseFlags(flags, args, "usage: agent watch [flags]", stderr); err != nil {
		return err
	}
	environment, err := archive.complete(flags)
	if err != nil {
		return err
	}
	*vip = cmp.Or(*vip, environment["VIP"])
	address, err := netip.ParseAddr(*vip)
	switch {
	case *vip == "":
		return fmt.Errorf("%w: agent watch: --vip is missing, and %s names no VIP: give the stack's address", errUsage, *archive.bucket.envFile)
	case err != nil || !address.Is4():
		return fmt.Errorf("%w: agent watch: --vip is %q: give an IPv4 address, such as 198.51.100.7", errUsage, *vip)
	case *poll <= 0:
		return fmt.Errorf("%w: agent watch: --poll is %s: give a duration above zero, such as 2s", errUsage, *poll)
	case *drain < 0:
		return fmt.Errorf("%w: agent watch: --drain is %s: give a duration, such as 3s, or 0s", errUsage, *drain)
	}
	store, server, err := archive.bucket.open(ctx)
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	runtimeDir := cmp.Or(runtimeFile(os.Getenv("RUNTIME_DIRECTORY"), "."), filepath.Dir(holderPath))
	data, err := archive.old(store, server, runtimeDir, log)
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	watcher := handover.Watcher{
		Server:       server,
		VIP:          address,
		Metadata:     handover.NewIMDS(),
		Store:        store,
		Data:         data,
		Proxy:        traefik.StateFile{Path: filepath.Join(*archive.names.traefik, "dynamic", "state.yaml"), Shipped: *states},
		Certificates: archive.names,
		HolderFile:   *holderFile,
		Poll:         *poll,
		Drain:        *drain,
		Log:          log,
	}
	watcher.Run(ctx)
	return nil
}

// announce runs `agent handover`: it reads the flags and leaves the work to
// handover.Successor.
func announce(ctx context.Context, args []string, stdout, stderr io.Writer, log *slog.Logger) error {
	flags := flag.NewFlagSet("agent handover", flag.ContinueOnError)
	var (
		archive = archiveFlags(flags)
		project = projectFlag(flags)
		path    = flags.String("metrics", "/srv/metrics/restore.prom", "`file` that tells the node exporter's textfile collector of what was restored; empty for none")
		wait    = flags.Duration("wait", 30*time.Second, "wait for at most this `time` until the server that has the VIP has handed over")
		window  = flags.Duration("window", 2*time.Minute, "`time` from now after which that server resumes if it still has the VIP")
	)
	if err := parseFlags(flags, args, "usage: agent handover [flags]", stderr); err != nil {
		return err
	}
	if _, err := archive.complete(flags); err != nil {
		return err
	}
	switch {
	case *wait <= 0:
		return fmt.Errorf("%w: agent handover: --wait is %s: give a duration above zero, such as 30s", errUsage, *wait)
	case *window > handover.MaxWindow:
		return fmt.Errorf("%w: agent handover: --window is %s: give %s at most, which is as long as an announcement counts", errUsage, *window, handover.MaxWindow)
	case *wait >= *window:
		return fmt.Errorf("%w: agent handover: --wait is %s and --window %s: give a window that is longer than the wait, so that the VIP can move in it", errUsage, *wait, *window)
	}
	store, server, err := archive.bucket.open(ctx)
	if err != nil {
		return fmt.Errorf("handover: %w", err)
	}
	var found restored
	data, err := archive.successor(store, *project, &found, stdout, log)
	if err != nil {
		return fmt.Errorf("handover: %w", err)
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
		noteRestore(log, *path, found.history, found.certificates)
	}
	if err != nil {
		return fmt.Errorf("handover: %w", err)
	}
	return nil
}

// backupBucket is the flags by which a verb finds the backup bucket.
type backupBucket struct{ name, region, envFile *string }

func backupFlags(flags *flag.FlagSet) backupBucket {
	return backupBucket{
		name:    flags.String("bucket", "", "`name` of the backup bucket (default: BACKUP_BUCKET of --env-file)"),
		region:  flags.String("region", "", "AWS `region` of the bucket (default: AWS_REGION of --env-file, or the SDK's default chain)"),
		envFile: flags.String("env-file", serverEnvPath, "`file` with the server's environment"),
	}
}

// complete fills in what the flags leave to the server's environment, which it
// returns.
func (b backupBucket) complete(flags *flag.FlagSet) (environment map[string]string, err error) {
	environment, err = readServerEnv(*b.envFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flags.Name(), err)
	}
	*b.name = cmp.Or(*b.name, environment["BACKUP_BUCKET"])
	*b.region = cmp.Or(*b.region, environment["AWS_REGION"])
	switch {
	case flags.NArg() > 0:
		return nil, fmt.Errorf("%w: %s: unexpected argument %q: flags only", errUsage, flags.Name(), flags.Arg(0))
	case *b.name == "":
		return nil, fmt.Errorf("%w: %s: --bucket is missing, and %s names no BACKUP_BUCKET: give the name of the backup bucket", errUsage, flags.Name(), *b.envFile)
	}
	return environment, nil
}

// open prepares access to the bucket, in the name of this server.
func (b backupBucket) open(ctx context.Context) (store *bucket.Bucket, server string, err error) {
	store, err = bucket.Open(ctx, *b.name, *b.region)
	if err != nil {
		return nil, "", err
	}
	server, err = serverName(instanceIDPath)
	return store, server, err
}
