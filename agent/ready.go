package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/agent/internal/engine"
	"immutable-infra/agent/internal/proc"
	"immutable-infra/agent/internal/readiness"
	"immutable-infra/agent/internal/release"
	"immutable-infra/agent/internal/web"
	"immutable-infra/server/manifest"
)

const (
	pullTimer    = "agent-pull.timer"
	pullService  = "agent-pull.service"
	watchService = "agent-watch.service"
	backupTimer  = "agent-backup.timer"
)

// errNotReady is the error of a server that is not ready. The printed report has the details.
var errNotReady = errors.New("not ready")

// ready runs `agent ready`: it parses the flags and prints the report of readiness.Readiness on
// stdout, and its progress on stderr.
func ready(ctx context.Context, args []string, stdout, stderr io.Writer, log *slog.Logger) error {
	flags := flag.NewFlagSet("agent ready", flag.ContinueOnError)
	var (
		wait = flags.Duration("wait", 0,
			"wait for at most this `time` until the server is ready (default 0s: check once)")
		envFile    = settingsFlag(flags)
		dir        = flags.String("dir", "/srv/site", "`directory` of the releases and the current symlink")
		project    = projectFlag(flags)
		address    = siteURLFlag(flags)
		names      = certificateFlags(flags)
		prometheus = prometheusFlag(flags)
		holderFile = holderFlag(flags)
		state      = flags.String("state", "/run/agent-ready.json",
			"`file` that records since when each check has been in its state")
		socket = flags.String("docker", engine.Socket, "`socket` of Docker's engine")
		asJSON = flags.Bool("json", false, "print the report as JSON")
		send   = flags.Duration("send", 0,
			"for this `time`, send reports to the backup bucket instead, while this server holds the VIP")
	)
	if err := parseFlags(flags, args, "usage: agent ready [flags]", stderr); err != nil {
		return err
	}
	settings, err := loadSettings(flags, *envFile)
	if err != nil {
		return err
	}
	bucketName, domain := settings.required("CONTENT_BUCKET"), settings.required("DOMAIN")
	names.load(settings)
	backupBucket := ""
	if *send > 0 {
		backupBucket = settings.required("BACKUP_BUCKET")
	}
	if err := settings.err(); err != nil {
		return err
	}
	site, err := web.ParseAddress(*address)
	switch {
	case *wait < 0:
		return fmt.Errorf("%w: agent ready: --wait is %s: give a duration, such as 10m, or 0s to check once", errUsage, *wait)
	case err != nil:
		return fmt.Errorf("%w: agent ready: --url is %w", errUsage, err)
	}

	content, err := bucket.Open(ctx, bucketName, settings.optional("AWS_REGION"))
	if err != nil {
		return err
	}
	server, err := serverName(instanceIDPath)
	if err != nil {
		return err
	}
	// Read-only, because this process is root in another user's directory.
	releases := release.ReadReleases(*dir)
	system := proc.System{}
	docker := engine.New(*socket)
	// Reports are frequent, and the files of a site may be large.
	filesEvery := time.Duration(0)
	if *send > 0 {
		filesEvery = filesPause
	}
	checked := readiness.Readiness{
		Server:   server,
		Releases: releases,
		Checks: []readiness.Check{
			&readiness.Containers{Project: *project, Docker: docker, Runner: system},
			&readiness.Served{
				Bucket:      content,
				Releases:    releases,
				Limits:      manifest.DefaultLimits(),
				Web:         web.NewClient(site, domain, readiness.UserAgent),
				Project:     *project,
				PullService: pullService,
				FilesEvery:  filesEvery,
			},
			readiness.PHP{Project: *project, Docker: docker},
			readiness.Certificates{
				Address:    net.JoinHostPort(site.Hostname(), cmp.Or(site.Port(), "443")),
				Names:      names.names,
				File:       names.file(),
				Record:     names.record(),
				HolderFile: *holderFile,
				Project:    *project,
			},
			readiness.History{Dir: *prometheus},
			readiness.Units{
				Timers:   []string{pullTimer, backupTimer},
				Services: []string{watchService},
				Runner:   system,
				Now:      readiness.Monotonic,
			},
			readiness.Disk{Paths: []string{"/", *dir}, Statfs: unix.Statfs},
		},
		Memory:   readiness.Memory{Path: *state},
		Runner:   system,
		Progress: stderr,
		Log:      log,
	}
	if *send > 0 {
		backup, err := bucket.Open(ctx, backupBucket, settings.optional("AWS_REGION"))
		if err != nil {
			return err
		}
		return sender{checked, backup, *project, *holderFile, docker, log}.run(ctx, *send)
	}
	report, err := checked.Await(ctx, *wait)
	if err != nil {
		return err
	}
	write := report.WriteText
	if *asJSON {
		write = report.WriteJSON
	}
	if err := write(stdout); err != nil {
		return err
	}
	if !report.Ready {
		return errNotReady
	}
	return nil
}
