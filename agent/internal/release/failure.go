package release

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"immutable-infra/server/atomicfile"
)

const (
	// firstRetry is the time before the second attempt at a build that could not be served.
	firstRetry = 5 * time.Second
	// lastRetry is the longest time between two attempts.
	lastRetry = time.Minute
)

// failure records a build that could not be served. Runs follow each other within seconds, and each attempt may
// cost a request for every file.
type failure struct {
	Release  string `json:"release"`
	Attempts int    `json:"attempts"`
	// Error is the error of the last attempt.
	Error string `json:"error"`

	at time.Time
}

// loadFailure reads the file at path. A missing or broken file counts as no failure, which costs one attempt.
func loadFailure(path string) failure {
	var last failure
	text, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(text, &last) != nil {
		return failure{}
	}
	if stat, err := os.Stat(path); err == nil {
		last.at = stat.ModTime()
	}
	return last
}

// tooEarly returns the error of the last attempt at a build if the next attempt has to wait.
func (f failure) tooEarly(release string, now time.Time) error {
	if f.Release != release || f.Attempts == 0 {
		return nil
	}
	pause := lastRetry
	if doublings := f.Attempts - 1; doublings < 4 {
		pause = min(firstRetry<<doublings, lastRetry)
	}
	// If the clock was set back, the pause must not get longer.
	left := f.at.Add(pause).Sub(now)
	if left <= 0 || f.at.After(now) {
		return nil
	}
	return fmt.Errorf("%s (attempts: %d, the next one in %s)", f.Error, f.Attempts, left.Round(time.Second))
}

// next returns the record after another failed attempt.
func (f failure) next(release string, err error) failure {
	if f.Release != release {
		f.Attempts = 0
	}
	return failure{Release: release, Attempts: f.Attempts + 1, Error: err.Error()}
}

func (f failure) save(path string) error {
	text, err := json.Marshal(f)
	if err == nil {
		err = atomicfile.Write(path, append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("cannot save the failed attempt: %w", err)
	}
	return nil
}

func forgetFailure(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove the failed attempt: %w", err)
	}
	return nil
}
