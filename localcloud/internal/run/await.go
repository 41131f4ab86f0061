package run

import (
	"context"
	"time"
)

// Await repeats try until it succeeds, ctx ends or limit has passed. Its error is the last one
// that the end of the time did not cause.
func Await(ctx context.Context, limit, interval time.Duration, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var last error
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return last
		case <-ticker.C:
		}
	}
}
