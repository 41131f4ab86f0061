// Package interrupt ends the programs that Pulumi's command resources run when Pulumi gives up on them.
package interrupt

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// interval is the time between two checks of the parent.
const interval = 200 * time.Millisecond

// ErrParent is the cause of a context whose parent process has ended.
var ErrParent = errors.New("the process that started this one has ended")

// Context returns a context that ends at SIGINT, at SIGTERM, or with the parent process: Pulumi
// kills `go run` alone, which cannot pass that on to the program it runs.
func Context() (ctx context.Context, stop func()) {
	// Before anything else: a parent that ends later is noticed.
	parent := os.Getppid()
	signalled, stopSignals := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	ctx, cancel := context.WithCancelCause(signalled)
	go func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if os.Getppid() != parent {
					cancel(ErrParent)
					return
				}
			}
		}
	}()
	return ctx, func() {
		cancel(nil)
		stopSignals()
	}
}
