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
	"fmt"
	"time"
)

// The keys of the records in the backup bucket. Each is overwritten by the next.
const (
	HolderKey       = "handover/holder.json"
	AnnouncementKey = "handover/announcement.json"
	AnswerKey       = "handover/answer.json"
)

// recordLimit is more than any record has, in bytes.
const recordLimit = 4 << 10

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

// Data is what a server collects and its successor goes on with.
type Data interface {
	// Release stops collecting and brings the last of it to the bucket.
	Release(ctx context.Context) error
	// Resume starts to collect again on the server that released.
	Resume(ctx context.Context) error
	// Restore brings what was released to the successor.
	Restore(ctx context.Context) error
}

// NoData is the Data of servers that collect nothing.
type NoData struct{}

// Release implements Data.
func (NoData) Release(context.Context) error { return nil }

// Resume implements Data.
func (NoData) Resume(context.Context) error { return nil }

// Restore implements Data.
func (NoData) Restore(context.Context) error { return nil }

// read fetches a record. The ETag is returned with the error of a record that
// cannot be understood, so that it need not be read again.
func read[Record any](ctx context.Context, store Store, key, knownETag string) (record Record, etag string, err error) {
	content, etag, err := store.Read(ctx, key, knownETag, recordLimit)
	if err != nil {
		return record, "", err
	}
	if err := json.Unmarshal(content, &record); err != nil {
		return record, etag, fmt.Errorf("read %s: %w", key, err)
	}
	return record, etag, nil
}

func write(ctx context.Context, store Store, key string, record any) error {
	content, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	return store.Put(ctx, key, append(content, '\n'), "application/json")
}
