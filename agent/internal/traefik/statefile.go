// Package traefik switches the state of the Traefik in front of the site.
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

// StateFile is the part of Traefik's dynamic configuration that depends on the server's state: a
// copy of one of the bundle's files. Traefik watches its directory.
type StateFile struct {
	Path string
	// Shipped is the directory with a file NAME.yaml for each state NAME.
	Shipped string
}

// State returns the state whose shipped file the state file is a copy of, or "" if there is none.
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

// Set replaces the file as a whole, because Traefik reads it at any event in the directory and must never see a
// part of it. It writes the new file outside the directory, where Traefik does not watch.
func (f StateFile) Set(state handover.ProxyState) error {
	text, err := f.shipped(state)
	if err != nil {
		return err
	}
	temporary := filepath.Join(filepath.Dir(filepath.Dir(f.Path)), filepath.Base(f.Path)+".new")
	if err := atomicfile.Write(temporary, text, 0o644); err != nil {
		return fmt.Errorf("cannot write the state of Traefik: %w", err)
	}
	if err := os.Rename(temporary, f.Path); err != nil {
		return fmt.Errorf("cannot write the state of Traefik: %w", errors.Join(err, os.Remove(temporary)))
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
