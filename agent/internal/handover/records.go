// Package handover lets a server hand over to its successor through the backup bucket, because
// neither can log in to the other.
//
// The server that holds the VIP records itself in Holder. A successor that is ready writes a
// HandoverRequest. The holder asks its visitors to reconnect, uploads its last data, and writes a
// HandoverAck. If the VIP has not moved when the request expires, the holder resumes.
package handover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/server/report"
)

// The keys of the records in the backup bucket. Each record overwrites the previous one. Names and
// fields are those of the first version, because a server may hand over to an older or a newer one.
const (
	HolderKey  = "handover/holder.json"
	RequestKey = "handover/announcement.json"
	AckKey     = "handover/answer.json"
)

const (
	// recordLimit exceeds the size of any record, in bytes.
	recordLimit = 4 << 10
	// requestTimeout bounds one request to the bucket with its retries.
	requestTimeout = 10 * time.Second
	// MaxWindow caps how long a request is in force, from when it is first read.
	MaxWindow = 10 * time.Minute
)

// errInvalid is the error of a record that can be read but not parsed.
var errInvalid = errors.New("invalid")

// Holder is the record of which server holds the VIP.
type Holder struct {
	// Server is an EC2 instance ID, as in the other records.
	Server string `json:"server"`
	// Since is when the server observed that the VIP had arrived.
	Since time.Time `json:"since"`
}

// HandoverRequest is the request of a successor that is ready.
type HandoverRequest struct {
	// ID differs between the requests of one server.
	ID        string    `json:"id"`
	Server    string    `json:"server"`
	Requested time.Time `json:"announced"`
	// Expires is when the holder stops waiting for the VIP to move.
	Expires time.Time `json:"expires"`
}

// HandoverAck is the holder's confirmation that it has handed over.
type HandoverAck struct {
	// Request is the ID of the request.
	Request      string    `json:"announcement"`
	Server       string    `json:"server"`
	Acknowledged time.Time `json:"answered"`
}

// Store is the backup bucket. Its errors are those of package bucket.
type Store interface {
	// Read returns an object of at most limit bytes, and its ETag. If the object still has knownETag, the error is
	// bucket.ErrNotModified.
	Read(ctx context.Context, key, knownETag string, limit int64) (content []byte, etag string, err error)
	// Put writes an object.
	Put(ctx context.Context, key string, content []byte, contentType string) error
}

// standbySign is the sign of life of a server that the VIP moved away from, for the deployment.
type standbySign report.Standby

type record interface {
	// complete reports whether the required fields are set.
	complete() bool
}

func (h Holder) complete() bool { return IsName(h.Server) }
func (r HandoverRequest) complete() bool {
	return IsName(r.ID) && IsName(r.Server) && !r.Expires.IsZero()
}
func (a HandoverAck) complete() bool { return IsName(a.Request) && IsName(a.Server) }
func (s standbySign) complete() bool { return IsName(s.Server) }

const nameCharacters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.:+/"

// IsName reports whether text from the bucket can name a server, a stack or a request. The output
// of an update contains such names, and a line break in it could be a command to CI.
func IsName(text string) bool {
	return text != "" && len(text) <= 200 && strings.Trim(text, nameCharacters) == ""
}

// inForce reports whether the request has not expired. The zero request is never in force.
func (r HandoverRequest) inForce() bool { return time.Now().Before(r.Expires) }

// read fetches a record. Its errors are those of Store.Read, and errInvalid. With errInvalid, it returns the ETag
// of a record that was read, so that the record need not be read again.
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
		return fetched, etag, fmt.Errorf("%s is %w: a required field is missing", key, errInvalid)
	}
	return fetched, etag, nil
}

// ReadHolder reads which server holds the VIP. Its errors are those of Store.Read, and errInvalid.
func ReadHolder(ctx context.Context, store Store) (Holder, error) {
	holder, _, err := read[Holder](ctx, store, HolderKey, "")
	return holder, err
}

func write(ctx context.Context, store Store, key string, record record) error {
	content, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("cannot encode %s: %w", key, err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return store.Put(ctx, key, append(content, '\n'), "application/json")
}
