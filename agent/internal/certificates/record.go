package certificates

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"immutable-infra/server/atomicfile"
)

// Record keeps what a restore found, for those who want to know later why there is
// no certificate for a name.
type Record struct {
	// Missing are the names for which the backup bucket had none.
	Missing []string `json:"missing"`
}

// ReadRecord reads the record. Without the file, nothing was restored and nothing
// is known to be missing.
func ReadRecord(path string) (Record, error) {
	text, err := atomicfile.Read(path, sizeLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, nil
	}
	if err != nil {
		return Record{}, fmt.Errorf("cannot read what was restored: %w", err)
	}
	var record Record
	if err := json.Unmarshal(text, &record); err != nil {
		return Record{}, fmt.Errorf("cannot read what was restored: %s: %w", path, err)
	}
	return record, nil
}

// write writes the record.
func (r Record) write(path string) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("cannot record what was restored: %w", err)
	}
	if err := atomicfile.Write(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("cannot record what was restored: %w", err)
	}
	return nil
}
