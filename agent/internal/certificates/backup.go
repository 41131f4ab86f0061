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
	"immutable-infra/server/atomicfile"
)

// Backup uploads acme.json to the backup bucket. Only the server that holds the VIP may do this: the others have
// an outdated copy.
type Backup struct {
	Store Store
	Key   string
	File  string
	// Sent is the path of a file that exists once this server has uploaded acme.json.
	Sent string
	Log  *slog.Logger
}

// Run uploads acme.json if it contains a certificate and differs from the bucket's copy. An incomplete file, for
// example one that Traefik is still writing, is an error, and nothing is uploaded.
func (b Backup) Run(ctx context.Context) error {
	_, err := b.Watch(ctx)
	return err
}

// Watch is like Run, and also reports whether this server's earlier upload was missing from the bucket.
func (b Backup) Watch(ctx context.Context) (missing bool, err error) {
	text, err := atomicfile.Read(b.File, sizeLimit)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(text) == 0 {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot back up the certificates: %w", err)
	}
	storage, err := Parse(text)
	if err == nil && len(storage.Certificates()) == 0 {
		return false, nil
	}
	if err == nil {
		err = storage.validate()
	}
	if err != nil {
		return false, fmt.Errorf("cannot back up the certificates: keeping the backup, because %s is unusable: %w", b.File,
			err)
	}
	stored, err := fetch(ctx, b.Store, b.Key)
	if errors.Is(err, bucket.ErrNotFound) && b.Sent != "" {
		_, statErr := os.Lstat(b.Sent)
		missing = statErr == nil
	}
	switch {
	case err == nil && bytes.Equal(stored, text):
		return false, b.recordSent()
	case err != nil && !errors.Is(err, bucket.ErrNotFound) && !errors.Is(err, bucket.ErrUnreadable):
		return false, fmt.Errorf("cannot back up the certificates: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if err := b.Store.Put(ctx, b.Key, text, "application/json"); err != nil {
		return false, fmt.Errorf("cannot back up the certificates: %w", bucket.WithAdvice(err))
	}
	if missing {
		b.Log.Warn("the backup of the certificates was missing from the bucket, although this server did not delete it",
			"key", b.Key)
	}
	var names []string
	for _, certificate := range storage.Certificates() {
		names = append(names, certificate.Leaf.DNSNames...)
	}
	b.Log.Info("backed up the certificates", "names", strings.Join(names, ","), "to", b.Key)
	return missing, b.recordSent()
}

// recordSent records that the bucket has the certificates.
func (b Backup) recordSent() error {
	if b.Sent == "" {
		return nil
	}
	if _, err := os.Lstat(b.Sent); err == nil {
		return nil
	}
	return atomicfile.Write(b.Sent, nil, 0o644)
}
