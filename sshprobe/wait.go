package sshprobe

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// pause is the time between two attempts.
	pause = time.Second
	// reportInterval is the time after which the same reason is reported again.
	reportInterval = 15 * time.Second
)

// Wait retries the login until it succeeds, and reports why it fails in the meantime. After within, it returns an error
// that wraps a *Failure with the last reason. An invalid Login fails immediately.
func (l Login) Wait(ctx context.Context, within time.Duration, report func(string)) error {
	begin := time.Now()
	limited, cancel := context.WithDeadline(ctx, begin.Add(within))
	defer cancel()
	var last *Failure
	var reported time.Time
	for {
		err := l.attempt(limited)
		var failure *Failure
		if !errors.As(err, &failure) {
			return err // nil, or the error of an invalid Login
		}
		// The reason of an attempt that the deadline cut off is not useful.
		cut := limited.Err() != nil || !time.Now().Before(begin.Add(within))
		if last == nil || !cut {
			if last == nil || last.Reason != failure.Reason || time.Since(reported) >= reportInterval {
				reported = time.Now()
				report(fmt.Sprintf("%s after %.0f s: %s", l.Address, time.Since(begin).Seconds(), failure.Reason))
			}
			last = failure
		}
		select {
		case <-limited.Done():
			if ctx.Err() != nil {
				return fmt.Errorf("cannot log in to %s as %s: %w; last: %w", l.Address, l.User, ctx.Err(), last)
			}
			return fmt.Errorf("cannot log in to %s as %s within %s: %w", l.Address, l.User, within, last)
		case <-time.After(pause):
		}
	}
}
