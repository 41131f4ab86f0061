package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"time"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/agent/internal/release"
	"immutable-infra/agent/internal/web"
	"immutable-infra/server/manifest"
)

const (
	reloadTimeout = 10 * time.Second
	// diskReserve is how many bytes must stay free on the disk of the releases, the server's only one.
	diskReserve = 1 << 30
)

// pull runs `agent pull`: it parses the flags, opens the content bucket and the directory of
// releases, and runs release.Pull.
func pull(ctx context.Context, args []string, stderr io.Writer, log *slog.Logger, level *slog.LevelVar) error {
	flags := flag.NewFlagSet("agent pull", flag.ContinueOnError)
	var (
		envFile = settingsFlag(flags)
		dir     = flags.String("dir", "/srv/site", "`directory` of the releases and the current symlink")
		reload  = flags.String("reload", "",
			"`file` to create as a request to reload the web server, which then must serve the new release (default: none, a "+
				"release is served as soon as current names it)")
		address = siteURLFlag(flags)
		runtime = flags.String("runtime", "",
			"`directory` that is emptied at boot; records the verified release (default: none, each run verifies)")
		verify  = flags.Bool("verify", false, "hash every file of the current release even if that was done since boot")
		timeout = flags.Duration("timeout", 10*time.Minute, "give up after this `time`; the next run starts over")
		metrics = metricsFlag(flags)
		debug   = flags.Bool("debug", false, "log runs that change nothing, too")
	)
	if err := parseFlags(flags, args, "usage: agent pull [flags]", stderr); err != nil {
		return err
	}
	settings, err := loadSettings(flags, *envFile)
	if err != nil {
		return err
	}
	// At least one old release, because the web server may still be reading it.
	bucketName, keep := settings.required("CONTENT_BUCKET"), settings.atLeast(1, "RELEASES_KEPT")
	domain := settings.required("DOMAIN")
	if err := settings.err(); err != nil {
		return err
	}
	if *timeout <= 0 {
		return fmt.Errorf("%w: agent pull: --timeout is %s: give a duration above zero, such as 10m", errUsage, *timeout)
	}
	var server release.WebServer
	if *reload != "" {
		url, err := web.ParseAddress(*address)
		if err != nil {
			return fmt.Errorf("%w: agent pull: --url is %w", errUsage, err)
		}
		server = web.Server{Client: web.NewClient(url, domain, "agent-pull"), ReloadRequest: *reload}
	}
	if *debug {
		level.Set(slog.LevelDebug)
	}

	// A transfer that stalls forever would keep the timer from ever starting the next run.
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()

	content, err := bucket.Open(ctx, bucketName, settings.optional("AWS_REGION"))
	if err != nil {
		return err
	}
	releases, err := release.OpenReleases(*dir, settings.optional("HSTS"))
	if err != nil {
		return err
	}
	err = release.Pull{
		Bucket:        content,
		Releases:      releases,
		Keep:          keep,
		Verify:        *verify,
		StateDir:      *runtime,
		Web:           server,
		ReloadTimeout: reloadTimeout,
		Reserve:       diskReserve,
		Limits:        manifest.DefaultLimits(),
		Log:           log,
	}.Run(ctx)
	if err != nil {
		return err
	}
	recordSuccess(log, *metrics, "agent_last_pull_timestamp_seconds",
		"When this server last had the content bucket's current release.")
	return nil
}
