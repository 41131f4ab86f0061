package certificates

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"immutable-infra/agent/internal/atomicfile"
	"immutable-infra/agent/internal/bucket"
)

// Restore brings acme.json from the backup bucket, where another server left it.
// Traefik reads it when it starts, and only then.
type Restore struct {
	Store Store
	// Key is the object's: see Key.
	Key string
	// Names are those of the site.
	Names []string
	// File is the path of acme.json. Its directory's owner is to own it.
	File string
	// Record is the path of the file that keeps what was found.
	Record string
}

// Result is what a restore found.
type Result struct {
	// Found is whether there was a backup at all. Without one, this is the first
	// server of the stack, or the first with this certificate authority.
	Found bool
	// Changed is whether acme.json is another one now.
	Changed bool
	// Storage is what acme.json holds now.
	Storage Storage
	// Missing are the names for which there is no certificate.
	Missing []string
}

// Run brings the certificates that are valid for MinimumValidity at least: others
// would keep Traefik from asking for new ones. That there is no backup, or none of
// some names, is no error: they are asked for when the VIP arrives. A backup that
// cannot be read is one, since what it holds may be all that there is.
func (r Restore) Run(ctx context.Context) (Result, error) {
	local, err := os.ReadFile(r.File)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Result{}, fmt.Errorf("restore the certificates: %w", err)
	}
	result := Result{Found: true}
	stored, err := fetch(ctx, r.Store, r.Key)
	switch {
	case errors.Is(err, bucket.ErrNotFound):
		result.Found = false
		// What this server may have by itself stays.
		if result.Storage, err = ReadFile(r.File); err != nil {
			return Result{}, fmt.Errorf("restore the certificates: %w", err)
		}
	case err != nil:
		return Result{}, fmt.Errorf("restore the certificates: the backup cannot be read, which is not as if there were none: %w", err)
	default:
		backup, err := Parse(stored)
		if err == nil {
			err = backup.sound()
		}
		if err != nil {
			return Result{}, fmt.Errorf("restore the certificates: %s in the backup bucket is of no use: %w: "+
				"bring back an earlier version of it, or delete it to have new certificates issued", r.Key, err)
		}
		kept, text, err := backup.until(time.Now().Add(MinimumValidity))
		if err != nil {
			return Result{}, fmt.Errorf("restore the certificates: %w", err)
		}
		if len(kept.Certificates()) == len(backup.Certificates()) {
			text = stored
		}
		result.Storage, result.Changed = kept, !bytes.Equal(text, local)
		if result.Changed {
			if err := atomicfile.Write(r.File, text, 0o600); err != nil {
				return Result{}, fmt.Errorf("restore the certificates: %w", err)
			}
		}
	}
	result.Missing = result.Storage.Missing(r.Names)
	if err := (Record{Missing: result.Missing}).write(r.Record); err != nil {
		return Result{}, fmt.Errorf("restore the certificates: %w", err)
	}
	return result, nil
}

// String is a line about what was found.
func (r Result) String() string {
	var parts []string
	if !r.Found {
		parts = append(parts, "no certificates were backed up yet")
	}
	for _, certificate := range r.Storage.Certificates() {
		parts = append(parts, fmt.Sprintf("%s: valid until %s", strings.Join(certificate.Leaf.DNSNames, ", "), certificate.Leaf.NotAfter.UTC().Format(time.RFC3339)))
	}
	if len(r.Missing) > 0 {
		parts = append(parts, strings.Join(r.Missing, ", ")+": asked for when the VIP arrives")
	}
	return strings.Join(parts, "; ")
}
