// Command publish builds the site and uploads it to the content bucket. Pulumi's command resources run it in the
// project's directory.
//
//	publish build   builds and checks the site
//	publish sync    brings the bucket to the state of that build
//
// Each prints only the release's id on standard output. Settings are read from the environment:
//
//	SITE_DIR        directory of the Jekyll site
//	WORK_DIR        directory for builds
//	STACK           the stack's name, which is also the name of its directory in WORK_DIR
//	BUILD_COMMAND   command that builds the site into _site. Default: Jekyll
//	JEKYLL_ENV      JEKYLL_ENV of the build
//	SOURCE_HASH     publish.SiteHash of the site; a build of another source is not uploaded
//	BUCKET, REGION  the content bucket, for sync
//	AWS_*           keys, endpoint and authorities, as for the AWS CLI
//
// Exit codes: 0 success, 1 failure, 2 the command line is invalid.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"immutable-infra/internal/lines"
	"immutable-infra/publish"
	"immutable-infra/server/manifest"
)

const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

var errUsage = errors.New("usage: publish build|sync")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	closeInherited()
	code := exitDone
	// The output of a build may contain anything, including progress bars.
	log := lines.NewWriter(os.Stderr)
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, log)
	if err = errors.Join(err, log.Close()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = exitFailed
		if errors.Is(err, errUsage) {
			code = exitUsage
		}
	}
	stop()
	os.Exit(code)
}

// closeInherited hides inherited file descriptors, except the standard ones, from the build.
func closeInherited() {
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		return
	}
	for _, entry := range entries {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	if len(args) != 1 {
		return errUsage
	}
	settings := publish.Settings{
		SiteDir:    getenv("SITE_DIR"),
		WorkDir:    getenv("WORK_DIR"),
		Stack:      getenv("STACK"),
		Command:    getenv("BUILD_COMMAND"),
		JekyllEnv:  getenv("JEKYLL_ENV"),
		SourceHash: getenv("SOURCE_HASH"),
		Log:        stderr,
	}
	required := []string{"SITE_DIR", "WORK_DIR", "STACK", "SOURCE_HASH"}
	if args[0] == "sync" {
		required = append(required, "BUCKET", "REGION")
	}
	for _, name := range required {
		if getenv(name) == "" {
			return fmt.Errorf("%w, with %s in the environment", errUsage, name)
		}
	}
	var list manifest.Manifest
	var err error
	switch args[0] {
	case "build":
		list, err = publish.Build(ctx, settings)
	case "sync":
		var bucket *publish.Bucket
		if bucket, err = publish.OpenBucket(ctx, getenv("BUCKET"), getenv("REGION"), getenv); err == nil {
			list, err = publish.Sync(ctx, settings, bucket)
		}
	default:
		err = errUsage
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, list.ID())
	return err
}
