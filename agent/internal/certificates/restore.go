package certificates

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
	"unicode"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/server/atomicfile"
)

// Restore downloads acme.json from the backup bucket, where another server uploaded it. Traefik
// reads it only when it starts.
type Restore struct {
	Store Store
	Key   string
	Names []string
	// Roots verify certificates; nil accepts any.
	Roots *x509.CertPool
	// File is the path of acme.json. The owner of its directory becomes its owner.
	File string
	// Record is the path of the file for the result.
	Record string
}

type Result struct {
	// Found reports whether a backup existed. Without one, this is the first server of the stack,
	// or the first with this certificate authority.
	Found bool
	// Changed reports whether acme.json was replaced.
	Changed bool
	// Storage is the new content of acme.json.
	Storage Storage
	// Unusable is why the backup, or a part of it, is unusable; "" if all of it is usable.
	Unusable string
	// Missing are the names without a certificate.
	Missing []string
}

// Run restores the certificates of the site's names that are valid for at least MinimumValidity: others would keep
// Traefik from requesting new ones. A missing backup, or one without some of the names, is not an error: Traefik
// requests certificates when the VIP arrives. Nor is an unusable backup, whatever the previous servers wrote;
// Result.Unusable describes it. A bucket that does not respond is an error, since it may hold all certificates.
func (r Restore) Run(ctx context.Context) (Result, error) {
	result, err := r.run(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("cannot restore the certificates: %w", err)
	}
	return result, nil
}

func (r Restore) run(ctx context.Context) (Result, error) {
	local, err := atomicfile.Read(r.File, sizeLimit)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Result{}, err
	}
	result := Result{Found: true}
	backup, stored, err := r.fetch(ctx)
	switch {
	case errors.Is(err, bucket.ErrNotFound), errors.Is(err, errUnusable):
		result.Found = false
		if errors.Is(err, errUnusable) {
			result.Unusable = err.Error()
		}
		// Keep this server's own certificates.
		if result.Storage, err = ReadFile(r.File); err != nil {
			return Result{}, err
		}
	case err != nil:
		return Result{}, fmt.Errorf("the backup is unreadable; refusing to treat it as missing: %w", err)
	default:
		end := time.Now().Add(MinimumValidity)
		kept, text, err := backup.filter(func(certificate Certificate) bool {
			switch {
			case !slices.ContainsFunc(r.Names, func(name string) bool { return certificate.Leaf.VerifyHostname(name) == nil }):
				return false
			case !certificate.trusted(r.Roots):
				result.Unusable = "one of the certificates is not from an authority that browsers trust"
				return false
			default:
				return !certificate.Leaf.NotAfter.Before(end)
			}
		})
		if err != nil {
			return Result{}, err
		}
		if len(kept.Certificates()) == len(backup.Certificates()) {
			text = stored
		}
		result.Storage, result.Changed = kept, !bytes.Equal(text, local)
		if result.Changed {
			if err := atomicfile.Write(r.File, text, 0o600); err != nil {
				return Result{}, err
			}
		}
	}
	result.Missing = result.Storage.Missing(r.Names)
	return result, (Record{Missing: result.Missing}).write(r.Record)
}

// errUnusable marks a backup that exists but is unusable.
var errUnusable = errors.New("is unusable")

// fetch reads the backup. Its errors are those of the store, and errUnusable.
func (r Restore) fetch(ctx context.Context) (Storage, []byte, error) {
	text, err := fetch(ctx, r.Store, r.Key)
	if errors.Is(err, bucket.ErrUnreadable) {
		return Storage{}, nil, fmt.Errorf("%s in the backup bucket %w: %w", r.Key, errUnusable, err)
	}
	if err != nil {
		return Storage{}, nil, err
	}
	backup, err := Parse(text)
	if err == nil {
		err = backup.validate()
	}
	if err != nil {
		return Storage{}, nil, fmt.Errorf("%s in the backup bucket %w: %w", r.Key, errUnusable, err)
	}
	return backup, text, nil
}

func (r Result) String() string {
	var parts []string
	if r.Unusable != "" {
		parts = append(parts,
			"CERTIFICATES IN THE BACKUP BUCKET ARE UNUSABLE: "+r.Unusable+"; earlier versions stay in the bucket for 30 days")
	} else if !r.Found {
		parts = append(parts, "no certificates were backed up yet")
	}
	for _, certificate := range r.Storage.Certificates() {
		parts = append(parts,
			fmt.Sprintf("%s: valid until %s", strings.Join(certificate.Leaf.DNSNames, ", "),
				certificate.Leaf.NotAfter.UTC().Format(time.RFC3339)))
	}
	if len(r.Missing) > 0 {
		parts = append(parts, strings.Join(r.Missing, ", ")+": requested when the VIP arrives")
	}
	// Names and errors come from the writer of the backup: a line break in the output of an update could be a
	// command to CI.
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, strings.Join(parts, "; "))
}

// Record keeps the result of a restore, to explain later why a name has no certificate.
type Record struct {
	// Missing are the names that the backup bucket had no certificate for.
	Missing []string `json:"missing"`
}

// ReadRecord reads the record. Without the file, nothing was restored, and no name is known to be
// missing.
func ReadRecord(path string) (Record, error) {
	text, err := atomicfile.Read(path, sizeLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, nil
	}
	if err != nil {
		return Record{}, fmt.Errorf("cannot read what was restored: %w", err)
	}
	var record Record
	if err := json.Unmarshal(text, &record); err != nil {
		return Record{}, fmt.Errorf("cannot read what was restored: %s: %w", path, err)
	}
	return record, nil
}

func (r Record) write(path string) error {
	text, err := json.Marshal(r)
	if err == nil {
		err = atomicfile.Write(path, append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("cannot record what was restored: %w", err)
	}
	return nil
}
