// Command drill tests the newest backup of a stack's monitoring history on this machine: it restores the backup into a
// temporary directory, starts the real Prometheus with it, and counts the samples. It runs in the Pulumi project's
// directory, reads the backup bucket's name from Pulumi, and leaves nothing behind.
//
//	drill --stack production --max-age 15m
//
// The report is JSON on stdout. Exit codes: 0 the backup is good, 1 it is not or could not be tested, 2 the
// command line is invalid.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	exitGood   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes the command and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("drill", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var drill drill
	flags.StringVar(&drill.stack, "stack", "", "`name` of the stack (required)")
	flags.DurationVar(&drill.maxAge, "max-age", 15*time.Minute, "maximum `age` of the backup")
	flags.StringVar(&drill.agent, "agent", "agent", "the agent's `program`")
	flags.StringVar(&drill.prometheus, "prometheus", "prometheus", "Prometheus' `program`")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitGood
		}
		return exitUsage
	}
	switch {
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "unexpected argument %q: flags only\n", flags.Arg(0))
		return exitUsage
	case drill.stack == "":
		fmt.Fprintln(stderr, "--stack is missing: set it to the name of the stack, such as production")
		return exitUsage
	case drill.maxAge <= 0:
		fmt.Fprintf(stderr, "--max-age is %s: set it to the maximum age of the backup, such as 15m\n", drill.maxAge)
		return exitUsage
	}

	report, err := drill.run(ctx)
	if err != nil {
		fmt.Fprintf(stderr, "the restore drill of stack %s failed: %v\n", drill.stack, err)
		return exitFailed
	}
	encoder := json.NewEncoder(stdout)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(report); err != nil {
		fmt.Fprintf(stderr, "cannot print the report: %v\n", err)
		return exitFailed
	}
	for _, problem := range report.Problems {
		fmt.Fprintf(stderr, "the backup of stack %s failed the drill: %s\n", drill.stack, problem)
	}
	if len(report.Problems) > 0 {
		return exitFailed
	}
	return exitGood
}
