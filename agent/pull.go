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
	"immutable-infra/agent/internal/web"
	"immutable-infra/server/manifest"
)

const (
	// reloadTimeout is how long the web server may take to serve a new release.
	reloadTimeout = 10 * time.Second
	// diskReserve stays free on the disk of the releases, which is that of everything else.
	diskReserve = 1 << 30
)

// pull runs `agent pull`: it reads the flags, opens the content bucket and the
// directory of releases, and leaves the work to release.Pull.
func pull(ctx context.Context, args []string, stderr io.Writer, log *slog.Logger, level *slog.LevelVar) error {
	flags := flag.NewFlagSet("agent pull", flag.ContinueOnError)
	var (
		bucketName = flags.String("bucket", "", "`name` of the content bucket (required)")
		region     = flags.String("region", "", "AWS `region` of the bucket (default: AWS_REGION, or the shared config file's)")
		dir        = flags.String("dir", "/srv/site", "`directory` of the releases and the current symlink")
		hsts       = flags.String("hsts", "", "`value` of the site's Strict-Transport-Security (default: none)")
		reload     = flags.String("reload", "", "`file` to create as a request to reload the web server, which then must serve the new release (default: none, a release is served as soon as current names it)")
		address    = siteURLFlag(flags)
		domain     = flags.String("domain", "", "the site's `name`, by which the web server is asked for its release (required with --reload)")
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
	case *reload != "" && *domain == "":
		return fmt.Errorf("%w: agent pull: --domain is missing: give the site's name, by which the web server is asked", errUsage)
	case *timeout <= 0:
		return fmt.Errorf("%w: agent pull: --timeout is %s: give a duration above zero, such as 10m", errUsage, *timeout)
	}
	var server release.WebServer
	if *reload != "" {
		url, err := web.ParseAddress(*address)
		if err != nil {
			return fmt.Errorf("%w: agent pull: --url is %w", errUsage, err)
		}
		server = web.Server{Client: web.NewClient(url, *domain, "agent-pull"), ReloadRequest: *reload}
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
	releases, err := release.OpenReleases(*dir, *hsts)
	if err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	err = release.Pull{
		Bucket:        content,
		Releases:      releases,
		Keep:          *keep,
		Verify:        *verify,
		StateDir:      runtimeDir(os.Getenv("RUNTIME_DIRECTORY")),
		Web:           server,
		ReloadTimeout: reloadTimeout,
		Reserve:       diskReserve,
		Limits:        manifest.DefaultLimits(),
		Log:           log,
	}.Run(ctx)
	if err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	noteSuccess(log, *metrics, "agent_last_pull_timestamp_seconds", "When this server last had the release of the content bucket.")
	return nil
}
