// Command agent is this project's only program on the servers. Each verb does one job and exits, except watch,
// which runs until it is stopped.
//
//	agent pull        download the site's current release
//	agent ready       report whether this server may get visitors
//	agent watch       hold the VIP until a successor requests the handover
//	agent handover    request the handover from the server that holds the VIP
//	agent backup      back up this server's certificates and history
//	agent restore     download them again, before Traefik and Prometheus start
//	agent verify      restore the history into an empty directory, as a drill
//
// Exit codes: 0 the job is done (or there was nothing to do) and the server is ready, 1 it failed or the
// server is not ready, 2 the command line is wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

const usage = `usage: agent <verb> [flags]

verbs:
  pull       download the site's current release from the content bucket
  ready      report whether this server may get visitors, and why not
  watch      watch whether this server holds the VIP, and hand over to a successor; runs until stopped
  handover   request the handover from the server that holds the VIP
  backup     back up this server's certificates and history to the backup bucket, if it holds the VIP
  restore    restore the certificates and the history from the backup bucket
  verify     restore the history into an empty directory, and describe it

agent <verb> -h lists the flags of a verb.
`

// errUsage marks an invalid command line or setting, as opposed to a failed run.
var errUsage = errors.New("usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run runs the verb args[0] and returns the exit code. The error of a verb is logged here and nowhere else.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	// Other users (nginx, PHP) read the files of a release, so the file modes must not depend on the unit's umask.
	syscall.Umask(0o022)

	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return exitUsage
	}
	level := new(slog.LevelVar)
	log := newLogger(stderr, level)

	var err error
	switch verb := args[0]; verb {
	case "pull":
		err = pull(ctx, args[1:], stderr, log, level)
	case "ready":
		err = ready(ctx, args[1:], stdout, stderr, log)
	case "watch":
		err = watch(ctx, args[1:], stderr, log)
	case "handover":
		err = takeOver(ctx, args[1:], stdout, stderr, log)
	case "backup":
		err = backup(ctx, args[1:], stderr, log)
	case "restore":
		err = restore(ctx, args[1:], stdout, stderr, log)
	case "verify":
		err = verify(ctx, args[1:], stdout, stderr, log)
	case "help", "-h", "-help", "--help":
		fmt.Fprint(stderr, usage)
	default:
		err = fmt.Errorf("%w: unknown verb %q: write agent pull, ready, watch, handover, backup, restore or verify", errUsage,
			verb)
	}
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitDone
	case errors.Is(err, errUsage):
		fmt.Fprintln(stderr, err)
		return exitUsage
	case errors.Is(err, errNotReady):
		return exitFailed
	default:
		log.Error(args[0] + ": " + err.Error())
		return exitFailed
	}
}

// newLogger writes one line of key=value pairs for each event, without the time: the journal adds
// it.
func newLogger(w io.Writer, level slog.Leveler) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, attr slog.Attr) slog.Attr {
			if len(groups) == 0 && attr.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return attr
		},
	}))
}

// parseFlags parses the flags of a verb, whose name is that of the flag set. It returns an errUsage for invalid
// flags, and flag.ErrHelp after printing the help on stderr.
func parseFlags(flags *flag.FlagSet, args []string, usage string, stderr io.Writer) error {
	flags.SetOutput(io.Discard)
	flags.Usage = func() {
		fmt.Fprintln(stderr, usage)
		flags.SetOutput(stderr)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w: %s: %w", errUsage, flags.Name(), err)
	}
	return nil
}
