package history

import (
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/handover"
)

// succeeded returns a server whose successor holds the VIP and has backed up. Both have continued to collect.
func succeeded(t *testing.T) (w *world, old, successor *server) {
	w = newWorld(t)
	old = w.first("i-old")
	successor = w.restored("i-new")
	w.move("i-new")
	old.segment(0, 2_000)
	successor.segment(1, 3_000)
	successor.backup()
	return w, old, successor
}

func TestRevivedServerDoesNotOverwriteTheHistoryOfItsSuccessor(t *testing.T) {
	w, old, successor := succeeded(t)
	w.TakeRequests()
	require.EqualError(t, old.fails(), "cannot back up the history: this server may not back up: i-new has taken over")
	requests, _ := w.TakeRequests()
	require.Empty(t, puts(requests))
	require.Contains(t, old.log.String(), `msg="the epoch of this server is over" epoch=1 successor=i-new`)
	requireSame(t, successor.history(), w.restored("i-third").history())
}

func TestDelayedManifestOfReplacedServerIsIgnored(t *testing.T) {
	w := newWorld(t)
	old := w.first("i-old")
	successor := w.restored("i-new")
	old.segment(0, 2_000)
	// Its run began while it held the VIP, and the upload of the manifest takes long.
	w.once(http.MethodPut, manifestRoot, func(http.ResponseWriter, *http.Request) bool {
		w.move("i-new")
		successor.segment(1, 3_000)
		successor.backup()
		return false
	})
	require.Equal(t, uint64(2), old.backup().Sequence, "the old server does not know of its successor")
	requireSame(t, successor.history(), w.restored("i-third").history())
	require.ErrorContains(t, old.fails(), "i-new has taken over")
}

func TestServerThatLosesTheVIPDuringClaimDoesNotOvertakeItsSuccessor(t *testing.T) {
	w := newWorld(t)
	old, successor := w.restored("i-old"), w.restored("i-new")
	w.move("i-old")
	old.segment(0, 2_000)
	successor.segment(0, 3_000)
	w.once(http.MethodPut, epochRoot, func(http.ResponseWriter, *http.Request) bool {
		w.move("i-new")
		successor.backup()
		return false
	})
	require.ErrorContains(t, old.fails(), "i-new has taken over")
	requireSame(t, successor.history(), w.restored("i-third").history())
}

func TestConcurrentServersDoNotMixTheirHistories(t *testing.T) {
	w, old, successor := succeeded(t)
	var group sync.WaitGroup
	for _, s := range []*server{old, successor} {
		group.Go(func() {
			for range 10 {
				s.segment(1, 500)
				_, _ = s.Run(t.Context())
			}
		})
	}
	group.Wait()
	requireSame(t, successor.history(), w.restored("i-third").history())
}

func TestTwoRunsOfOneServerDoNotInterleave(t *testing.T) {
	w := newWorld(t)
	s := w.first("i-old")
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			s.segment(0, 500)
			_, err := s.Last(t.Context())
			require.NoError(t, err)
		})
	}
	group.Wait()
	state, err := loadState(s.State)
	require.NoError(t, err)
	require.Equal(t, uint64(5), state.Manifest)
	s.backup()
	requireSame(t, s.history(), w.restored("i-new").history())
}

func TestServerThatRegainsTheVIPClaimsNewEpoch(t *testing.T) {
	w, old, _ := succeeded(t)
	w.move("i-old")
	old.segment(1, 100)
	require.Equal(t, uint64(3), old.backup().Epoch)
	requireSame(t, old.history(), w.restored("i-third").history())
}

func TestServerWithoutRestoreDoesNotBackUpOverAHistory(t *testing.T) {
	w := newWorld(t)
	w.first("i-old")
	for name, remove := range map[string]string{
		"":                    "none",
		"with its claim only": manifestRoot,
		"with manifests only": epochRoot,
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.RemoveAll(w.Path(remove)))
			s := newServer(t, w.store, "i-new", t.TempDir())
			w.move("i-new")
			s.segment(0, 100)
			w.TakeRequests()
			require.ErrorIs(t, s.fails(), errNotRestored)
			requests, _ := w.TakeRequests()
			require.Empty(t, puts(requests))
			w.first("i-old")
		})
	}
}

func TestServerWithoutRestoreBacksUpToEmptyBucket(t *testing.T) {
	w := newWorld(t)
	s := w.server("i-first")
	w.move("i-first")
	s.segment(0, 100)
	s.backup()
	requireSame(t, s.history(), w.restored("i-new").history())
}

func TestBrokenStateIsNotTreatedAsMissing(t *testing.T) {
	w := newWorld(t)
	s := w.first("i-old")
	require.NoError(t, os.WriteFile(s.State, []byte(`{"prepared"`), 0o644))
	w.TakeRequests()
	require.ErrorContains(t, s.fails(), s.State+": unexpected end of JSON input: delete it, and replace this server")
	requests, _ := w.TakeRequests()
	require.Empty(t, requests)
}

func TestNoServerClaimsWithoutHolderRecord(t *testing.T) {
	w := newWorld(t)
	s := w.restored("i-first")
	s.segment(0, 100)
	require.EqualError(t, s.fails(),
		"cannot back up the history: this server may not back up: handover/holder.json does not name the server that "+
			"holds the VIP yet")
	require.NoError(t, w.store.Put(t.Context(), handover.HolderKey, []byte("{"), jsonType))
	require.ErrorContains(t, s.fails(), "cannot read which server holds the VIP: handover/holder.json is invalid")
}

func TestClaimWithLostResponseBelongsToItsServer(t *testing.T) {
	w := newWorld(t)
	t.Setenv("AWS_MAX_ATTEMPTS", "3")
	s := newServer(t, openStore(t), "i-first", t.TempDir())
	s.restore()
	w.move("i-first")
	s.segment(0, 100)
	// The claim is written, but the response is lost.
	w.once(http.MethodPut, epochRoot, func(writer http.ResponseWriter, r *http.Request) bool {
		text, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.NoError(t, w.store.Put(t.Context(), w.Key(r), text, jsonType))
		return cut(writer, r)
	})
	require.Equal(t, uint64(1), s.backup().Epoch)
	require.Len(t, w.Keys(t, epochRoot), 1)
}

// Prometheus repairs a torn end by writing a shorter file under the same name.
func TestRepairedSegmentIsUploadedAgain(t *testing.T) {
	w := newWorld(t)
	s := w.first("i-old")
	first := s.history()
	require.NoError(t, os.Rename(s.Dir+"/wal/00000000", s.Dir+"/wal/00000000.repair"))
	s.add("wal/00000000", []byte(first["wal/00000000"][:30_000]+strings.Repeat("\x00", 10_000)))
	require.NoError(t, os.Remove(s.Dir+"/wal/00000000.repair"))
	s.segment(1, 10)
	require.Equal(t, uint64(2), s.backup().Epoch, "the keys of the first epoch are in use")
	requireSame(t, s.history(), w.restored("i-new").history())

	// The earlier backup is unchanged.
	require.NoError(t, os.RemoveAll(w.Path(manifestRoot+"00000002")))
	requireSame(t, first, w.restored("i-another").history())
}

func TestRestoredSegmentIsUploadedAsAWhole(t *testing.T) {
	w := newWorld(t)
	w.first("i-old")
	s := w.restored("i-new")
	w.move("i-new")
	s.segment(0, 10)
	s.backup()
	require.Equal(t, []string{"history/wal/00000002/00000000/000000000000-000000040010"}, w.Keys(t, walRoot+"00000002"))
	requireSame(t, s.history(), w.restored("i-third").history())
}
