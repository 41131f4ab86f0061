package store_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

func TestFailedUpdateKeepsLastSavedState(t *testing.T) {
	s := store.Open(filepath.Join(t.TempDir(), "cloud", "aws.json"))
	failed := errors.New("failed")
	require.ErrorIs(t, s.Update(t.Context(), func(tx *store.Transaction) error {
		tx.LastPublicAddress = 1
		require.NoError(t, tx.Save())
		tx.LastPublicAddress = 2
		return failed
	}), failed)
	require.NoError(t, s.Update(t.Context(), func(tx *store.Transaction) error {
		require.Equal(t, 1, tx.LastPublicAddress)
		return nil
	}))
}

func TestConcurrentUpdatesLoseNoChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "aws.json")
	var group sync.WaitGroup
	for range 20 {
		// Each goroutine opens its own store, as separate processes would.
		group.Go(func() {
			err := store.Open(path).Update(context.Background(), func(tx *store.Transaction) error {
				tx.LastPublicAddress++
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	require.NoError(t, store.Open(path).Update(t.Context(), func(tx *store.Transaction) error {
		require.Equal(t, 20, tx.LastPublicAddress)
		return nil
	}))
}

func TestWaitingForTheStoreCanBeCanceled(t *testing.T) {
	s := store.Open(filepath.Join(t.TempDir(), "aws.json"))
	require.NoError(t, s.Update(t.Context(), func(*store.Transaction) error {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, s.Update(ctx, func(*store.Transaction) error { return nil }), context.Canceled)
		return nil
	}))
}

func TestStoreIsReadableByItsOwnerOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "aws.json")
	require.NoError(t, store.Open(path).Update(t.Context(), func(*store.Transaction) error { return nil }))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestCorruptStoreIsNotTreatedAsEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "aws.json")
	require.NoError(t, os.WriteFile(path, []byte("{"), 0o600))
	require.ErrorContains(t, store.Open(path).Update(t.Context(), func(*store.Transaction) error { return nil }), path)
}
