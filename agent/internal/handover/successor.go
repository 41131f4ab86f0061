package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"immutable-infra/agent/internal/bucket"
)

// ackPoll is the pause between two reads of the acknowledgment.
const ackPoll = 250 * time.Millisecond

// Successor is a new server that is ready to take the VIP.
type Successor struct {
	Server string
	Store  Store
	Data   Data
	// Wait bounds the wait for the acknowledgment: a dead server sends none, and must not block its
	// successor.
	Wait time.Duration
	// Window is how long the request is in force: by then the VIP should have moved.
	Window time.Duration
	// Out receives a line about the outcome.
	Out io.Writer
}

// TakeOver requests the handover, awaits it, and restores the data of the previous server.
func (s Successor) TakeOver(ctx context.Context) error {
	holder, err := ReadHolder(ctx, s.Store)
	previous := holder.Server
	switch {
	case errors.Is(err, bucket.ErrNotFound):
		s.print("no previous server")
		return s.resume(ctx)
	case errors.Is(err, errInvalid):
		// Some server holds the VIP, whatever its name.
		previous = "the previous server"
		s.print("%s: requesting the handover anyway", err)
	case err != nil:
		return fmt.Errorf("cannot read which server holds the VIP: %w", bucket.WithAdvice(err))
	case previous == s.Server:
		s.print("this server already holds the VIP")
		return s.resume(ctx)
	}

	begin := time.Now()
	request := HandoverRequest{
		ID:        fmt.Sprintf("%s-%d", s.Server, begin.UnixNano()),
		Server:    s.Server,
		Requested: begin.UTC(),
		Expires:   begin.Add(s.Window).UTC(),
	}
	if err := write(ctx, s.Store, RequestKey, request); err != nil {
		return fmt.Errorf("cannot request the handover: %w", bucket.WithAdvice(err))
	}
	acknowledged, err := s.await(ctx, request.ID)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("cannot await the handover of %s: %w", previous, ctx.Err())
	case acknowledged:
		s.print("%s handed over after %.1f s", previous, time.Since(begin).Seconds())
	case err != nil:
		s.print("%s did not answer within %s: continuing without its last data (%s)", previous, s.Wait, err)
	default:
		s.print("%s did not answer within %s: continuing without its last data", previous, s.Wait)
	}
	if err := s.Data.Restore(ctx); err != nil {
		return fmt.Errorf("cannot restore the data of %s: %w", previous, err)
	}
	return nil
}

// resume starts collecting data, on a server without another one to take over from.
func (s Successor) resume(ctx context.Context) error {
	if err := s.Data.Resume(ctx); err != nil {
		return fmt.Errorf("cannot start collecting data: %w", err)
	}
	return nil
}

// await waits for the acknowledgment of a request. Without one, the error is that of the last read.
func (s Successor) await(ctx context.Context, id string) (acknowledged bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.Wait)
	defer cancel()
	ticker := time.NewTicker(ackPoll)
	defer ticker.Stop()
	etag := ""
	var last error
	for {
		ack, fetched, err := read[HandoverAck](ctx, s.Store, AckKey, etag)
		switch {
		case err == nil && ack.Request == id:
			return true, nil
		case err == nil:
			// It acknowledges another request.
			etag, last = fetched, nil
		case errors.Is(err, bucket.ErrNotModified), errors.Is(err, bucket.ErrNotFound):
			last = nil
		case ctx.Err() == nil:
			last = err
		}
		select {
		case <-ctx.Done():
			return false, last
		case <-ticker.C:
		}
	}
}

func (s Successor) print(format string, args ...any) {
	fmt.Fprintf(s.Out, "handover: "+format+"\n", args...)
}
