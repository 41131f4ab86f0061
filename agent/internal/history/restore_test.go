package history

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/bucket/buckettest"
	"immutable-infra/agent/internal/disktest"
)

func TestNewServerContinuesThePreviousHistory(t *testing.T) {
	w := newWorld(t)
	old := w.first("i-old")
	old.segment(0, 20_000)
	old.segment(1, 5_000)
	old.backup()
	old.truncate(0, 2)
	old.segment(1, 5_000)
	old.segment(2, 100)
	old.segment(3, 0)
	old.write("chunks_head/000001", 500)
	old.write("wal/checkpoint.00000009.tmp/00000000", 10)
	report := old.backup()
	require.Equal(t,
		Report{Bytes: report.Bytes, Objects: 2 + 1 + 4 + 1 + 1, Epoch: 1, Sequence: 3, Duration: report.Duration}, report)

	successor := w.server("i-new")
	result := successor.restore()
	want := old.history()
	delete(want, "wal/checkpoint.00000009.tmp/00000000")
	requireSame(t, want, successor.history())
	require.True(t, result.Found)
	require.Equal(t, "i-old", result.Server)
	require.Equal(t, 2, result.Blocks)
	require.Zero(t, result.Fallbacks)
	require.InDelta(t, 2, result.AgeSeconds, 3)
	size := int64(0)
	for _, text := range want {
		size += int64(len(text))
	}
	require.Equal(t, size, result.Bytes)
	require.Equal(t, size, result.Fetched)

	// The successor continues: it uploads new data only.
	w.move("i-new")
	successor.segment(4, 700)
	report = successor.backup()
	require.Equal(t, uint64(2), report.Epoch)
	require.Equal(t, 4, report.Objects,
		"the claim, the new bytes, the catalogue with the segment that was the last one, and the manifest")
	third := w.restored("i-third")
	requireSame(t, successor.history(), third.history())
}

func TestFirstServerStartsWithEmptyHistory(t *testing.T) {
	w := newWorld(t)
	s := w.server("i-first")
	result := s.restore()
	require.False(t, result.Found)
	require.Equal(t, "no history was backed up yet: Prometheus starts empty", result.String())
	require.DirExists(t, s.Dir)
	text, err := os.ReadFile(filepath.Join(s.restoring.Dir, "restored.json"))
	require.NoError(t, err)
	require.Contains(t, string(text), `"found": false`)
}

func TestHandoverDownloadsOnlyNewData(t *testing.T) {
	w := newWorld(t)
	old := w.first("i-old")
	successor := w.restored("i-new")
	successor.segment(1, 10) // Its Prometheus runs, but collects nothing.
	old.segment(0, 700)
	old.segment(1, 300)
	old.backup()
	w.TakeRequests()
	require.Equal(t, int64(1_000), successor.restore().Fetched)
	requests, _ := w.TakeRequests()
	require.Len(t, requests, 3+2+2, "three listings, the manifest, the catalogue, and two parts: %s", requests)
	requireSame(t, old.history(), successor.history())
	require.Zero(t, successor.restore().Fetched)

	// Files that the old server has removed meanwhile are removed here, too.
	old.truncate(0, 2)
	old.segment(1, 100)
	old.backup()
	successor.restore()
	requireSame(t, old.history(), successor.history())
	require.NoFileExists(t, filepath.Join(successor.restoring.Dir, restoredDir, "wal", "00000000"))
}

func TestInterruptedRestoreContinues(t *testing.T) {
	w := newWorld(t)
	old := w.first("i-old")
	for number := range 20 {
		old.block(number + 2)
	}
	old.backup()
	s := w.server("i-new")
	var refused atomic.Int32
	w.Intercept(func(writer http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(w.Key(r), "0015/index") {
			refused.Add(1)
			buckettest.Refuse(writer, http.StatusServiceUnavailable, "SlowDown")
			return true
		}
		return false
	})
	_, err := s.restoring.Run(t.Context())
	require.ErrorIs(t, err, errUnreadable)
	require.ErrorContains(t, err, "SlowDown in words")
	require.NotZero(t, refused.Load())
	require.NoDirExists(t, s.Dir)
	require.NoFileExists(t, s.State)
	w.Intercept(nil)
	result := s.restore()
	require.Less(t, result.Fetched, result.Bytes)
	requireSame(t, old.history(), s.history())
}

func TestInterruptedTransferIsRetried(t *testing.T) {
	w := newWorld(t)
	old := w.first("i-old")
	cuts := 0
	w.Intercept(func(writer http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(w.Key(r), walRoot) || cuts == fetchAttempts-1 {
			return false
		}
		cuts++
		writer.Header().Set("Content-Length", "40000")
		_, err := writer.Write(make([]byte, 10_000))
		require.NoError(t, err)
		return cut(writer, r)
	})
	s := w.server("i-new")
	require.Zero(t, s.restore().Fallbacks, "an interrupted transfer does not make the backup unusable")
	requireSame(t, old.history(), s.history())

	cuts = -1_000
	_, err := w.server("i-third").restoring.Run(t.Context())
	require.ErrorIs(t, err, errUnreadable)
	require.ErrorContains(t, err, "the transfer was cut off")
}

// Files in restored are verified, whatever they contain.
func TestEarlierDownloadsAreVerifiedAsWell(t *testing.T) {
	w := newWorld(t)
	old := w.first("i-old")
	s := w.restored("i-new")
	local := filepath.Join(s.restoring.Dir, restoredDir, "wal", "00000000")
	for _, text := range []string{strings.Repeat("x", 40_000), strings.Repeat("x", 50_000), "x", ""} {
		require.NoError(t, os.WriteFile(local, []byte(text), 0o644))
		s.restore()
		requireSame(t, old.history(), s.history())
	}
	require.NoError(t, os.Truncate(filepath.Join(s.restoring.Dir, restoredDir, "01ARZ3NDEKTSV4RRFFQ69G0001", "index"), 10))
	s.restore()
	requireSame(t, old.history(), s.history())
}

// damages returns faults of the newest backup that leave the previous one intact. The newest has segment 1, block
// 2 and checkpoint 0.
func damages(t *testing.T, w *world) map[string]func() {
	t.Helper()
	const (
		manifest = manifestRoot + "00000001/00000002.json"
		part     = walRoot + "00000001/00000001/000000000000-000000000500"
		chkpt    = chkptRoot + "00000001/checkpoint.00000000/00000000"
		block    = blockRoot + "01ARZ3NDEKTSV4RRFFQ69G0002/"
	)
	catalogue := func() string {
		var read Manifest
		text, err := os.ReadFile(w.Path(manifest))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &read))
		return catalogueKey(read.Catalogue)
	}
	half := func(key string) {
		stat, err := os.Stat(w.Path(key))
		require.NoError(t, err)
		require.NoError(t, os.Truncate(w.Path(key), stat.Size()/2))
	}
	other := func(key string) {
		text, err := os.ReadFile(w.Path(key))
		require.NoError(t, err)
		text[len(text)/2] ^= 1
		require.NoError(t, os.WriteFile(w.Path(key), text, 0o644))
	}
	edit := func(change func(*Manifest)) {
		var read Manifest
		text, err := os.ReadFile(w.Path(manifest))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &read))
		change(&read)
		text, err = json.Marshal(read)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(w.Path(manifest), text, 0o644))
	}
	return map[string]func(){
		"half a manifest":               func() { half(manifest) },
		"an empty manifest":             func() { require.NoError(t, os.Truncate(w.Path(manifest), 0)) },
		"a missing part":                func() { remove(t, w.Path(part)) },
		"half a part":                   func() { half(part) },
		"a part with other bytes":       func() { other(part) },
		"a missing checkpoint":          func() { remove(t, w.Path(chkpt)) },
		"a checkpoint with other bytes": func() { other(chkpt) },
		"a missing index":               func() { remove(t, w.Path(block+"index")) },
		"half an index":                 func() { half(block + "index") },
		"an index with other bytes":     func() { other(block + "index") },
		"half a meta.json":              func() { half(block + "meta.json") },
		"missing chunks":                func() { remove(t, w.Path(block+"chunks/000001")) },
		"a missing catalogue":           func() { remove(t, w.Path(catalogue())) },
		"half a catalogue":              func() { half(catalogue()) },
		"a catalogue with other bytes":  func() { other(catalogue()) },
		"a missing segment":             func() { edit(func(m *Manifest) { m.WAL = nil }) },
		"a gap before the segments":     func() { edit(func(m *Manifest) { m.WAL[0].Path = "wal/00000002" }) },
		"parts of another size":         func() { edit(func(m *Manifest) { m.WAL[0].Parts = []int64{499} }) },
		"an empty part":                 func() { edit(func(m *Manifest) { m.WAL[0].Parts = []int64{500, 0} }) },
		"another sequence":              func() { edit(func(m *Manifest) { m.Sequence = 7 }) },
		"a path outside the directory":  func() { edit(func(m *Manifest) { m.WAL[0].Path = "wal/../../../etc/passwd" }) },
		"two checkpoints": func() {
			edit(func(m *Manifest) { m.Checkpoint[0].Path = "wal/checkpoint.00000000/../00000000" })
		},
	}
}

func TestDamagedBackupIsLoggedAndThePreviousOneRestored(t *testing.T) {
	for name := range damages(t, nil) {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			old := w.first("i-old")
			want := old.history()
			old.segment(1, 500)
			old.truncate(0, 2)
			old.backup()
			damages(t, w)[name]()
			s := w.server("i-new")
			result := s.restore()
			require.Equal(t, 1, result.Fallbacks)
			require.Equal(t, uint64(1), result.Sequence)
			require.Contains(t, result.String(), "UNUSABLE NEWER BACKUPS: 1")
			require.Contains(t, s.log.String(),
				`level=ERROR msg="a backup of the history is unusable: trying the one before" epoch=1 sequence=2`)
			requireSame(t, want, s.history())

			// The next backup is complete again.
			w.move("i-new")
			s.segment(1, 100)
			s.backup()
			third := w.server("i-third")
			require.Zero(t, third.restore().Fallbacks)
			requireSame(t, s.history(), third.history())
		})
	}
}

func TestClaimWithoutBackupDoesNotHideTheHistory(t *testing.T) {
	w := newWorld(t)
	old := w.first("i-old")
	successor := w.restored("i-new")
	w.move("i-new")
	w.once(http.MethodPut, manifestRoot, cut)
	successor.fails()
	require.Len(t, w.Keys(t, epochRoot), 2)
	third := w.server("i-third")
	require.Zero(t, third.restore().Fallbacks)
	requireSame(t, old.history(), third.history())
}

func TestUnreadableBackupIsNotTreatedAsMissing(t *testing.T) {
	refuse := func(status int, code string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			buckettest.Refuse(w, status, code)
			return true
		}
	}
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"denied":  refuse(http.StatusForbidden, "AccessDenied"),
		"failing": refuse(http.StatusInternalServerError, "InternalError"),
		"busy":    refuse(http.StatusServiceUnavailable, "SlowDown"), "cut off": cut,
	} {
		for _, part := range []string{manifestRoot, root, manifestRoot + "0", catalogueRoot, blockRoot, walRoot} {
			t.Run(name+" "+part, func(t *testing.T) {
				w := newWorld(t)
				w.first("i-old")
				s := w.server("i-new")
				w.Intercept(func(writer http.ResponseWriter, r *http.Request) bool {
					// A prefix, or any key below it.
					matches := w.Key(r) == part || !r.URL.Query().Has("prefix") && part != root && strings.HasPrefix(w.Key(r), part)
					return matches && answer(writer, r)
				})
				_, err := s.restoring.Run(t.Context())
				require.ErrorIs(t, err, errUnreadable)
				require.ErrorContains(t, err,
					"cannot restore the history: the backup is unreadable; refusing to treat it as missing: ")
				require.NoDirExists(t, s.Dir)
				require.NoFileExists(t, s.State)
				w.Intercept(nil)
				w.move("i-new")
				s.segment(0, 100)
				require.ErrorIs(t, s.fails(), errNotRestored)
			})
		}
	}
}

func TestFailedRestoreKeepsTheData(t *testing.T) {
	w := newWorld(t)
	old := w.first("i-old")
	s := w.restored("i-new")
	want := s.history()
	require.NoError(t, os.WriteFile(filepath.Join(s.restoring.Dir, CollectingFile), nil, 0o644))
	old.segment(0, 100)
	old.backup()
	w.Intercept(func(writer http.ResponseWriter, r *http.Request) bool {
		return strings.HasPrefix(w.Key(r), walRoot) && cut(writer, r)
	})
	_, err := s.restoring.Run(t.Context())
	require.Error(t, err)
	requireSame(t, want, s.history())
	require.NoFileExists(t, filepath.Join(s.restoring.Dir, CollectingFile),
		"samples collected now would be lost with the next restore")
}

func TestStackContinuesInAnotherBucket(t *testing.T) {
	w := newWorld(t)
	old := w.first("i-old")
	old.segment(0, 100)
	old.backup()
	copied := t.TempDir()
	require.NoError(t, os.CopyFS(copied, os.DirFS(w.Path(root))))
	target := newWorld(t)
	require.NoError(t, os.CopyFS(target.Path(root), os.DirFS(copied)))
	s := target.restored("i-new")
	requireSame(t, old.history(), s.history())
	target.move("i-new")
	s.segment(1, 10)
	require.Equal(t, uint64(2), s.backup().Epoch)
	require.Equal(t, uint64(3), old.backup().Sequence, "the old server continues in the old bucket")
	requireSame(t, s.history(), target.restored("i-third").history())
}

// Neither order nor age depends on the clock of a server.
func TestServerClockThatIsAnHourOffHasNoEffect(t *testing.T) {
	for _, skew := range []time.Duration{-time.Hour, time.Hour} {
		t.Run(fmt.Sprint(skew), func(t *testing.T) {
			w := newWorld(t)
			t.Setenv("AWS_MAX_ATTEMPTS", "3")
			w.store = openStore(t)
			first := w.first("i-first")
			// The backups of the second server seem an hour older, or younger.
			w.Skew(skew)
			second := w.restored("i-second")
			w.move("i-second")
			second.segment(1, 10)
			second.backup()
			w.Skew(0)
			third := w.restored("i-third")
			requireSame(t, second.history(), third.history())
			w.move("i-third")
			third.segment(2, 10)
			third.collectGarbageNext()
			third.backup()
			require.Len(t, w.Keys(t, manifestRoot), 3, "nothing is old")
			w.Skew(skew)
			fourth := w.server("i-fourth")
			result := fourth.restore()
			require.Equal(t, "i-third", result.Server)
			require.InDelta(t, 2, result.AgeSeconds, 3)
			requireSame(t, third.history(), fourth.history())
			require.ErrorContains(t, first.fails(), "i-third has taken over")
			require.ErrorContains(t, second.fails(), "i-third has taken over")
		})
	}
}

func TestBackupTooLargeForTheDiskIsSkipped(t *testing.T) {
	w := newWorld(t)
	old := w.first("i-old")
	old.backup()
	s := newServer(t, w.store, "i-new", disktest.Small(t))
	s.restore()
	want := s.history()
	for i, size := range []int{500_000, 2 << 20} {
		old.segment(1, size)
		old.backup()
		require.Equal(t, i+1, s.restore().Fallbacks)
		require.Contains(t, s.log.String(), "bytes of the disk, of which")
		requireSame(t, want, s.history())
	}
	bigger := newServer(t, w.store, "i-new", t.TempDir())
	require.Zero(t, bigger.restore().Fallbacks)
	requireSame(t, old.history(), bigger.history())
}

func TestRestoredFilesBelongToPrometheusAndStateToAgent(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can change the owner of files")
	}
	w := newWorld(t)
	empty := w.server("i-first")
	require.NoError(t, os.Chown(empty.restoring.Dir, 9090, 9091))
	empty.restore()
	w.first("i-old")
	s := w.server("i-new")
	require.NoError(t, os.Chown(s.restoring.Dir, 9090, 9091))
	require.NoError(t, os.Chown(filepath.Dir(s.State), 900, 901))
	s.restore()
	owner := func(path string) [2]uint32 {
		stat, err := os.Stat(path)
		require.NoError(t, err)
		owner := stat.Sys().(*syscall.Stat_t)
		return [2]uint32{owner.Uid, owner.Gid}
	}
	require.Equal(t, [2]uint32{9090, 9091}, owner(empty.Dir))
	require.Equal(t, [2]uint32{900, 901}, owner(s.State))
	entries := 0
	require.NoError(t, filepath.WalkDir(s.Dir, func(path string, entry fs.DirEntry, err error) error {
		require.NoError(t, err)
		require.Equal(t, [2]uint32{9090, 9091}, owner(path), path)
		entries++
		return nil
	}))
	require.Equal(t, 1+2+1+1+4, entries)
}

func TestFilesOfKilledRestoreAreReplaced(t *testing.T) {
	w := newWorld(t)
	old := w.first("i-old")
	s := w.server("i-new")
	for _, path := range []string{
		"data.new/wal/00000000", "data.new/01ARZ3NDEKTSV4RRFFQ69G0001/index", "restored/01ARZ3NDEKTSV4RRFFQ69G0001.tmp/index",
		"restored/01ARZ3NDEKTSV4RRFFQ69G0009/index", "data/wal/00000009",
	} {
		local := filepath.Join(s.restoring.Dir, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(local), 0o755))
		require.NoError(t, os.WriteFile(local, []byte("half"), 0o644))
	}
	s.restore()
	requireSame(t, old.history(), s.history())
	require.NoDirExists(t, filepath.Join(s.restoring.Dir, "data.new"))
	require.NoDirExists(t, filepath.Join(s.restoring.Dir, "restored", "01ARZ3NDEKTSV4RRFFQ69G0009"))
}

func TestMissingDirectoryIsAnError(t *testing.T) {
	w := newWorld(t)
	s := newServer(t, w.store, "i-new", filepath.Join(t.TempDir(), "missing"))
	_, err := s.restoring.Run(t.Context())
	require.ErrorIs(t, err, fs.ErrNotExist)
}
