package certificates

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"immutable-infra/agent/internal/bucket"
)

// Backup brings acme.json to the backup bucket. Only the server that has the VIP may:
// the others have a copy of what that one had.
type Backup struct {
	Store Store
	// Key is the object's: see Key.
	Key string
	// File is the path of acme.json.
	File string
	Log  *slog.Logger
}

// Run uploads acme.json if the bucket has another one. As long as there is no
// certificate in it, there is nothing to do. One that is not as it should be, as it
// is for a moment while Traefik writes it, is an error, and nothing is uploaded.
func (b Backup) Run(ctx context.Context) error {
	text, err := os.ReadFile(b.File)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(text) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("back up the certificates: %w", err)
	}
	storage, err := Parse(text)
	if err == nil && len(storage.Certificates()) == 0 {
		return nil
	}
	if err == nil {
		err = storage.sound()
	}
	if err != nil {
		return fmt.Errorf("back up the certificates: %s is left as it is in the bucket: %w", b.File, err)
	}
	stored, err := fetch(ctx, b.Store, b.Key)
	switch {
	case err == nil && bytes.Equal(stored, text):
		return nil
	case err != nil && !errors.Is(err, bucket.ErrNotFound):
		return fmt.Errorf("back up the certificates: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if err := b.Store.Put(ctx, b.Key, text, "application/json"); err != nil {
		return fmt.Errorf("back up the certificates: %w", bucket.WithAdvice(err))
	}
	var names []string
	for _, certificate := range storage.Certificates() {
		names = append(names, certificate.Leaf.DNSNames...)
	}
	b.Log.Info("backed up the certificates", "names", strings.Join(names, ","), "to", b.Key)
	return nil
}
