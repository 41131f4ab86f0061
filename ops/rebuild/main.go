// Command rebuild changes the configuration of stacks so that their next update makes
// a new server of the newest Debian: it raises generation, and sets ami to the newest
// image. It runs in the project's directory and asks AWS by the program aws; all that
// it changes are the files Pulumi.<stack>.yaml.
//
//	rebuild test production
//
// What it has changed is on stdout, as Markdown. Exit codes: 0 it is done, 1 it is not, and
// no file was changed, 2 the command line is wrong.
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

// run carries out the command and returns the exit code.
func run(ctx context.Context, stacks []string, stdout, stderr io.Writer) int {
	if len(stacks) == 0 {
		fmt.Fprintln(stderr, "name the stacks to rebuild, such as: rebuild test production")
		return exitUsage
	}
	var files []*stackFile
	for _, stack := range stacks {
		file, err := readStackFile(stack)
		if err == nil {
			err = file.rebuild(ctx)
		}
		if err != nil {
			fmt.Fprintf(stderr, "the rebuild of stack %s cannot be prepared: %v\n", stack, err)
			return exitFailed
		}
		files = append(files, file)
	}
	fmt.Fprint(stdout, "Security updates come with new servers. This makes some, of the newest image of Debian:\n\n")
	for _, file := range files {
		if err := file.write(); err != nil {
			fmt.Fprintf(stderr, "%v\n", err)
			return exitFailed
		}
		fmt.Fprintln(stdout, file.summary())
	}
	return exitDone
}
