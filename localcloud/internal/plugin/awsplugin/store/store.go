// Package store keeps the account of what exists in the local cloud: what
// AWS's control plane would know. It is one JSON file, so that it survives
// between commands and can be read by a person.
package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"immutable-infra/localcloud/internal/state"
)

// lockRetry is how often a waiting process looks whether the lock is free.
const lockRetry = 20 * time.Millisecond

// Store is the file that holds the State. It holds secrets: user data and the
// keys of roles.
type Store struct {
	path string
}

// Open returns the store in the given file, which need not exist yet.
func Open(path string) *Store {
	return &Store{path: path}
}

// Transaction is the exclusive use of the state by one operation.
type Transaction struct {
	*State
	store *Store
}

// Save writes the state before the end of the transaction, so that what an
// operation has begun is known even if its process is killed.
func (tx *Transaction) Save() error {
	if err := state.WriteJSON(tx.store.path, tx.State); err != nil {
		return fmt.Errorf("the store: %w", err)
	}
	return nil
}

// Update runs an operation alone, over all processes, and saves the state when
// it succeeds. When it fails, the state stays as it was last saved.
func (s *Store) Update(ctx context.Context, operation func(tx *Transaction) error) (err error) {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return fmt.Errorf("make the store's directory: %w", err)
	}
	// A lock of its own for each transaction also keeps the goroutines of one process apart.
	lock := flock.New(s.path + ".lock")
	if _, err := lock.TryLockContext(ctx, lockRetry); err != nil {
		return fmt.Errorf("lock the store %s: %w", s.path, err)
	}
	defer func() {
		if closeErr := lock.Close(); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("unlock the store %s: %w", s.path, closeErr))
		}
	}()

	saved, err := s.Read()
	if err != nil {
		return err
	}
	tx := &Transaction{State: saved, store: s}
	if err := operation(tx); err != nil {
		return err
	}
	return tx.Save()
}

// Read returns the state as it was last saved, for who does not change it.
func (s *Store) Read() (*State, error) {
	saved := newState()
	if err := state.ReadJSON(s.path, saved); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the store: %w", err)
	}
	return saved, nil
}
