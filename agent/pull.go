package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/agent/internal/release"
	"immutable-infra/server/manifest"
)

// pull runs `agent pull`: it reads the flags, opens the content bucket and the
// directory of releases, and leaves the work to release.Pull.
func pull(ctx context.Context, args []string, stderr io.Writer, log *slog.Logger, level *slog.LevelVar) error {
	flags := flag.NewFlagSet("agent pull", flag.ContinueOnError)
	var (
		bucketName = flags.String("bucket", "", "`name` of the content bucket (required)")
		region     = flags.String("region", "", "AWS `region` of the bucket (default: AWS_REGION, or the shared config file's)")
		dir        = flags.String("dir", "/srv/site", "`directory` of the releases and the current symlink")
		keep       = flags.Int("keep", 3, "`number` of releases to keep besides the current one, at least 1")
		verify     = flags.Bool("verify", false, "hash every file of the current release even if that was done since boot")
		timeout    = flags.Duration("timeout", 10*time.Minute, "give up after this `time`; the next run begins anew")
		metrics    = metricsFlag(flags)
		debug      = flags.Bool("debug", false, "log runs that change nothing, too")
	)
	if err := parseFlags(flags, args, "usage: agent pull --bucket NAME [flags]", stderr); err != nil {
		return err
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("%w: agent pull: unexpected argument %q: flags only", errUsage, flags.Arg(0))
	case *bucketName == "":
		return fmt.Errorf("%w: agent pull: --bucket is missing: give the name of the content bucket", errUsage)
	case *keep < 1:
		return fmt.Errorf("%w: agent pull: --keep is %d: give 1 or more, since the release switched away from is still being read", errUsage, *keep)
	case *timeout <= 0:
		return fmt.Errorf("%w: agent pull: --timeout is %s: give a duration above zero, such as 10m", errUsage, *timeout)
	}
	if *debug {
		level.Set(slog.LevelDebug)
	}

	// A transfer that stalls for ever would keep the timer from ever starting
	// the next run.
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()

	content, err := bucket.Open(ctx, *bucketName, *region)
	if err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	releases, err := release.OpenReleases(*dir)
	if err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	err = release.Pull{
		Bucket:         content,
		Releases:       releases,
		Keep:           *keep,
		Verify:         *verify,
		VerifiedMarker: runtimeFile(os.Getenv("RUNTIME_DIRECTORY"), "site-verified"),
		Limits:         manifest.DefaultLimits(),
		Log:            log,
	}.Run(ctx)
	if err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	noteSuccess(log, *metrics, "agent_last_pull_timestamp_seconds", "When this server last had the release of the content bucket.")
	return nil
}
