// Package handover is how a server gives way to its successor, through the
// backup bucket: neither can log in to the other.
//
// The server that has the VIP says so in the record Holder. A successor that is
// ready puts an Announcement there. The holder asks its visitors to reconnect,
// hands its last data over, and puts an Answer. If the VIP has not moved when the
// announcement expires, the holder resumes.
package handover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"immutable-infra/agent/internal/bucket"
)

// The keys of the records in the backup bucket. Each is overwritten by the next.
const (
	HolderKey       = "handover/holder.json"
	AnnouncementKey = "handover/announcement.json"
	AnswerKey       = "handover/answer.json"
)

const (
	// recordLimit is more than any record has, in bytes.
	recordLimit = 4 << 10
	// requestTimeout bounds one request to the bucket, its retries included.
	requestTimeout = 10 * time.Second
	// MaxWindow is how long an announcement counts at most, from when it is first read.
	MaxWindow = 10 * time.Minute
)

// errInvalid marks a record that was read and is not understood.
var errInvalid = errors.New("not understood")

// Holder is which server has the VIP.
type Holder struct {
	// Server is an EC2 instance id, here and in the other records.
	Server string `json:"server"`
	// Since is when the server noticed that the VIP had arrived.
	Since time.Time `json:"since"`
}

// Announcement is a successor's word that it is ready.
type Announcement struct {
	// ID is different for each announcement of the same server.
	ID        string    `json:"id"`
	Server    string    `json:"server"`
	Announced time.Time `json:"announced"`
	// Expires is when the holder need not wait for the move any longer.
	Expires time.Time `json:"expires"`
}

// Answer is a holder's word that it has handed over.
type Answer struct {
	// Announcement is the ID of the announcement that it answers.
	Announcement string    `json:"announcement"`
	Server       string    `json:"server"`
	Answered     time.Time `json:"answered"`
}

// Store is the backup bucket. Its errors are those of package bucket.
type Store interface {
	// Read returns an object of at most limit bytes, and its ETag. An object that
	// still has knownETag is bucket.ErrNotModified.
	Read(ctx context.Context, key, knownETag string, limit int64) (content []byte, etag string, err error)
	// Put writes an object.
	Put(ctx context.Context, key string, content []byte, contentType string) error
}

// record is one of the records.
type record interface {
	// complete tells whether it says what it is there to say.
	complete() bool
}

func (h Holder) complete() bool { return IsName(h.Server) }
func (a Announcement) complete() bool {
	return IsName(a.ID) && IsName(a.Server) && !a.Expires.IsZero()
}
func (a Answer) complete() bool { return IsName(a.Announcement) && IsName(a.Server) }

const nameCharacters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.:+/"

// IsName reports whether text from the bucket can name a server, a stack or an announcement. Names
// are printed in the output of an update, where a line break would be a command to CI.
func IsName(text string) bool {
	return text != "" && len(text) <= 200 && strings.Trim(text, nameCharacters) == ""
}

// live tells whether the announcement is in force. None never is.
func (a Announcement) live() bool {
	return time.Now().Before(a.Expires)
}

// read fetches a record. Its errors are those of Store.Read, and errInvalid: that
// one comes with the ETag, so that the record need not be read again, if it has been read at all.
func read[R record](ctx context.Context, store Store, key, knownETag string) (fetched R, etag string, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	content, etag, err := store.Read(ctx, key, knownETag, recordLimit)
	if errors.Is(err, bucket.ErrUnreadable) {
		return fetched, "", fmt.Errorf("%s is %w: %w", key, errInvalid, err)
	}
	if err != nil {
		return fetched, "", err
	}
	if err := json.Unmarshal(content, &fetched); err != nil {
		return fetched, etag, fmt.Errorf("%s is %w: %w", key, errInvalid, err)
	}
	if !fetched.complete() {
		return fetched, etag, fmt.Errorf("%s is %w: a value is missing", key, errInvalid)
	}
	return fetched, etag, nil
}

// ReadHolder reads which server has the VIP. Errors are those of Store.Read, or that
// the record is not understood.
func ReadHolder(ctx context.Context, store Store) (Holder, error) {
	holder, _, err := read[Holder](ctx, store, HolderKey, "")
	return holder, err
}

// write stores a record.
func write(ctx context.Context, store Store, key string, record record) error {
	content, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return store.Put(ctx, key, append(content, '\n'), "application/json")
}
