package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"immutable-infra/agent/internal/bucket"
)

// answerPoll is the pause between two looks for an answer.
const answerPoll = 250 * time.Millisecond

// Successor is what a new server does when it is ready: it announces itself to the
// server that has the VIP and waits for that one to hand over.
type Successor struct {
	// Server names this server.
	Server string
	Store  Store
	Data   Data
	// Wait is the longest wait for an answer. A server that is dead gives none,
	// and must not keep its successor from taking its place.
	Wait time.Duration
	// Window is how long the announcement is in force: until then the VIP should
	// have moved.
	Window time.Duration
	// Out gets a line about what came of it.
	Out io.Writer
}

// Announce announces this server, waits, and restores the data of the server before.
func (s Successor) Announce(ctx context.Context) error {
	holder, _, err := read[Holder](ctx, s.Store, HolderKey, "")
	before := holder.Server
	switch {
	case errors.Is(err, bucket.ErrNotFound):
		s.say("no server before this one")
		return s.begin(ctx)
	case errors.Is(err, errInvalid):
		// It has the VIP, whatever its name.
		before = "the server before this one"
		s.say("%s: announcing this server all the same", err)
	case err != nil:
		return fmt.Errorf("find out which server has the VIP: %w", bucket.WithAdvice(err))
	case before == s.Server:
		s.say("this server has the VIP already")
		return s.begin(ctx)
	}

	begin := time.Now()
	announcement := Announcement{
		ID:        fmt.Sprintf("%s-%d", s.Server, begin.UnixNano()),
		Server:    s.Server,
		Announced: begin.UTC(),
		Expires:   begin.Add(s.Window).UTC(),
	}
	if err := write(ctx, s.Store, AnnouncementKey, announcement); err != nil {
		return fmt.Errorf("announce this server: %w", bucket.WithAdvice(err))
	}
	answered, err := s.await(ctx, announcement.ID)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("wait for %s to hand over: %w", before, ctx.Err())
	case answered:
		s.say("%s handed over after %.1f s", before, time.Since(begin).Seconds())
	case err != nil:
		s.say("%s did not answer within %s: going on without its last data (%s)", before, s.Wait, err)
	default:
		s.say("%s did not answer within %s: going on without its last data", before, s.Wait)
	}
	if err := s.Data.Restore(ctx); err != nil {
		return fmt.Errorf("restore the data of %s: %w", before, err)
	}
	return nil
}

// begin has this server collect, since no other one does.
func (s Successor) begin(ctx context.Context) error {
	if err := s.Data.Resume(ctx); err != nil {
		return fmt.Errorf("begin to collect: %w", err)
	}
	return nil
}

// await waits for the answer to an announcement. The error is that of the last
// look, if there is no answer in the end.
func (s Successor) await(ctx context.Context, id string) (answered bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.Wait)
	defer cancel()
	ticker := time.NewTicker(answerPoll)
	defer ticker.Stop()
	etag := ""
	var last error
	for {
		answer, fetched, err := read[Answer](ctx, s.Store, AnswerKey, etag)
		switch {
		case err == nil && answer.Announcement == id:
			return true, nil
		case err == nil:
			// It answers another announcement.
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

// say writes a line.
func (s Successor) say(format string, args ...any) {
	fmt.Fprintf(s.Out, "handover: "+format+"\n", args...)
}
