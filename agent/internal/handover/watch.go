package handover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"

	"immutable-infra/agent/internal/bucket"
)

const (
	// askPause is the time from the arrival of the VIP to the first look whether all
	// certificates are there, and askLimit the longest between two looks. In
	// between it doubles: Let's Encrypt forgives five failures an hour for each name.
	askPause = 2 * time.Minute
	askLimit = time.Hour
	// recordPause is the time between two looks whether the record of the holder is
	// still there: somebody may empty the bucket.
	recordPause = time.Minute
)

// Watcher is what each server does all its life: it serves and records that it has
// the VIP as soon as that is so, and gives way to a successor that announces itself.
type Watcher struct {
	// Server names this server.
	Server       string
	VIP          netip.Addr
	Store        Store
	Metadata     Metadata
	Data         Data
	Front        Front
	Certificates Certificates
	// HolderFile is there while this server is recorded as the one that has the
	// VIP; "" is no file.
	HolderFile string
	// Poll is the pause between two looks.
	Poll time.Duration
	// Drain is how long visitors are asked before this server hands over.
	Drain time.Duration
	Log   *slog.Logger

	troubles troubles

	// known is whether the metadata service has answered yet, and holds whether
	// this server had the VIP by its last answer, since when.
	known bool
	holds bool
	since time.Time
	// answered is whether that answer is of this look.
	answered bool
	// recorded and flagged are whether the bucket and HolderFile say that it has, and
	// nextRecord is when to look whether the bucket still does.
	recorded bool
	// displaced is whether the bucket named another server at the last look.
	displaced  bool
	flagged    bool
	nextRecord time.Time

	// etag is that of the announcement that needs nothing more to be done, and
	// over the id of one that is over because the VIP has been away since.
	etag string
	over string
	// looked is whether the bucket has told yet what is announced.
	looked bool

	// shown is the state that the front is in, or "" while that is not known.
	shown State
	// pause is the time between the last look at the certificates and the next one,
	// and missed whether the last one missed some.
	pause    time.Duration
	nextLook time.Time
	missed   bool

	// draining is whether visitors are asked to reconnect, since when.
	draining      bool
	drainingSince time.Time
	// successor is for whom. After a restart of the agent it is not known.
	successor Announcement
}

// Run watches until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	w.begin()
	ticker := time.NewTicker(w.Poll)
	defer ticker.Stop()
	for {
		w.step(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// begin finds out what the process before this one left.
func (w *Watcher) begin() {
	w.troubles = troubles{log: w.Log, kinds: map[string]string{}}
	state, err := w.Front.State()
	w.troubles.note("read the state", err)
	w.shown = state
	w.pause, w.nextLook = askPause, time.Now().Add(askPause)
	if state == Draining {
		w.draining, w.drainingSince = true, time.Now()
	}
}

// step is one look, and all that follows from it.
func (w *Watcher) step(ctx context.Context) {
	w.observe(ctx)
	if !w.known {
		return
	}
	if !w.holds {
		w.troubles.note("take back the holder file", remove(w.HolderFile))
		// What is drained stays so: others serve now.
		if !w.draining {
			w.show(Waiting)
		}
		return
	}
	// First, so that visitors do not wait for a certificate longer than they must.
	if !w.draining {
		w.show(Serving)
	}
	w.record(ctx)
	w.follow(ctx)
	w.resume(ctx)
	w.ask()
}

// show puts the front into a state, unless it was the last to do so.
func (w *Watcher) show(state State) (ok bool) {
	if w.shown == state {
		return true
	}
	if !w.troubles.note("switch to a state", w.Front.Set(state)) {
		w.shown = ""
		return false
	}
	w.shown = state
	w.pause, w.nextLook = askPause, time.Now().Add(askPause)
	return true
}

// ask has the front ask for certificates that are missing although it has asked
// before: a DNS record that was late, or a certificate authority that was away.
func (w *Watcher) ask() {
	if w.shown != Serving || time.Now().Before(w.nextLook) {
		return
	}
	missing, err := w.Certificates.Missing()
	if !w.troubles.note("look at the certificates", err) {
		w.nextLook = time.Now().Add(askPause)
		return
	}
	if len(missing) == 0 {
		if w.missed {
			w.Log.Info("all certificates are there")
		}
		w.missed, w.pause, w.nextLook = false, askPause, time.Now().Add(askLimit)
		return
	}
	w.missed = true
	w.pause = min(2*w.pause, askLimit)
	w.nextLook = time.Now().Add(w.pause)
	w.Log.Warn("certificates are missing: asking for them once more", "names", strings.Join(missing, ","), "next", w.pause)
	w.troubles.note("switch to a state", w.Front.Set(Serving))
}

// observe finds out whether this server has the VIP. While that cannot be found
// out, it is as it was.
func (w *Watcher) observe(ctx context.Context) {
	address, err := w.Metadata.PublicIPv4(ctx)
	w.answered = w.troubles.note("ask the metadata service", err)
	if !w.answered {
		return
	}
	holds := address == w.VIP
	if w.known && holds == w.holds {
		return
	}
	returned := w.known && holds
	w.known, w.holds = true, holds
	w.recorded, w.flagged = false, false
	if !holds {
		w.Log.Info("this server does not have the VIP", "vip", w.VIP)
		return
	}
	w.since = time.Now()
	w.Log.Info("this server has the VIP", "vip", w.VIP)
	if returned && w.draining {
		// Somebody moved it back: what was announced before is over.
		w.over, w.successor = w.successor.ID, Announcement{}
	}
}

// record says in the bucket and on the disk that this server has the VIP.
func (w *Watcher) record(ctx context.Context) {
	if w.recorded && w.answered && !time.Now().Before(w.nextRecord) {
		w.nextRecord = time.Now().Add(recordPause)
		// What another server has written stays for another such pause: perhaps this one is not
		// asked any more, and the metadata service says so late. After that it is wrong.
		holder, err := ReadHolder(ctx, w.Store)
		displaced := err == nil && holder.Server != w.Server
		if displaced && w.displaced {
			w.Log.Warn("the record names another server, and this one has the VIP: writing it again", "named", holder.Server)
			w.recorded = false
		}
		w.displaced = displaced
		if errors.Is(err, bucket.ErrNotFound) || errors.Is(err, errInvalid) {
			w.Log.Warn("the record of the server that has the VIP is gone, or of no use: writing it again")
			w.recorded = false
		}
	}
	if !w.recorded {
		w.nextRecord = time.Now().Add(recordPause)
		err := write(ctx, w.Store, HolderKey, Holder{Server: w.Server, Since: w.since.UTC()})
		w.recorded = w.troubles.note("record that this server has the VIP", err)
	}
	if w.recorded && !w.flagged && w.HolderFile != "" {
		w.flagged = w.troubles.note("make the holder file", touch(w.HolderFile))
	}
}

// follow reads what is announced, and hands over to a successor.
func (w *Watcher) follow(ctx context.Context) {
	const job = "read the announcement"
	announcement, etag, err := read[Announcement](ctx, w.Store, AnnouncementKey, w.etag)
	switch {
	case errors.Is(err, bucket.ErrNotModified), errors.Is(err, bucket.ErrNotFound):
		// Nothing new.
		w.looked = true
		w.troubles.note(job, nil)
		return
	case errors.Is(err, errInvalid):
		w.etag, w.looked = etag, true
		if etag == "" {
			// It is met again at each poll.
			w.troubles.note(job, err)
			return
		}
		w.troubles.note(job, nil)
		w.Log.Warn("ignored an announcement", "error", err)
		return
	case !w.troubles.note(job, err):
		return
	}
	w.looked = true
	if announcement.ID == w.successor.ID {
		announcement = w.successor
	} else if limit := time.Now().Add(MaxWindow).UTC(); announcement.Expires.After(limit) {
		w.Log.Warn("an announcement expires too late: it is bounded", "server", announcement.Server, "expires", announcement.Expires, "until", limit)
		announcement.Expires = limit
	}
	if announcement.Server == w.Server || announcement.ID == w.over || !announcement.live() || w.handOver(ctx, announcement) {
		w.etag = etag
	}
}

// handOver asks visitors to come back on new connections, brings the last data to
// the bucket and answers the announcement. It tells whether that is done; until it
// is, it is done again from the beginning.
func (w *Watcher) handOver(ctx context.Context, to Announcement) (done bool) {
	if w.successor.ID != to.ID {
		w.successor = to
		w.Log.Info("handing over: asking visitors to reconnect", "successor", to.Server, "until", to.Expires)
	}
	if !w.draining {
		w.draining, w.drainingSince = true, time.Now()
	}
	// Otherwise the move will cut visitors' open connections. That is no reason to
	// let the successor wait in vain.
	w.show(Draining)
	select {
	case <-ctx.Done():
		return false
	case <-time.After(time.Until(w.drainingSince.Add(w.Drain))):
	}

	releasing, cancel := context.WithDeadline(ctx, to.Expires)
	defer cancel()
	if !w.troubles.note("hand over the last data", w.Data.Release(releasing)) {
		return false
	}
	answer := Answer{Announcement: to.ID, Server: w.Server, Answered: time.Now().UTC()}
	if !w.troubles.note("answer the announcement", write(ctx, w.Store, AnswerKey, answer)) {
		return false
	}
	w.Log.Info("handed over", "successor", to.Server)
	return true
}

// resume ends the draining of a server that has the VIP, unless an announcement
// is in force. One that could not be read yet may be.
func (w *Watcher) resume(ctx context.Context) {
	if !w.draining || !w.looked || w.successor.live() {
		return
	}
	if !w.show(Serving) {
		return
	}
	if !w.troubles.note("collect data again", w.Data.Resume(ctx)) {
		return
	}
	if w.successor.ID != "" {
		w.Log.Warn("the successor did not come: this server goes on", "successor", w.successor.Server)
	} else {
		w.Log.Info("no handover is going on: this server goes on")
	}
	w.draining = false
}

// touch makes a file whose existence is all that it says.
func touch(path string) error {
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		return fmt.Errorf("make a flag file: %w", err)
	}
	return nil
}

// remove removes such a file if there is one.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove a flag file: %w", err)
	}
	return nil
}
