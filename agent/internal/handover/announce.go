package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"immutable-infra/agent/internal/bucket"
)

// answerPoll is how often a successor looks for the answer.
const answerPoll = 250 * time.Millisecond

// Successor is the side of a server that is ready for the VIP.
type Successor struct {
	// Server is this server's EC2 instance id.
	Server string
	Store  Store
	Data   Data
	// Wait is how long the server that has the VIP may take to hand over.
	Wait time.Duration
	// Window is how long that server then waits for the VIP to move.
	Window time.Duration
	// Out is told what happened, in one line.
	Out io.Writer
}

// Announce has the server that has the VIP hand over. Nobody there to do that,
// or nobody who answers in time, is not an error: a dead server must not keep
// its successor from taking its place.
func (s Successor) Announce(ctx context.Context) error {
	holder, etag, err := read[Holder](ctx, s.Store, HolderKey, "")
	switch {
	case errors.Is(err, bucket.ErrNotFound):
		return s.say("no server before this one")
	case err != nil && etag == "":
		return err
	case err != nil:
		// Whoever wrote that may answer all the same.
		holder.Server = "the server before"
	case holder.Server == s.Server:
		return s.say("this server has the VIP already")
	}

	now := time.Now()
	announcement := Announcement{
		ID:        fmt.Sprintf("%s-%d", s.Server, now.UnixNano()),
		Server:    s.Server,
		Announced: now.UTC(),
		Expires:   now.Add(s.Window).UTC(),
	}
	if err := write(ctx, s.Store, AnnouncementKey, announcement); err != nil {
		return err
	}
	answer, err := s.await(ctx, announcement)
	if err != nil {
		return err
	}
	if answer == nil {
		if err := s.say("%s did not answer within %s: going on without its last data", holder.Server, s.Wait); err != nil {
			return err
		}
	} else if err := s.say("%s handed over after %.1f s", answer.Server, time.Since(now).Seconds()); err != nil {
		return err
	}
	if err := s.Data.Restore(ctx); err != nil {
		return fmt.Errorf("restore the data: %w", err)
	}
	return nil
}

// await returns the answer, or nil if there is none in time.
func (s Successor) await(ctx context.Context, announcement Announcement) (*Answer, error) {
	deadline := time.After(s.Wait)
	tick := time.NewTicker(answerPoll)
	defer tick.Stop()
	known := ""
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-deadline:
			return nil, nil
		case <-tick.C:
		}
		answer, etag, err := read[Answer](ctx, s.Store, AnswerKey, known)
		switch {
		case err == nil && answer.Announcement == announcement.ID:
			return &answer, nil
		case err == nil:
			// That of an earlier handover.
			known = etag
		case etag != "", errors.Is(err, bucket.ErrNotModified), errors.Is(err, bucket.ErrNotFound):
		default:
			return nil, err
		}
	}
}

func (s Successor) say(format string, args ...any) error {
	_, err := fmt.Fprintf(s.Out, "handover: "+format+"\n", args...)
	return err
}
