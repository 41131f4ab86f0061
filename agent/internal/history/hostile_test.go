package history

import (
	"encoding/json"
	"fmt"
	"math"
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
	"immutable-infra/agent/internal/handover"
)

// put writes an object as a compromised server can.
func (w *world) put(key string, content []byte) {
	w.t.Helper()
	require.NoError(w.t, w.store.Put(w.t.Context(), key, content, jsonType))
}

// forge writes a manifest with this catalogue.
func (w *world) forge(manifest Manifest, catalogue any) {
	w.t.Helper()
	text, err := json.Marshal(catalogue)
	require.NoError(w.t, err)
	w.put(catalogueKey(sumOf(text)), text)
	manifest.Catalogue = sumOf(text)
	text, err = json.Marshal(manifest)
	require.NoError(w.t, err)
	w.put(manifestKey(manifest.Epoch, manifest.Sequence), text)
}

func (w *world) newest() (Manifest, Catalogue) {
	w.t.Helper()
	listing, err := w.store.List(w.t.Context(), root)
	require.NoError(w.t, err)
	entry := manifestsIn(listing, math.MaxUint64)[0]
	manifest, err := fetchManifest(w.t.Context(), w.store, entry.epoch, entry.sequence)
	require.NoError(w.t, err)
	catalogue, err := fetchCatalogue(w.t.Context(), w.store, manifest.Catalogue)
	require.NoError(w.t, err)
	return manifest, catalogue
}

// attacks are the objects that a compromised server may write in addition to its good backup, or instead of it.
var attacks = map[string]func(w *world, manifest Manifest, catalogue Catalogue){
	"a newer format":    func(w *world, m Manifest, c Catalogue) { m.Version = 999; w.forge(m, c) },
	"a newer catalogue": func(w *world, m Manifest, c Catalogue) { c.Version = 999; w.forge(m, c) },
	"another stack":     func(w *world, m Manifest, c Catalogue) { m.Stack = "evil"; w.forge(m, c) },
	"an invalid stack name": func(w *world, m Manifest, c Catalogue) {
		m.Stack = "\n::stop-commands::x"
		w.forge(m, c)
	},
	"a name of 1 MiB": func(w *world, m Manifest, c Catalogue) {
		m.Server = strings.Repeat("i", 1<<20)
		w.forge(m, c)
	},
	"a list": func(w *world, m Manifest, _ Catalogue) { w.put(manifestKey(m.Epoch, m.Sequence), []byte("[]")) },
	"null":   func(w *world, m Manifest, _ Catalogue) { w.put(manifestKey(m.Epoch, m.Sequence), []byte("null")) },
	"a number that is too large": func(w *world, m Manifest, _ Catalogue) {
		w.put(manifestKey(m.Epoch, m.Sequence), []byte(`{"epoch":1e400}`))
	},
	"brackets without end": func(w *world, m Manifest, _ Catalogue) {
		w.put(manifestKey(m.Epoch, m.Sequence), []byte(strings.Repeat("[", 200_000)))
	},
	"a manifest of 8 MiB": func(w *world, m Manifest, _ Catalogue) {
		w.put(manifestKey(m.Epoch, m.Sequence), make([]byte, 8<<20))
	},
	"a catalogue of 8 MiB": func(w *world, m Manifest, c Catalogue) {
		w.forge(m, map[string]any{"version": 1, "x": strings.Repeat("x", 8<<20)})
	},
	"a catalogue of a million blocks": func(w *world, m Manifest, c Catalogue) {
		w.forge(m, map[string]any{"version": 1, "blocks": make([]struct{}, 1_000_000)})
	},
	"a duplicate block": func(w *world, m Manifest, c Catalogue) {
		c.Blocks = append(c.Blocks, c.Blocks[0])
		w.forge(m, c)
	},
	"a duplicate file of a block": func(w *world, m Manifest, c Catalogue) {
		c.Blocks[0].Files = append(c.Blocks[0].Files, c.Blocks[0].Files[0])
		w.forge(m, c)
	},
	"a block that leads elsewhere": func(w *world, m Manifest, c Catalogue) {
		c.Blocks[0].ULID = "../../../../../../etc/cronA"
		w.forge(m, c)
	},
	"a chunk that leads elsewhere": func(w *world, m Manifest, c Catalogue) {
		c.Blocks[0].Files[0].Path = "chunks/../../../x"
		w.forge(m, c)
	},
	"an absolute chunk": func(w *world, m Manifest, c Catalogue) {
		c.Blocks[0].Files[0].Path = "/etc/passwd"
		w.forge(m, c)
	},
	"a chunk with NUL": func(w *world, m Manifest, c Catalogue) {
		c.Blocks[0].Files[0].Path = "chunks/0\x00"
		w.forge(m, c)
	},
	"a chunk with an overlong name": func(w *world, m Manifest, c Catalogue) {
		c.Blocks[0].Files[0].Path = "chunks/" + strings.Repeat("0", 300)
		w.forge(m, c)
	},
	"a segment with an overlong name": func(w *world, m Manifest, c Catalogue) {
		m.WAL[0].Path = "wal/" + strings.Repeat("0", 300)
		w.forge(m, c)
	},
	"a duplicate segment": func(w *world, m Manifest, c Catalogue) { m.WAL = append(m.WAL, m.WAL[0]); w.forge(m, c) },
	"a negative size":     func(w *world, m Manifest, c Catalogue) { c.Blocks[0].Files[0].Size = -1; w.forge(m, c) },
	"the largest size": func(w *world, m Manifest, c Catalogue) {
		c.Blocks[0].Files[0].Size = math.MaxInt64
		w.forge(m, c)
	},
	"parts that overflow": func(w *world, m Manifest, c Catalogue) {
		m.WAL[0].Parts = []int64{math.MaxInt64, math.MaxInt64, 2 + m.WAL[0].Size}
		w.forge(m, c)
	},
	"a negative part": func(w *world, m Manifest, c Catalogue) {
		m.WAL[0].Parts = []int64{-1, m.WAL[0].Size + 1}
		w.forge(m, c)
	},
	"the largest epoch of a file": func(w *world, m Manifest, c Catalogue) {
		m.WAL[0].Epoch = math.MaxUint64
		w.forge(m, c)
	},
	"a duplicate checkpoint": func(w *world, m Manifest, c Catalogue) {
		file := File{Path: "wal/checkpoint.00000000/00000000", Epoch: 1, Size: 1, SHA256: sumOf([]byte("x"))}
		w.put(file.objects()[0].key, []byte("x"))
		m.Checkpoint = []File{file, file}
		w.forge(m, c)
	},
	"a file that is larger than the disk": func(w *world, m Manifest, c Catalogue) {
		c.Blocks[0].Files[0].Size = 1 << 39
		w.forge(m, c)
	},
}

func TestObjectsOfCompromisedServerDoNotBlockTheNextOne(t *testing.T) {
	for name, attack := range attacks {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			old := w.first("i-old")
			want := old.history()
			manifest, catalogue := w.newest()
			// In addition to a good backup, which is restored.
			manifest.Sequence = 7
			attack(w, manifest, catalogue)
			s := w.server("i-new")
			result := s.restore()
			require.True(t, result.Found)
			require.Equal(t, 1, result.Fallbacks)
			require.Contains(t, s.log.String(), "level=ERROR")
			requireSame(t, want, s.history())

			// Instead of everything: the next server starts with an empty history, and continues.
			require.NoError(t, os.RemoveAll(w.Path(manifestKey(1, 1))))
			s = w.server("i-newer")
			result = s.restore()
			if name != "another stack" {
				require.True(t, result.Lost())
				require.Contains(t, result.String(), "NO BACKUP OF THE HISTORY IN THE BUCKET IS USABLE (1)")
				require.NoDirExists(t, filepath.Join(s.restoring.Dir, restoredDir), "unusable downloads must not fill the disk")
			} else {
				require.Equal(t, "evil", result.Stack, "no other backup exists")
				require.Contains(t, s.log.String(), "belongs to another stack: using it, since this stack has none")
			}
			w.move("i-newer")
			s.segment(1, 100)
			s.collectGarbageNext()
			s.backup()
			last := w.server("i-last")
			require.Zero(t, last.restore().Fallbacks)
			requireSame(t, s.history(), last.history())
		})
	}
}

// Unreadable objects: encrypted with a key that only the writer has, or archived.
func TestUnreadableObjectsDoNotBlockTheNextServer(t *testing.T) {
	for code, status := range map[string]int{
		"InvalidRequest":     http.StatusBadRequest,
		"InvalidObjectState": http.StatusForbidden,
	} {
		for _, part := range []string{manifestRoot, catalogueRoot, blockRoot, walRoot} {
			t.Run(code+" "+part, func(t *testing.T) {
				w := newWorld(t)
				w.first("i-old")
				w.Intercept(func(writer http.ResponseWriter, r *http.Request) bool {
					if r.Method != http.MethodGet || r.URL.Query().Has("prefix") || !strings.HasPrefix(w.Key(r), part) {
						return false
					}
					buckettest.Refuse(writer, status, code)
					return true
				})
				require.True(t, w.server("i-new").restore().Lost())
			})
		}
	}
}

func TestHighestEpochLeavesNumbersForLaterOnes(t *testing.T) {
	for _, epoch := range []uint64{math.MaxUint64, math.MaxUint64 - 1, math.MaxInt64, 2 * maxGap, maxGap} {
		t.Run(fmt.Sprint(epoch), func(t *testing.T) {
			w := newWorld(t)
			old := w.first("i-old")
			manifest, catalogue := w.newest()
			manifest.Epoch, manifest.Sequence = epoch, math.MaxUint64
			w.forge(manifest, catalogue)
			w.put(epochKey(epoch), []byte(`{"server":"i-old"}`))
			old.segment(0, 100)
			s := w.restored("i-new")
			w.move("i-new")
			s.segment(1, 100)
			next := s.backup().Epoch
			require.Contains(t, []uint64{2, maxGap + 1}, next)
			s.segment(1, 100)
			require.Equal(t, next, s.backup().Epoch)
			third := w.restored("i-third")
			requireSame(t, s.history(), third.history())
			w.age(root, 25*time.Hour)
			s.collectGarbageNext()
			s.backup()
			if epoch > maxGap {
				require.Empty(t, w.Keys(t, manifestKey(epoch, math.MaxUint64)), "it is deleted when it is old")
			}
		})
	}
}

func TestHighestSequenceDoesNotHideLaterManifests(t *testing.T) {
	w := newWorld(t)
	s := w.first("i-old")
	manifest, catalogue := w.newest()
	manifest.Sequence = math.MaxUint64
	w.forge(manifest, catalogue)
	s.segment(1, 100)
	s.collectGarbageNext()
	require.Equal(t, uint64(2), s.backup().Epoch, "above what was made up")
	require.Contains(t, s.log.String(), "a manifest in the bucket is ahead of this server's: starting another epoch")
	requireSame(t, s.history(), w.restored("i-new").history())
}

func TestInvalidClaimDoesNotBlockBackups(t *testing.T) {
	for name, text := range map[string]string{
		"truncated": "{", "a list": "[]", "empty": "", "large": strings.Repeat("x", 1<<20), "a newline": `{"server":"\n"}`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.first("i-old")
			w.put(epochKey(1), []byte(text))
			s.segment(0, 10)
			require.Equal(t, uint64(2), s.backup().Epoch)
			w.put(epochKey(3), []byte(text))
			s.segment(0, 10)
			require.Equal(t, uint64(4), s.backup().Epoch)
			requireSame(t, s.history(), w.restored("i-new").history())
		})
	}
}

func TestThousandsOfManifestsAreNotAllTried(t *testing.T) {
	w := newWorld(t)
	w.first("i-old")
	require.NoError(t, os.MkdirAll(w.Path(manifestRoot+"00000002"), 0o755))
	for sequence := range uint64(2_000) {
		require.NoError(t, os.WriteFile(w.Path(manifestKey(2, sequence)), []byte("{}"), 0o644))
	}
	s := w.server("i-new")
	w.TakeRequests()
	begin := time.Now()
	result := s.restore()
	require.Less(t, time.Since(begin), 30*time.Second)
	requests, _ := w.TakeRequests()
	require.Less(t, len(requests), maxTried+20)
	require.True(t, result.Lost())
	require.Equal(t, 2_001, result.Fallbacks)
	w.move("i-new")
	s.segment(1, 10)
	s.collectGarbageNext()
	s.backup()
	require.LessOrEqual(t, len(w.Keys(t, manifestRoot)), maxKept)
	requireSame(t, s.history(), w.restored("i-third").history())
}

func TestLostObjectsAreCounted(t *testing.T) {
	w := newWorld(t)
	s := w.first("i-old")
	lost := func() uint64 {
		s.backup()
		tally, err := s.Note(t.Context(), false, false)
		require.NoError(t, err)
		return tally.Lost
	}
	require.Zero(t, lost())
	s.collectGarbageNext()
	require.Zero(t, lost(), "objects that this server deletes are not missed")
	require.NoError(t, os.RemoveAll(w.Path(blockRoot)))
	s.collectGarbageNext()
	require.Equal(t, uint64(1), lost())
	require.NoError(t, os.RemoveAll(w.Path(root)))
	require.Greater(t, lost(), uint64(1))
	require.NotEmpty(t, w.Keys(t, blockRoot), "it is uploaded again")
}

func TestHistoryWithoutManifestsIsNotTreatedAsEmpty(t *testing.T) {
	w := newWorld(t)
	w.first("i-old")
	require.NoError(t, os.RemoveAll(w.Path(manifestRoot)))
	require.True(t, w.server("i-new").restore().Lost())
}

// Prometheus' user owns the directory, and must not be able to lead root out of it.
func TestRootFollowsNoLinkThatPrometheusPlants(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root runs with more rights than the owner")
	}
	const prometheus = 9090
	for _, name := range []string{restoredDir, DataDir, DataDir + ".new", CollectingFile, recordFile} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			old := w.first("i-old")
			elsewhere := t.TempDir()
			secret := filepath.Join(elsewhere, "secret")
			require.NoError(t, os.WriteFile(secret, []byte("root"), 0o600))
			s := w.server("i-new")
			require.NoError(t, os.Chown(s.restoring.Dir, prometheus, prometheus))
			link, target := filepath.Join(s.restoring.Dir, name), elsewhere
			if name == CollectingFile || name == recordFile {
				target = secret
			}
			require.NoError(t, os.Symlink(target, link))
			require.NoError(t, os.Lchown(link, prometheus, prometheus))
			s.restore()
			requireSame(t, old.history(), s.history())
			_, err := ReadResult(s.restoring.Dir)
			require.NoError(t, err)

			entries, err := os.ReadDir(elsewhere)
			require.NoError(t, err)
			require.Len(t, entries, 1, "nothing was created or removed outside the directory")
			stat, err := os.Stat(secret)
			require.NoError(t, err)
			require.Zero(t, stat.Sys().(*syscall.Stat_t).Uid)
			text, err := os.ReadFile(secret)
			require.NoError(t, err)
			require.Equal(t, "root", string(text))
		})
	}
	t.Run("a directory of links and pipes", func(t *testing.T) {
		w := newWorld(t)
		old := w.first("i-old")
		elsewhere := t.TempDir()
		s := w.server("i-new")
		require.NoError(t, os.Chown(s.restoring.Dir, prometheus, prometheus))
		planted := filepath.Join(s.restoring.Dir, restoredDir)
		require.NoError(t, os.MkdirAll(filepath.Join(planted, "wal"), 0o755))
		require.NoError(t, os.Symlink(elsewhere, filepath.Join(planted, "01ARZ3NDEKTSV4RRFFQ69G0001.tmp")))
		require.NoError(t, syscall.Mkfifo(filepath.Join(planted, "wal", "00000000"), 0o666))
		require.NoError(t, os.Chown(planted, prometheus, prometheus))
		s.restore()
		requireSame(t, old.history(), s.history())
		entries, err := os.ReadDir(elsewhere)
		require.NoError(t, err)
		require.Empty(t, entries)
	})
}

func FuzzManifest(f *testing.F) {
	sum := strings.Repeat("0", 64)
	for _, seed := range []string{
		`{"version":1,"stack":"a","server":"b","epoch":1,"sequence":1,"wal":[{"path":"wal/00000001","epoch":1,"size":2,"sha256":"` + sum + `","parts":[1,1]}],"checkpoint":[{"path":"wal/checkpoint.00000000/00000000","size":1,"sha256":"` + sum + `"}],"catalogue":"` + sum + `"}`,
		`{}`, `[]`, `null`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		manifest, err := parseManifest(text, 1, 1)
		if err != nil {
			return
		}
		require.True(t, handover.IsName(manifest.Server))
		for _, file := range manifest.files() {
			requireInside(t, file.Path)
		}
		requireObjects(t, manifest.objects())
		_, _ = manifest.with(Catalogue{})
	})
}

func FuzzCatalogue(f *testing.F) {
	sum := strings.Repeat("0", 64)
	for _, seed := range []string{
		`{"version":1,"wal":[{"path":"wal/00000001","epoch":1,"size":2,"sha256":"` + sum + `","parts":[1,1]}],"blocks":[{"ulid":"01ARZ3NDEKTSV4RRFFQ69G0001","files":[{"path":"index","size":1,"sha256":"` + sum + `"},{"path":"meta.json","size":1,"sha256":"` + sum + `"},{"path":"chunks/000001","size":1,"sha256":"` + sum + `"}]}]}`,
		`{}`, `[]`, `null`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		catalogue, err := parseCatalogue(text, "key")
		if err != nil {
			return
		}
		for _, block := range catalogue.Blocks {
			for _, file := range block.Files {
				requireInside(t, filepath.Join(block.ULID, file.Path))
			}
		}
		requireObjects(t, catalogue.objects())
		_, _ = Manifest{}.with(catalogue)
	})
}

func FuzzClaim(f *testing.F) {
	f.Add([]byte(`{"server":"i-1","claimed":"2026-01-01T00:00:00Z"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if owner := parseClaim(text); owner.Server != "" {
			require.True(t, handover.IsName(owner.Server))
		}
	})
}

// FuzzKeys parses names of objects.
func FuzzKeys(f *testing.F) {
	f.Add(manifestKey(1, 1))
	f.Add(epochKey(math.MaxUint64))
	f.Fuzz(func(t *testing.T, key string) {
		if epoch, sequence, ok := manifestOf(key); ok && strings.HasPrefix(key, manifestRoot) &&
			strings.HasSuffix(key, ".json") {
			require.Equal(t, key, manifestKey(epoch, sequence))
		}
		if epoch, ok := epochOf(key); ok && strings.HasPrefix(key, epochRoot) && strings.HasSuffix(key, ".json") {
			require.Equal(t, key, epochKey(epoch))
		}
	})
}

func requireInside(t *testing.T, path string) {
	t.Helper()
	require.True(t, filepath.IsLocal(path), path)
	require.Equal(t, filepath.Clean(path), path)
	for name := range strings.SplitSeq(path, "/") {
		require.Less(t, len(name), 64)
	}
}

func requireObjects(t *testing.T, objects []object) {
	t.Helper()
	for _, object := range objects {
		require.GreaterOrEqual(t, object.size, int64(0))
		require.Less(t, len(object.key), 200)
		require.Equal(t, filepath.Clean(object.key), object.key)
	}
}

// An endless list of pages of unknown objects.
func TestBucketBeyondTheListingLimitDoesNotBlockTheNextServer(t *testing.T) {
	w := newWorld(t)
	old := w.first("i-old")
	var page strings.Builder
	page.WriteString("<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>")
	for i := range 999 {
		fmt.Fprintf(&page, "<Contents><Key>history/blocks/%d</Key><Size>1</Size></Contents>", i)
	}
	fmt.Fprintf(&page, "<Contents><Key>history/blocks/%s</Key><Size>1</Size></Contents></ListBucketResult>",
		strings.Repeat("x", 1_000))
	var pages atomic.Int32
	w.Intercept(func(writer http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("prefix") != root {
			return false
		}
		pages.Add(1)
		writer.Header().Set("Content-Type", "application/xml")
		_, err := writer.Write([]byte(page.String()))
		return err == nil
	})
	s := w.server("i-new")
	require.Zero(t, s.restore().Fallbacks)
	require.Equal(t, int32(100), pages.Load())
	require.Contains(t, s.log.String(), `"the bucket holds more objects than a listing returns" objects=99900`)
	requireSame(t, old.history(), s.history())
	w.move("i-new")
	s.segment(1, 10)
	s.backup()
	requireSame(t, s.history(), w.restored("i-third").history())
}
