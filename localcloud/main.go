// Command localcloud runs a local stand-in for AWS on one Linux machine.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"immutable-infra/localcloud/internal/cmd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := cmd.Run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "localcloud:", err)
		stop()
		os.Exit(1)
	}
}
