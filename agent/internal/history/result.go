package history

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"immutable-infra/server/atomicfile"
)

// recordLimit exceeds the size of any result, in bytes.
const recordLimit = 64 << 10

// Result is the result of a restore. It is kept next to the data for later reports.
type Result struct {
	// Found reports whether a backup existed.
	Found bool `json:"found"`
	// Stack, Server, Epoch and Sequence are those of the manifest.
	Stack    string `json:"stack,omitempty"`
	Server   string `json:"server,omitempty"`
	Epoch    uint64 `json:"epoch"`
	Sequence uint64 `json:"sequence"`
	// AgeSeconds is the age of the manifest, by the bucket's clock.
	AgeSeconds float64 `json:"ageSeconds"`
	// Bytes and Blocks are the size of the backup, and Fetched how many bytes were downloaded.
	Bytes   int64 `json:"bytes"`
	Fetched int64 `json:"fetched"`
	Blocks  int   `json:"blocks"`
	// Seconds is how long the restore took.
	Seconds float64 `json:"seconds"`
	// Fallbacks is how many newer manifests were unusable.
	Fallbacks int `json:"fallbacks"`
	// Restored is when the restore ended.
	Restored time.Time `json:"restored"`
}

func (r Result) String() string {
	if r.Lost() {
		return fmt.Sprintf("NO BACKUP OF THE HISTORY IN THE BUCKET IS USABLE (%d): Prometheus starts empty; "+
			"earlier versions of the objects stay in the bucket for 30 days", r.Fallbacks)
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

// Lost reports whether backups existed, but none was usable.
func (r Result) Lost() bool { return !r.Found && r.Fallbacks > 0 }

// ReadResult reads the result of the last restore below the directory of a Restore. Without a
// restore, the error is fs.ErrNotExist.
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
