package readiness

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"immutable-infra/server/atomicfile"
)

// Memory is a small file that remembers, from one run to the next, since when each check has been
// in its state. A boot removes it.
type Memory struct {
	Path string
}

// remembered is the state of one check.
type remembered struct {
	OK    bool      `json:"ok"`
	Since time.Time `json:"since"`
}

// load reads the states by check. A missing or broken file remembers nothing; `since` begins now
// then.
func (m Memory) load() map[string]remembered {
	var states map[string]remembered
	text, err := os.ReadFile(m.Path)
	if err != nil || json.Unmarshal(text, &states) != nil || states == nil {
		return map[string]remembered{}
	}
	return states
}

// save replaces the file as a whole: two runs may save at the same time.
func (m Memory) save(states map[string]remembered) error {
	text, err := json.Marshal(states)
	if err == nil {
		err = atomicfile.Write(m.Path, append(text, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot remember the states of the checks: %w", err)
	}
	return nil
}
