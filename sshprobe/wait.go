package sshprobe

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// pause is between two attempts.
	pause = time.Second
	// reportInterval is how often a reason is reported that stays the same.
	reportInterval = 15 * time.Second
)

// Wait waits until the login is possible, and reports meanwhile why it is not.
// The error of a login that is not possible within that time is a *Failure with
// the last reason. A login that no waiting can make possible fails at once.
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
			return err // nil, or nothing of the server's
		}
		// What the end of the time did to an attempt says little of the server.
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
