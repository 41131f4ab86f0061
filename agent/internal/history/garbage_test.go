package history

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/bucket/buckettest"
)

func TestOldManifestsAreThinnedOut(t *testing.T) {
	newest := time.Date(2026, 11, 26, 10, 30, 0, 0, time.UTC)
	var manifests []manifestEntry
	for minute := range uint64(3 * 24 * 60) {
		manifests = append(manifests, manifestEntry{1, 1_000_000 - minute, newest.Add(-time.Duration(minute) * time.Minute)})
	}
	kept, rest := thin(manifests, 24*time.Hour)
	require.Len(t, rest, len(manifests)-len(kept))
	// The last hour, and then the last minute of each clock hour: 8:59 to 10:59 of the day before.
	require.Equal(t, manifests[:61], kept[:61])
	require.Equal(t, newest.Add(-91*time.Minute), kept[61].modified)
	require.Equal(t, newest.Add(-23*time.Hour-31*time.Minute), kept[83].modified)
	require.Len(t, kept, 84)

	// A server that was away for a week.
	for i := range manifests {
		manifests[i].modified = newest.AddDate(0, 0, -7*i)
	}
	kept, _ = thin(manifests, 24*time.Hour)
	require.Equal(t, manifests[:2], kept, "the newest two are always kept")

	// A manifest of an earlier epoch was written after the newest one.
	manifests[1].modified = newest.Add(time.Hour)
	kept, _ = thin(manifests[:2], 24*time.Hour)
	require.Equal(t, manifests[:2], kept)
}

// requireWhole checks that all objects that any manifest names exist.
func (w *world) requireWhole() {
	w.t.Helper()
	listing, err := w.store.List(w.t.Context(), root)
	require.NoError(w.t, err)
	sizes := sizesIn(listing)
	for _, entry := range manifestsIn(listing, highestEpoch(listing)) {
		manifest, err := fetchManifest(w.t.Context(), w.store, entry.epoch, entry.sequence)
		require.NoError(w.t, err)
		catalogue, err := fetchCatalogue(w.t.Context(), w.store, manifest.Catalogue)
		require.NoError(w.t, err)
		require.Empty(w.t, missing(sizes, append(manifest.objects(), catalogue.objects()...)), manifest)
	}
}

// Three days of a server that is replaced each day, with a run every 20 minutes.
func TestSizeOfTheBucketIsBounded(t *testing.T) {
	w := newWorld(t)
	s := w.restored("i-0")
	w.move("i-0")
	const runs, pause = 3 * 72, 20 * time.Minute
	most := 0
	for i := range runs {
		if i%72 == 71 {
			next := w.server(fmt.Sprintf("i-%d", i))
			next.restore()
			w.move(next.Server)
			s = next
		}
		s.segment(i/6, 500)
		if i%6 == 0 && i >= 18 {
			s.truncate(i/6-2, i)
			if old := filepath.Join(s.Dir, fmt.Sprintf("01ARZ3NDEKTSV4RRFFQ69G%04d", i-36)); i >= 54 {
				// Prometheus' own retention.
				require.NoError(t, os.RemoveAll(old))
			}
		}
		w.age("history/", pause)
		if i%12 == 0 {
			s.collectGarbageNext()
		}
		s.backup()
		if i%12 == 0 {
			w.requireWhole()
			require.Less(t, len(w.Keys(t, manifestRoot)), 4+24+12+1)
			if i > 108 {
				most = max(most, len(w.Keys(t, root)))
			}
		}
	}
	// 24 hours add 72 parts and 12 checkpoints, blocks and catalogues; about as many are kept for the current
	// data.
	require.Less(t, most, 400)
	require.Less(t, len(w.Keys(t, epochRoot)), 4)
	requireSame(t, s.history(), w.restored("i-last").history())
}

func TestBackupOfThePreviousServerStaysUsable(t *testing.T) {
	w := newWorld(t)
	old := w.first("i-old")
	want := old.history()
	w.age("history/", 23*time.Hour)
	s := w.restored("i-new")
	w.move("i-new")
	s.segment(1, 10)
	require.NoError(t, os.RemoveAll(filepath.Join(s.Dir, "01ARZ3NDEKTSV4RRFFQ69G0001")))
	s.collectGarbageNext()
	s.backup()
	require.NoError(t, os.RemoveAll(w.Path(manifestRoot+"00000002")))
	requireSame(t, want, w.restored("i-third").history())
}

func TestUnnamedObjectsAreDeletedAfterTheRetention(t *testing.T) {
	w := newWorld(t)
	s := w.first("i-old")
	for key, age := range map[string]time.Duration{
		walRoot + "00000001/00000000/000000000000-000000000001": 25 * time.Hour,
		walRoot + "00000001/00000000/000000000000-000000000002": 23 * time.Hour,
		blockRoot + "01ARZ3NDEKTSV4RRFFQ69G0099/index":          25 * time.Hour,
		catalogueRoot + strings.Repeat("0", 64) + ".json":       25 * time.Hour,
		"certificates/0123456789abcdef/acme.json":               999 * time.Hour, "history.json": 999 * time.Hour,
	} {
		require.NoError(t, w.store.Put(t.Context(), key, []byte("x"), "text/plain"))
		w.age(key, age)
	}
	w.age("history/epochs", 999*time.Hour)
	w.age(walRoot+"00000001/00000000/000000000000-000000040000", 999*time.Hour)
	w.age(blockRoot+"01ARZ3NDEKTSV4RRFFQ69G0001", 999*time.Hour)
	s.collectGarbageNext()
	s.backup()
	require.Equal(t, []string{
		walRoot + "00000001/00000000/000000000000-000000000002", walRoot + "00000001/00000000/000000000000-000000040000",
	}, w.Keys(t, walRoot))
	require.Len(t, w.Keys(t, blockRoot), 4)
	require.Len(t, w.Keys(t, catalogueRoot), 1)
	require.Len(t, w.Keys(t, "certificates/"), 1)
	require.Len(t, w.Keys(t, "history.json"), 1)
	require.Len(t, w.Keys(t, epochRoot), 1)
}

func TestReplacedServerDeletesNothing(t *testing.T) {
	w := newWorld(t)
	old := w.first("i-old")
	old.backup()
	successor := w.restored("i-new")
	require.NoError(t,
		w.store.Put(t.Context(), walRoot+"00000001/00000009/000000000000-000000000001", []byte("x"), "text/plain"))
	w.age(walRoot+"00000001/00000009", 99*time.Hour)
	for _, moment := range []string{manifestRoot + "00000001/00000003", manifestRoot + "00000001/00000001"} {
		// While the manifest is uploaded, and while all kept manifests are read.
		method := http.MethodPut
		if strings.HasSuffix(moment, "1") {
			method = http.MethodGet
		}
		before := old.State + ".before"
		text, err := os.ReadFile(old.State)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(before, text, 0o644))
		old.collectGarbageNext()
		w.once(method, moment, func(http.ResponseWriter, *http.Request) bool {
			w.move("i-new")
			successor.segment(1, 10)
			successor.backup()
			return false
		})
		w.TakeRequests()
		old.backup()
		requests, _ := w.TakeRequests()
		for _, request := range requests {
			require.NotContains(t, request, "DELETE")
		}
		// Restore the state before the incident.
		w.Intercept(nil)
		require.NoError(t, os.Rename(before, old.State))
		for _, root := range []string{epochRoot, manifestRoot, walRoot} {
			require.NoError(t, os.RemoveAll(w.Path(root+"00000002")))
		}
		require.NoError(t, os.RemoveAll(w.Path(epochKey(2))))
		require.NoError(t, os.RemoveAll(w.Path(manifestKey(1, 3))))
		successor.restore()
		w.move("i-old")
	}
	// Without an incident, garbage is deleted.
	old.collectGarbageNext()
	old.backup()
	require.Empty(t, w.Keys(t, walRoot+"00000001/00000009"))
}

// Without the claims, the old server cannot notice that it was replaced.
func TestServerWithoutTheNewestManifestDeletesNothing(t *testing.T) {
	w, old, successor := succeeded(t)
	require.NoError(t, os.RemoveAll(w.Path(epochKey(2))))
	const key = walRoot + "00000001/00000009/000000000000-000000000001"
	require.NoError(t, w.store.Put(t.Context(), key, []byte("x"), "text/plain"))
	w.age(key, 99*time.Hour)
	old.collectGarbageNext()
	old.backup()
	require.NotEmpty(t, w.Keys(t, key))
	requireSame(t, successor.history(), w.restored("i-third").history())
}

func TestObjectsOfUnknownManifestAreNotDeleted(t *testing.T) {
	for name, damage := range map[string]func(w *world){
		"half a manifest":     func(w *world) { require.NoError(w.t, os.Truncate(w.Path(manifestKey(1, 1)), 100)) },
		"a missing catalogue": func(w *world) { require.NoError(w.t, os.RemoveAll(w.Path(catalogueRoot))) },
		"a newer format": func(w *world) {
			require.NoError(w.t, os.WriteFile(w.Path(manifestKey(1, 1)), []byte(`{"version":2}`), 0o644))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.first("i-old")
			s.block(2)
			s.backup()
			const key = walRoot + "00000001/00000009/000000000000-000000000001"
			require.NoError(t, w.store.Put(t.Context(), key, []byte("x"), "text/plain"))
			w.age(walRoot+"00000001/00000009", 99*time.Hour)
			damage(w)
			s.collectGarbageNext()
			s.backup()
			require.NotEmpty(t, w.Keys(t, key))
		})
	}
}

func TestFailedGarbageCollectionIsAnErrorAfterTheBackup(t *testing.T) {
	w := newWorld(t)
	s := w.first("i-old")
	s.segment(0, 10)
	require.NoError(t,
		w.store.Put(t.Context(), walRoot+"00000001/00000009/000000000000-000000000001", []byte("x"), "text/plain"))
	w.age(walRoot+"00000001/00000009", 99*time.Hour)
	s.collectGarbageNext()
	w.Intercept(func(writer http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodDelete {
			return false
		}
		buckettest.Refuse(writer, http.StatusForbidden, "AccessDenied")
		return true
	})
	err := s.fails()
	require.ErrorContains(t, err,
		"cannot back up the history: cannot collect garbage: cannot delete old objects: delete "+
			"s3://backup/history/wal/00000001/00000009/000000000000-000000000001: access denied")
	require.ErrorContains(t, err, "check what this server's role may do")
	requireSame(t, s.history(), w.restored("i-new").history())
	w.Intercept(nil)
	s.backup()
	require.Empty(t, w.Keys(t, walRoot+"00000001/00000009"), "the next run retries")
}

func TestHandoverDoesNotWaitForGarbageCollection(t *testing.T) {
	w := newWorld(t)
	s := w.first("i-old")
	s.collectGarbageNext()
	w.TakeRequests()
	_, err := s.Last(t.Context())
	require.NoError(t, err)
	requests, _ := w.TakeRequests()
	require.Len(t, requests, 4)
}
