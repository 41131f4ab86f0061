package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"immutable-infra/agent/internal/bucket"
)

type manifestEntry struct {
	epoch, sequence uint64
	modified        time.Time
}

// Bounds of one garbage collection, because anyone with write access can fill the bucket.
const (
	maxKept    = 200
	maxDeleted = 10_000
)

// manifestsIn returns the manifests in a listing, newest first, without those of an epoch above highest.
func manifestsIn(listing bucket.Listing, highest uint64) []manifestEntry {
	var manifests []manifestEntry
	for _, entry := range listing.Objects {
		if epoch, sequence, ok := manifestOf(entry.Key); ok && epoch <= highest {
			manifests = append(manifests, manifestEntry{epoch, sequence, entry.Modified})
		}
	}
	slices.SortFunc(manifests, func(a, b manifestEntry) int {
		return cmp.Or(cmp.Compare(b.epoch, a.epoch), cmp.Compare(b.sequence, a.sequence))
	})
	return manifests
}

func sizesIn(listing bucket.Listing) map[string]int64 {
	sizes := make(map[string]int64, len(listing.Objects))
	for _, entry := range listing.Objects {
		sizes[entry.Key] = entry.Size
	}
	return sizes
}

// missing returns the key of the first object that does not exist with its size, or "".
func missing(sizes map[string]int64, objects []object) string {
	for _, object := range objects {
		if size, exists := sizes[object.key]; !exists || size != object.size {
			return object.key
		}
	}
	return ""
}

// verify lists the bucket, and forgets recorded uploads that do not exist.
func (u *upload) verify(ctx context.Context) (bucket.Listing, error) {
	listing, err := list(ctx, u.Store, root)
	if err != nil {
		return bucket.Listing{}, err
	}
	if listing.Cut {
		u.Log.Warn("the bucket holds more objects than a listing returns: only collecting garbage",
			"objects", len(listing.Objects))
		return listing, nil
	}
	sizes := sizesIn(listing)
	for path, file := range u.state.Files {
		if key := missing(sizes, file.objects()); key != "" {
			u.lost(key)
			delete(u.state.Files, path)
		}
	}
	u.state.Blocks = slices.DeleteFunc(u.state.Blocks, func(block Block) bool {
		key := missing(sizes, block.objects())
		if key != "" {
			u.lost(key)
		}
		return key != ""
	})
	if _, exists := sizes[catalogueKey(u.state.Catalogue)]; !exists && u.state.Catalogue != "" {
		u.lost(catalogueKey(u.state.Catalogue))
		u.state.Catalogue = ""
	}
	return listing, nil
}

func (u *upload) lost(key string) {
	u.state.Lost++
	u.Log.Warn("a part of the backup is missing from the bucket or has a different size: uploading it again", "key", key)
}

// collectGarbage deletes unneeded objects, after the upload of this run's manifest. If lost is true, it has
// deleted nothing, because objects have to be uploaded again first.
func (u *upload) collectGarbage(ctx context.Context) (lost bool, err error) {
	files, blocks, catalogue := len(u.state.Files), len(u.state.Blocks), u.state.Catalogue
	listing, err := u.verify(ctx)
	if err != nil {
		return false, err
	}
	if files != len(u.state.Files) || blocks != len(u.state.Blocks) || catalogue != u.state.Catalogue {
		return true, nil
	}
	highest, _, err := u.highest(ctx)
	if err != nil {
		return false, err
	}
	listed, err := list(ctx, u.Store, manifestRoot)
	if err != nil {
		return false, err
	}
	manifests := manifestsIn(listed, highest)
	own := slices.IndexFunc(manifests,
		func(m manifestEntry) bool { return m.epoch == u.state.Epoch && m.sequence == u.state.Manifest })
	if own != 0 {
		// Another server is ahead, or this server's manifest is missing. If this server holds the VIP, the other
		// manifest was made up, and the next epoch is above it.
		if err := u.checkHolder(ctx); err != nil {
			return false, nil
		}
		u.Log.Warn("a manifest in the bucket is ahead of this server's: starting another epoch")
		return true, u.claim(ctx)
	}
	kept, rest := thin(manifests, u.Retention)
	named, complete, err := u.named(ctx, kept)
	if err != nil {
		return false, err
	}
	// As late as possible, because the previous steps take time.
	if _, succeeded, err := u.readClaim(ctx, u.state.Epoch+1); err != nil || succeeded {
		return false, err
	}
	var garbage []string
	for _, manifest := range rest {
		garbage = append(garbage, manifestKey(manifest.epoch, manifest.sequence))
	}
	if complete {
		now := manifests[own].modified
		for _, entry := range listing.Objects {
			if epoch, _, manifest := manifestOf(entry.Key); (!manifest || epoch > highest) && !named[entry.Key] &&
				now.Sub(entry.Modified) > u.Retention {
				garbage = append(garbage, entry.Key)
			}
		}
	}
	if err := u.remove(ctx, garbage[:min(len(garbage), maxDeleted)]); err != nil {
		return false, err
	}
	// The next run continues with the rest.
	if len(garbage) <= maxDeleted && !listing.Cut {
		u.state.Runs = 0
	}
	return false, u.save()
}

// thin divides the manifests, newest first, into those to keep and the others. It keeps the newest two, all of the
// hour before the newest, and the last of each hour within the retention, but at most maxKept.
func thin(manifests []manifestEntry, retention time.Duration) (kept, rest []manifestEntry) {
	hours := map[time.Time]bool{}
	for i, manifest := range manifests {
		age := manifests[0].modified.Sub(manifest.modified)
		hour := manifest.modified.Truncate(time.Hour)
		if len(kept) < maxKept && (i < 2 || age <= time.Hour || age <= retention && !hours[hour]) {
			kept = append(kept, manifest)
		} else {
			rest = append(rest, manifest)
		}
		hours[hour] = true
	}
	return kept, rest
}

// named returns the keys that the manifests need. complete is false if a manifest or catalogue could not be
// parsed, so that its keys are unknown.
func (u *upload) named(
	ctx context.Context, manifests []manifestEntry,
) (keys map[string]bool, complete bool, err error) {
	keys, complete = map[string]bool{epochKey(u.state.Epoch): true}, true
	catalogues := map[string]bool{}
	var mutex sync.Mutex
	unusable := func(err error) error {
		if !errors.Is(err, errUnusable) && !errors.Is(err, errNewer) {
			return err
		}
		mutex.Lock()
		defer mutex.Unlock()
		complete = false
		u.Log.Warn("collecting garbage: deleting manifests only", "error", err)
		return nil
	}
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, entry := range manifests {
		group.Go(func() error {
			manifest, err := fetchManifest(reading, u.Store, entry.epoch, entry.sequence)
			if err != nil {
				return unusable(err)
			}
			mutex.Lock()
			defer mutex.Unlock()
			keys[epochKey(manifest.Epoch)] = true
			for _, object := range manifest.objects() {
				keys[object.key] = true
			}
			catalogues[manifest.Catalogue] = true
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, false, err
	}
	// One by one, because each may be large.
	for sum := range catalogues {
		keys[catalogueKey(sum)] = true
		catalogue, err := fetchCatalogue(ctx, u.Store, sum)
		if err != nil {
			if err := unusable(err); err != nil {
				return nil, false, err
			}
			continue
		}
		for _, object := range catalogue.objects() {
			keys[object.key] = true
		}
	}
	return keys, complete, nil
}

func (u *upload) remove(ctx context.Context, keys []string) error {
	group, deleting := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, key := range keys {
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(deleting, requestTimeout)
			defer cancel()
			if err := u.Store.Delete(ctx, key); err != nil {
				return fmt.Errorf("cannot delete old objects: %w", bucket.WithAdvice(err))
			}
			return nil
		})
	}
	return group.Wait()
}
