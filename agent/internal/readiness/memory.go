package readiness

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Memory is a small file that remembers from one run to the next since when
// each check has been in its state. It lies where a boot removes it.
type Memory struct {
	// Path is the file's path.
	Path string
}

// remembered is the state of one check.
type remembered struct {
	OK    bool      `json:"ok"`
	Since time.Time `json:"since"`
}

// load reads the states by check. A file that is missing or broken remembers
// nothing, which costs no more than a `since` that begins now.
func (m Memory) load() map[string]remembered {
	var states map[string]remembered
	text, err := os.ReadFile(m.Path)
	if err != nil || json.Unmarshal(text, &states) != nil || states == nil {
		return map[string]remembered{}
	}
	return states
}

// save writes the states for the next load. The file is replaced as a whole,
// since two runs may save at once.
func (m Memory) save(states map[string]remembered) error {
	text, err := json.Marshal(states)
	if err != nil {
		return fmt.Errorf("remember the checks' states: %w", err)
	}
	file, err := os.CreateTemp(filepath.Dir(m.Path), filepath.Base(m.Path)+".tmp-*")
	if err != nil {
		return fmt.Errorf("remember the checks' states: %w", err)
	}
	defer os.Remove(file.Name())
	defer file.Close()
	if _, err := file.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("remember the checks' states: %w", err)
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("remember the checks' states: %w", err)
	}
	if err := os.Rename(file.Name(), m.Path); err != nil {
		return fmt.Errorf("remember the checks' states: %w", err)
	}
	return nil
}
