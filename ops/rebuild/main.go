// Command rebuild changes the configuration of stacks so that their next update creates a server with the newest Debian
// image: it increments generation and sets ami to the newest image. It runs in the project's directory, calls the AWS
// CLI, and changes only the files Pulumi.<stack>.yaml.
//
//	rebuild test production
//
// It prints the changes in Markdown. Exit codes: 0 done, 1 failed and no file was changed, 2 the command line is
// invalid.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

const (
	exitDone   = 0
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
func run(ctx context.Context, stacks []string, stdout, stderr io.Writer) int {
	if len(stacks) == 0 {
		fmt.Fprintln(stderr, "no stacks given; run: rebuild test production")
		return exitUsage
	}
	var files []*stackFile
	for _, stack := range stacks {
		file, err := readStackFile(stack)
		if err == nil {
			err = file.rebuild(ctx)
		}
		if err != nil {
			fmt.Fprintf(stderr, "cannot rebuild stack %s: %v\n", stack, err)
			return exitFailed
		}
		files = append(files, file)
	}
	fmt.Fprint(stdout, "Security updates come with new servers. This change creates them from the newest image:\n\n")
	for _, file := range files {
		if err := file.write(); err != nil {
			fmt.Fprintf(stderr, "%v\n", err)
			return exitFailed
		}
		fmt.Fprintln(stdout, file.summary())
	}
	return exitDone
}
