package history

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"immutable-infra/server/atomicfile"
)

// recordLimit is more than any result has, in bytes.
const recordLimit = 64 << 10

// Result is what a restore found. It is kept beside the data, for those who want to know
// later.
type Result struct {
	// Found is whether there was a backup at all.
	Found bool `json:"found"`
	// Stack, Server, Epoch and Sequence are those of the manifest.
	Stack    string `json:"stack,omitempty"`
	Server   string `json:"server,omitempty"`
	Epoch    uint64 `json:"epoch"`
	Sequence uint64 `json:"sequence"`
	// AgeSeconds is how old the manifest was, by the clock of the bucket.
	AgeSeconds float64 `json:"ageSeconds"`
	// Bytes and Blocks are what the manifest names, and Fetched how many of the bytes
	// were not here before.
	Bytes   int64 `json:"bytes"`
	Fetched int64 `json:"fetched"`
	Blocks  int   `json:"blocks"`
	// Seconds is how long the restore took.
	Seconds float64 `json:"seconds"`
	// Fallbacks is how many newer manifests were unusable.
	Fallbacks int `json:"fallbacks"`
	// Restored is when that was.
	Restored time.Time `json:"restored"`
}

func (r Result) String() string {
	if r.Lost() {
		return fmt.Sprintf("NO BACKUP OF THE HISTORY IN THE BUCKET IS USABLE (%d): Prometheus starts empty; "+
			"earlier versions of the objects are in the bucket for 30 days", r.Fallbacks)
	}
	if !r.Found {
		return "no history was backed up yet: Prometheus starts empty"
	}
	text := fmt.Sprintf("history of %s, %.0f seconds old: %d blocks, %d bytes, of which %d were fetched, in %.1f s "+
		"(epoch %d, manifest %d)",
		r.Server, r.AgeSeconds, r.Blocks, r.Bytes, r.Fetched, r.Seconds, r.Epoch, r.Sequence)
	if r.Fallbacks > 0 {
		text += fmt.Sprintf("; UNUSABLE NEWER BACKUPS: %d", r.Fallbacks)
	}
	return text
}

// Lost reports whether there were backups and none was of use.
func (r Result) Lost() bool { return !r.Found && r.Fallbacks > 0 }

// ReadResult reads what was last restored below the directory of a Restore. That there
// was no restore yet is fs.ErrNotExist.
func ReadResult(dir string) (Result, error) {
	var result Result
	text, err := atomicfile.Read(filepath.Join(dir, recordFile), recordLimit)
	if err == nil {
		err = json.Unmarshal(text, &result)
	}
	if err != nil {
		return Result{}, fmt.Errorf("cannot read what was restored: %w", err)
	}
	return result, nil
}

// write keeps the result.
func (r Result) write(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = atomicfile.Write(path, append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("cannot record what was restored: %w", err)
	}
	return nil
}
