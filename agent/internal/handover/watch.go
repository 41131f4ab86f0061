package handover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"immutable-infra/agent/internal/bucket"
)

// Watcher is the side of the server that has the VIP. It finds out whether this
// is that server, and gives way to a successor that announces itself.
type Watcher struct {
	// Server is this server's EC2 instance id.
	Server string
	// VIP is the address that the server of the moment has.
	VIP netip.Addr
	// PublicAddress is this server's address at the moment, or none.
	PublicAddress func(ctx context.Context) (netip.Addr, error)
	Store         Store
	Data          Data
	// HolderFile is there while this server has the VIP. Optional.
	HolderFile string
	// DrainingFile is there while visitors are to be asked to reconnect.
	DrainingFile string
	// Poll is how often the address and the bucket are looked at.
	Poll time.Duration
	// Drain is how long visitors are asked to reconnect before the answer.
	Drain time.Duration
	Log   *slog.Logger

	holds    bool
	recorded bool
	// etag is that of the last announcement that was read.
	etag     string
	current  *drain
	problems map[string]string
}

// drain is a handover under way, or done while the VIP is not yet gone.
type drain struct {
	announcement Announcement
	since        time.Time
	answered     bool
}

// Run watches until ctx is done. What goes wrong is logged, when it begins and
// when it changes, and tried again.
func (w *Watcher) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			w.step(ctx, time.Now())
			timer.Reset(w.pause(time.Now()))
		}
	}
}

// pause is how long to wait for the next step: less when an answer is due.
func (w *Watcher) pause(now time.Time) time.Duration {
	if w.current == nil || w.current.answered {
		return w.Poll
	}
	return min(w.Poll, max(w.current.since.Add(w.Drain).Sub(now), 100*time.Millisecond))
}

// step looks at the address and at the bucket, and does what follows.
func (w *Watcher) step(ctx context.Context, now time.Time) {
	w.try("find the public address", func() error { return w.lookAtAddress(ctx) })
	if !w.holds {
		return
	}
	w.try("record who has the VIP", func() error { return w.record(ctx, now) })
	w.try("look for a successor", func() error { return w.lookForSuccessor(ctx, now) })
	switch {
	case w.current == nil:
		// One may be left of a process that was killed.
		w.try("stop draining", func() error { return remove(w.DrainingFile) })
	case now.After(w.current.announcement.Expires):
		w.Log.Warn("the announced successor did not get the VIP: resuming", "successor", w.current.announcement.Server)
		w.resume(ctx)
	case !w.current.answered && now.Sub(w.current.since) >= w.Drain:
		w.try("hand over", func() error { return w.answer(ctx, now) })
	}
}

// try does something, and logs its error unless it is the one of the last time.
func (w *Watcher) try(what string, do func() error) {
	problem := ""
	if err := do(); err != nil {
		problem = err.Error()
	}
	if problem == w.problems[what] {
		return
	}
	if w.problems == nil {
		w.problems = map[string]string{}
	}
	w.problems[what] = problem
	if problem == "" {
		w.Log.Info(what + ": succeeded again")
		return
	}
	w.Log.Error(what + ": " + problem)
}

func (w *Watcher) lookAtAddress(ctx context.Context) error {
	address, err := w.PublicAddress(ctx)
	if err != nil {
		return err
	}
	holds := address == w.VIP
	if holds == w.holds {
		return nil
	}
	w.holds = holds
	if !holds {
		w.Log.Info("the VIP has left this server", "vip", w.VIP)
		w.recorded = false
		if w.HolderFile == "" {
			return nil
		}
		return remove(w.HolderFile)
	}
	w.Log.Info("this server has the VIP", "vip", w.VIP)
	if w.current != nil {
		// It came back.
		w.resume(ctx)
	}
	return nil
}

// record tells the successors to come that there is somebody to wait for.
func (w *Watcher) record(ctx context.Context, now time.Time) error {
	if w.recorded {
		return nil
	}
	if err := write(ctx, w.Store, HolderKey, Holder{Server: w.Server, Since: now.UTC()}); err != nil {
		return err
	}
	if w.HolderFile != "" {
		if err := touch(w.HolderFile); err != nil {
			return err
		}
	}
	w.recorded = true
	return nil
}

func (w *Watcher) lookForSuccessor(ctx context.Context, now time.Time) error {
	announcement, etag, err := read[Announcement](ctx, w.Store, AnnouncementKey, w.etag)
	switch {
	case errors.Is(err, bucket.ErrNotModified), errors.Is(err, bucket.ErrNotFound):
		return nil
	case err != nil && etag == "":
		return err
	}
	w.etag = etag
	if err != nil {
		w.Log.Error("an announcement that cannot be read is ignored", "error", err)
		return nil
	}
	if announcement.Server == w.Server || announcement.ID == "" || !now.Before(announcement.Expires) {
		return nil
	}
	w.Log.Info("a successor is ready: asking visitors to reconnect", "successor", announcement.Server, "until", announcement.Expires)
	w.current = &drain{announcement: announcement, since: now}
	return touch(w.DrainingFile)
}

// answer hands over. The successor does not wait for longer than the announcement lasts.
func (w *Watcher) answer(ctx context.Context, now time.Time) error {
	announcement := w.current.announcement
	ctx, cancel := context.WithDeadline(ctx, announcement.Expires)
	defer cancel()
	if err := w.Data.Release(ctx); err != nil {
		return fmt.Errorf("release the data: %w", err)
	}
	if err := write(ctx, w.Store, AnswerKey, Answer{Announcement: announcement.ID, Server: w.Server, Answered: now.UTC()}); err != nil {
		return err
	}
	w.current.answered = true
	w.Log.Info("handed over", "successor", announcement.Server)
	return nil
}

// resume serves visitors and collects data as before the announcement.
func (w *Watcher) resume(ctx context.Context) {
	w.current = nil
	w.try("stop draining", func() error { return remove(w.DrainingFile) })
	w.try("resume collecting", func() error { return w.Data.Resume(ctx) })
}

func touch(path string) error {
	return os.WriteFile(path, nil, 0o644)
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
