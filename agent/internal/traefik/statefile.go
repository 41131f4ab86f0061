// Package traefik is what the agent does with the Traefik that stands in front of
// the site: it switches its state, and starts it again.
package traefik

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"immutable-infra/agent/internal/handover"
	"immutable-infra/server/atomicfile"
)

// StateFile is the part of Traefik's dynamic configuration that depends on the state
// of the server: a copy of one of the files that the bundle has for it. Traefik
// watches its directory.
type StateFile struct {
	Path string
	// Shipped is the directory with a file NAME.yaml for each state NAME.
	Shipped string
}

// State tells which of the shipped files it is a copy of; it is "" for none, and
// when there is no file.
func (f StateFile) State() (handover.ProxyState, error) {
	text, err := os.ReadFile(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot read the state of Traefik: %w", err)
	}
	for _, state := range []handover.ProxyState{handover.Waiting, handover.Serving, handover.Draining} {
		shipped, err := f.shipped(state)
		if err != nil {
			return "", err
		}
		if bytes.Equal(shipped, text) {
			return state, nil
		}
	}
	return "", nil
}

// Set replaces the file as a whole: Traefik, which looks as soon as something
// happens in the directory, must never see a part of it. It is written beside the
// directory, where Traefik does not look.
func (f StateFile) Set(state handover.ProxyState) error {
	text, err := f.shipped(state)
	if err != nil {
		return err
	}
	beside := filepath.Join(filepath.Dir(filepath.Dir(f.Path)), filepath.Base(f.Path)+".new")
	if err := atomicfile.Write(beside, text, 0o644); err != nil {
		return fmt.Errorf("cannot write the state of Traefik: %w", err)
	}
	if err := os.Rename(beside, f.Path); err != nil {
		return fmt.Errorf("cannot write the state of Traefik: %w", errors.Join(err, os.Remove(beside)))
	}
	return nil
}

func (f StateFile) shipped(state handover.ProxyState) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(f.Shipped, string(state)+".yaml"))
	if err != nil {
		return nil, fmt.Errorf("cannot read the shipped state of Traefik: %w", err)
	}
	return text, nil
}
