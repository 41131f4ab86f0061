package readiness

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"immutable-infra/server/atomicfile"
)

// Memory is a small file that records, from one run to the next, since when each check has been in its state. A
// reboot removes it.
type Memory struct {
	Path string
}

// checkState is the state of one check.
type checkState struct {
	OK    bool      `json:"ok"`
	Since time.Time `json:"since"`
}

// load reads the states by check. Without the file, or with a broken one, there are none, and `since` begins now.
func (m Memory) load() map[string]checkState {
	var states map[string]checkState
	text, err := os.ReadFile(m.Path)
	if err != nil || json.Unmarshal(text, &states) != nil || states == nil {
		return map[string]checkState{}
	}
	return states
}

// save replaces the file as a whole: two runs may save at the same time.
func (m Memory) save(states map[string]checkState) error {
	text, err := json.Marshal(states)
	if err == nil {
		err = atomicfile.Write(m.Path, append(text, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot save the states of the checks: %w", err)
	}
	return nil
}
