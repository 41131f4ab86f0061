package history

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/bucket/buckettest"
	"immutable-infra/agent/internal/disktest"
)

func TestBackupUploadsOnlyNewBytes(t *testing.T) {
	w := newWorld(t)
	s := w.restored("i-old")
	w.move("i-old")
	const hours, minutes, size = 6, 60, 44_000
	var perHour [hours]int64
	for hour := range hours {
		for minute := range minutes {
			if minute == 0 && hour > 0 && hour%2 == 0 {
				s.truncate(hour/2-1, hour)
			}
			s.segment(hour/2, size)
			s.change(func(state *state) { state.Runs = 0 })
			w.TakeRequests()
			report := s.backup()
			_, sent := w.TakeRequests()
			require.Equal(t, report.Bytes, sent, "the report contains the number of uploaded bytes")
			perHour[hour] += sent
		}
		require.Less(t, perHour[hour]/minutes, int64(50_000))
	}
	require.InEpsilon(t, float64(perHour[0]), float64(perHour[hours-1]), 0.1)
	requireSame(t, s.history(), w.restored("i-new").history())
}

// Prometheus keeps the segments of many hours, each with a part for every minute.
func TestManifestDoesNotGrowWithKeptSegments(t *testing.T) {
	w := newWorld(t)
	s := w.restored("i-old")
	w.move("i-old")
	const segments, minutes = 4, 20
	var sizes []int
	for segment := range segments {
		var report Report
		for range minutes {
			s.segment(segment, 100)
			report = s.backup()
		}
		text, err := os.ReadFile(w.Path(manifestKey(report.Epoch, report.Sequence)))
		require.NoError(t, err)
		sizes = append(sizes, len(text))
	}
	require.InDelta(t, sizes[0], sizes[segments-1], 10)
	requireSame(t, s.history(), w.restored("i-new").history())

	// Without a segment that the catalogue names, a backup is useless.
	remove(t, w.Path(walRoot+"00000001/00000001/000000000000-000000000100"))
	require.Equal(t, uint64(minutes), w.server("i-third").restore().Sequence, "the last one without segment 1")
}

func TestBackupWithoutNewDataUploadsManifestOnly(t *testing.T) {
	w := newWorld(t)
	s := w.first("i-old")
	w.TakeRequests()
	report := s.backup()
	require.Equal(t, 1, report.Objects)
	require.Less(t, report.Bytes, int64(1_000))
	requests, _ := w.TakeRequests()
	require.Equal(t, []string{
		"GET history/epochs/00000001.json", "GET history/epochs/00000002.json",
		"GET history/manifests/00000001/00000001.json",
		"PUT history/manifests/00000001/00000002.json",
	}, requests)
}

func TestInterruptedUploadContinues(t *testing.T) {
	w := newWorld(t)
	s := w.restored("i-old")
	w.move("i-old")
	s.segment(0, 2*partLimit+100)
	s.block(1)
	const second = "history/wal/00000001/00000000/000016777216-000033554432"
	w.once(http.MethodPut, second, cut)
	require.ErrorContains(t, s.fails(), second)
	w.Intercept(nil)
	w.TakeRequests()
	s.backup()
	requests, _ := w.TakeRequests()
	require.NotContains(t, puts(requests), "history/wal/00000001/00000000/000000000000-000016777216")
	require.Contains(t, puts(requests), second)

	// A block continues as a whole, with its files in order.
	before := s.history()
	s.segment(0, 50)
	ulid := s.block(2)
	w.once(http.MethodPut, blockRoot+ulid+"/tombstones", cut)
	require.ErrorContains(t, s.fails(), "tombstones")
	w.TakeRequests()
	require.NotContains(t, w.Keys(t, blockRoot+ulid), blockRoot+ulid+"/meta.json", "the block does not count as complete")
	requireSame(t, before, w.restored("i-new").history())
	s.backup()
	requests, _ = w.TakeRequests()
	for _, key := range puts(requests) {
		require.False(t, strings.HasPrefix(key, walRoot), "%s was uploaded before", key)
	}
	requireSame(t, s.history(), w.restored("i-third").history())
}

func TestKilledBackupLosesNothing(t *testing.T) {
	w := newWorld(t)
	s := w.first("i-old")
	before, err := os.ReadFile(s.State)
	require.NoError(t, err)
	s.segment(0, 100)
	s.backup()
	// The upload succeeded, but its process was killed before it knew.
	require.NoError(t, os.WriteFile(s.State, before, 0o644))
	s.change(func(state *state) { state.Sequence++ })
	s.segment(0, 100)
	require.Equal(t, uint64(3), s.backup().Sequence, "no two manifests have the same key")
	requireSame(t, s.history(), w.restored("i-new").history())
}

func TestSamplesMovedDuringBackupAreBackedUp(t *testing.T) {
	for name, prefix := range map[string]string{
		"while segments are uploaded": walRoot, "while blocks are uploaded": blockRoot, "before the manifest": manifestRoot,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.first("i-old")
			s.segment(0, 100)
			s.segment(1, 200)
			s.segment(2, 300)
			s.block(7)
			before := s.history()
			w.once(http.MethodPut, prefix, func(http.ResponseWriter, *http.Request) bool {
				s.truncate(1, 8)
				s.segment(2, 400)
				s.segment(3, 500)
				return false
			})
			s.backup()
			restored := w.restored("i-new").history()
			require.NotContains(t, restored, "wal/00000002.tmp")
			// Each sample is in the segments or in the block, and each older one in one of the two.
			if _, moved := restored["wal/checkpoint.00000001/00000000"]; moved {
				require.Contains(t, restored, "01ARZ3NDEKTSV4RRFFQ69G0008/meta.json")
				require.Contains(t, restored, "wal/00000002")
			} else {
				for path, text := range before {
					require.Contains(t, restored[path], text, path)
				}
			}
			s.backup()
			requireSame(t, s.history(), w.restored("i-third").history())
		})
	}
}

func TestBlockRemovedDuringUploadIsOmitted(t *testing.T) {
	w := newWorld(t)
	s := w.first("i-old")
	ulid := s.block(2)
	w.once(http.MethodPut, blockRoot+ulid, func(http.ResponseWriter, *http.Request) bool {
		require.NoError(t, os.RemoveAll(filepath.Join(s.Dir, ulid)))
		return false
	})
	s.backup()
	requireSame(t, s.history(), w.restored("i-new").history())
}

func TestUnfinishedFilesAreNotUploaded(t *testing.T) {
	w := newWorld(t)
	s := w.first("i-old")
	want := s.history()
	for _, path := range []string{
		"wal/checkpoint.00000003.tmp/00000000", "01ARZ3NDEKTSV4RRFFQ69G0009/chunks/000001",
		"01ARZ3NDEKTSV4RRFFQ69G0008.tmp-for-creation/meta.json",
		"01ARZ3NDEKTSV4RRFFQ69G0007.tmp-for-deletion/meta.json", "chunks_head/000001", "lock", "queries.active",
	} {
		s.write(path, 10)
	}
	s.backup()
	requireSame(t, want, w.restored("i-new").history())
}

func TestMissingDataDirectoryIsNotBackedUpAsEmpty(t *testing.T) {
	w := newWorld(t)
	s := w.first("i-old")
	want := s.history()
	require.NoError(t, os.RemoveAll(filepath.Join(s.Dir, "wal")))
	require.ErrorContains(t, s.fails(), "cannot upload the write-ahead log in "+s.Dir)
	require.NoError(t, os.Mkdir(filepath.Join(s.Dir, "wal"), 0o755))
	require.ErrorContains(t, s.fails(), "there is no segment of the write-ahead log")
	require.NoError(t, os.RemoveAll(s.Dir))
	require.ErrorContains(t, s.fails(), s.Dir)
	requireSame(t, want, w.restored("i-new").history())
}

func TestGapInSegmentsIsNotBackedUp(t *testing.T) {
	w := newWorld(t)
	s := w.first("i-old")
	want := s.history()
	s.segment(2, 10)
	require.ErrorContains(t, s.fails(), "segment 00000001 of the write-ahead log is missing")
	requireSame(t, want, w.restored("i-new").history())
}

func TestNothingIsBackedUpBeforePrometheusHasRun(t *testing.T) {
	w := newWorld(t)
	s := w.server("i-first")
	w.move("i-first")
	require.Zero(t, s.backup().Objects)
	require.Empty(t, w.Keys(t, root))
}

func TestEmptiedBucketIsFilledAgain(t *testing.T) {
	for name, remove := range map[string]string{
		"all of it":     "",
		"the history":   root,
		"the manifests": manifestRoot,
		"the claims":    epochRoot,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.first("i-old")
			s.segment(0, 100)
			s.segment(1, 100)
			s.truncate(0, 2)
			s.backup()
			for _, key := range w.Keys(t, remove) {
				require.NoError(t, os.Remove(w.Path(key)))
			}
			if remove == "" {
				require.ErrorContains(t, s.fails(), "does not name the server that holds the VIP yet")
				// `agent watch` writes the record, a minute later at the latest.
				w.move("i-old")
			}
			s.segment(0, 50)
			s.backup()
			requireSame(t, s.history(), w.restored("i-new").history())
			require.Contains(t, s.log.String(), "the backup of this server is missing from the bucket")
		})
	}
}

func TestMissingPartOfBackupIsUploadedAgain(t *testing.T) {
	for name, damage := range map[string]func(w *world){
		"a part of a segment": func(w *world) { remove(w.t, w.Path(w.Keys(w.t, walRoot+"00000001/00000001")[0])) },
		"half a part": func(w *world) {
			require.NoError(w.t, os.Truncate(w.Path(w.Keys(w.t, walRoot+"00000001/00000001")[0]), 50))
		},
		"the checkpoint": func(w *world) { remove(w.t, w.Path(w.Keys(w.t, chkptRoot)[0])) },
		"an index":       func(w *world) { remove(w.t, w.Path(blockRoot+"01ARZ3NDEKTSV4RRFFQ69G0001/index")) },
		"half an index": func(w *world) {
			require.NoError(w.t, os.Truncate(w.Path(blockRoot+"01ARZ3NDEKTSV4RRFFQ69G0001/index"), 100))
		},
		"the catalogues": func(w *world) { require.NoError(w.t, os.RemoveAll(w.Path(catalogueRoot))) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.first("i-old")
			s.segment(1, 100)
			s.truncate(0, 2)
			s.backup()
			damage(w)
			s.collectGarbageNext()
			s.backup()
			require.Contains(t, s.log.String(), "a part of the backup is missing from the bucket")
			restored := w.server("i-new")
			require.Zero(t, restored.restore().Fallbacks)
			requireSame(t, s.history(), restored.history())
		})
	}
}

// Anything may have happened to the bucket since the server was created.
func TestFirstBackupOfSuccessorUploadsMissingObjects(t *testing.T) {
	w := newWorld(t)
	w.first("i-old")
	s := w.restored("i-new")
	w.move("i-new")
	remove(t, w.Path(w.Keys(t, walRoot)[0]))
	remove(t, w.Path(blockRoot+"01ARZ3NDEKTSV4RRFFQ69G0001/index"))
	s.backup()
	third := w.server("i-third")
	require.Zero(t, third.restore().Fallbacks)
	requireSame(t, s.history(), third.history())
}

func remove(t *testing.T, path string) {
	t.Helper()
	require.NoError(t, os.Remove(path))
}

func TestErrorOfDeniedBucketNamesTheCause(t *testing.T) {
	for name, method := range map[string]string{"all": "", "writing": http.MethodPut, "reading": http.MethodGet} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.first("i-old")
			s.segment(0, 100)
			w.Intercept(func(writer http.ResponseWriter, r *http.Request) bool {
				if method == "" || r.Method == method {
					buckettest.Refuse(writer, http.StatusForbidden, "AccessDenied")
					return true
				}
				return false
			})
			require.ErrorContains(t, s.fails(), "check what this server's role may do in the backup bucket")
			w.Intercept(nil)
			s.backup()
			require.Len(t, w.Keys(t, epochRoot), 1, "a denied object does not count as lost")
			requireSame(t, s.history(), w.restored("i-new").history())
		})
	}
}

func TestBackupContinuesAfterFullDisk(t *testing.T) {
	w := newWorld(t)
	s := w.restored("i-old")
	w.move("i-old")
	disk := disktest.Small(t)
	text, err := os.ReadFile(s.State)
	require.NoError(t, err)
	s.State = filepath.Join(disk, "history.json")
	require.NoError(t, os.WriteFile(s.State, text, 0o644))
	s.segment(0, 100)
	s.backup()
	want := s.history()
	filler := filepath.Join(disk, "filler")
	require.Error(t, os.WriteFile(filler, make([]byte, 2<<20), 0o644))
	s.segment(0, 100)
	require.ErrorContains(t, s.fails(), "no space left on device")
	requireSame(t, want, w.restored("i-new").history())
	remove(t, filler)
	s.backup()
	requireSame(t, s.history(), w.restored("i-third").history())
}

func TestFailuresAreCountedAndTheLastSuccessIsKept(t *testing.T) {
	w := newWorld(t)
	s := w.server("i-new")
	tally, err := s.Note(t.Context(), true, false)
	require.NoError(t, err)
	require.Equal(t, Tally{Failures: 1}, tally)
	s.restore()
	tally, err = s.Note(t.Context(), false, false)
	require.NoError(t, err)
	require.Equal(t, uint64(1), tally.Failures)
	success := tally.LastSuccess
	require.False(t, success.IsZero())
	s.restore()
	tally, err = s.Note(t.Context(), true, false)
	require.NoError(t, err)
	require.Equal(t, Tally{Failures: 2, LastSuccess: success}, tally, "a restore keeps both")
}
