package handover

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"immutable-infra/agent/internal/bucket"
)

// holderPause is the time between two checks that the bucket still holds the record: the bucket may
// have been emptied.
const holderPause = time.Minute

// holderRecord records, in the bucket and by a file, that this server holds the VIP.
type holderRecord struct {
	server   string
	store    Store
	file     string
	log      *slog.Logger
	throttle errorThrottle

	// since is when the VIP arrived.
	since time.Time
	// stored reports whether the record is in the bucket, and flagged whether the file exists.
	stored, flagged bool
	// displaced reports whether the last check found another server in the record.
	displaced bool
	nextCheck time.Time
}

// begin notes that the VIP has just arrived and is not recorded yet.
func (h *holderRecord) begin() {
	h.since, h.stored, h.flagged = time.Now(), false, false
}

// withdraw removes the file. The next holder overwrites the record in the bucket.
func (h *holderRecord) withdraw() {
	err := os.Remove(h.file)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	h.throttle.ok("remove the holder file", err)
}

// keep writes the file or record that is missing. It checks the bucket only if the metadata service
// has just confirmed that this server holds the VIP.
func (h *holderRecord) keep(ctx context.Context, observed bool) {
	if h.stored && observed && !time.Now().Before(h.nextCheck) {
		h.verify(ctx)
	}
	if !h.stored {
		h.nextCheck = time.Now().Add(holderPause)
		err := write(ctx, h.store, HolderKey, Holder{Server: h.server, Since: h.since.UTC()})
		h.stored = h.throttle.ok("record that this server holds the VIP", err)
	}
	if h.stored && !h.flagged && h.file != "" {
		h.flagged = h.throttle.ok("create the holder file", os.WriteFile(h.file, nil, 0o644))
	}
}

// verify makes keep write the record again if it is missing or invalid, or if it names another server for the
// second time in a row: the metadata service may lag, and the record may be correct.
func (h *holderRecord) verify(ctx context.Context) {
	h.nextCheck = time.Now().Add(holderPause)
	holder, err := ReadHolder(ctx, h.store)
	displaced := err == nil && holder.Server != h.server
	switch {
	case displaced && h.displaced:
		h.log.Warn("the holder record names another server, but this one holds the VIP: rewriting it",
			"named", holder.Server)
		h.stored = false
	case errors.Is(err, bucket.ErrNotFound), errors.Is(err, errInvalid):
		h.log.Warn("the holder record is missing or invalid: rewriting it")
		h.stored = false
	}
	h.displaced = displaced
}
