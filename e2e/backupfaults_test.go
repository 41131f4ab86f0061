package e2e

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/e2e/internal/compare"
	"immutable-infra/e2e/internal/s3server"
	"immutable-infra/e2e/internal/serveragent"
	"immutable-infra/e2e/internal/simulated"
	"immutable-infra/internal/testtool"
)

// faultSeries is the number of series of each server.
const faultSeries = 70

// faultWorld is a backup bucket with the servers of a stack.
type faultWorld struct {
	*s3server.Server
	t     *testing.T
	agent serveragent.Program
}

// faultServer is one of the servers, with a simulated Prometheus.
type faultServer struct {
	*serveragent.Server
	*simulated.Prometheus
	t *testing.T
}

// first creates the stack's first server, which holds the VIP.
func (w faultWorld) first() *faultServer {
	w.t.Helper()
	server := w.agent.Server(w.t, w, "i-0000000000000000a")
	server.TakeVIP(w.t)
	return w.collecting(server)
}

// collecting starts a server's Prometheus.
func (w faultWorld) collecting(server *serveragent.Server) *faultServer {
	w.t.Helper()
	prometheus, err := simulated.New(server.Data(), server.Name, faultSeries, simulated.Realistic)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { require.NoError(w.t, prometheus.Close()) })
	return &faultServer{server, prometheus, w.t}
}

func (s *faultServer) advance(by time.Duration) {
	s.t.Helper()
	require.NoError(s.t, s.Advance(s.t.Context(), by))
}

// backup makes a backup, which must succeed, and returns its simulated time.
func (s *faultServer) backup() time.Time {
	s.t.Helper()
	at := s.Now
	done := s.Backup(s.t.Context())
	require.NoError(s.t, done.Err, done.String())
	return at
}

// verifyRestore restores the newest backup and compares it with the samples that a server holds now: no sample may be
// changed or invented, and none from before complete may be lost.
func (w faultWorld) verifyRestore(held *faultServer, complete time.Time) (serveragent.Verified, compare.Difference) {
	w.t.Helper()
	dir := w.t.TempDir()
	verified, _, err := held.Verify(w.t.Context(), dir)
	require.NoError(w.t, err)
	return verified, w.compare(held, filepath.Join(dir, "data"), complete)
}

// compare compares the samples that a server holds with those in a data directory.
func (w faultWorld) compare(held *faultServer, dir string, complete time.Time) compare.Difference {
	w.t.Helper()
	restored, err := simulated.Open(dir)
	require.NoError(w.t, err)
	difference, err := compare.Samples(w.t.Context(), held, restored)
	require.NoError(w.t, err)
	require.NoError(w.t, restored.Close())
	w.t.Log(difference)
	require.Positive(w.t, difference.Same)
	require.Zero(w.t, difference.Changed)
	require.Zero(w.t, difference.Invented)
	if difference.Lost > 0 {
		require.False(w.t, difference.FirstLost().Before(complete), "samples from before %s must not be lost: %s",
			complete.Format(time.TimeOnly), difference)
	}
	return difference
}

// during calls meanwhile when the first request with a prefix arrives, and then lets the request pass. happened reports
// whether such a request arrived.
func (w faultWorld) during(request string, meanwhile func()) (happened func() bool) {
	var once sync.Once
	var reached bool
	w.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.Method+" "+r.URL.Path, request) {
			once.Do(func() {
				reached = true
				meanwhile()
			})
		}
		return false
	})
	return func() bool {
		w.Intercept(nil)
		return reached
	}
}

// TestBackupFaults injects faults into Prometheus' real storage and into its backup, and compares the restored samples
// one by one.
func TestBackupFaults(t *testing.T) {
	testtool.Named(t, "LOCALCLOUD_VERSITYGW")
	agent := serveragent.Build(t, root(t).dir)
	for name, test := range map[string]func(w faultWorld){
		"the last record is half written":          faultTornRecord,
		"two hours go by while a backup runs":      faultChangesMeanwhile,
		"a part of the newest backups is gone":     faultDamaged,
		"a part of all backups is gone":            faultAllDamaged,
		"two servers back up at the same time":     faultTwoServers,
		"the bucket is emptied":                    faultEmptied,
		"a server is restored and replaced itself": faultRepeatedRestores,
	} {
		t.Run(name, func(t *testing.T) {
			test(faultWorld{s3server.Start(t, serveragent.Bucket), t, agent})
		})
	}
}

// A backup reads while Prometheus writes. A torn record is useless until the next backup uploads the rest.
func faultTornRecord(w faultWorld) {
	t := w.t
	writing := w.first()
	writing.advance(10 * time.Minute)

	// Another server's agent, whose disk has only the bytes written so far.
	torn := w.agent.Server(t, w, writing.Name)
	const segment = "wal/00000000"
	written, err := os.ReadFile(filepath.Join(writing.Data(), segment))
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(torn.Data(), "wal"), 0o755))
	file, err := os.Create(filepath.Join(torn.Data(), segment))
	require.NoError(t, err)
	defer file.Close()
	const missing = 5
	_, err = file.Write(written[:len(written)-missing])
	require.NoError(t, err)
	done := torn.Backup(t.Context())
	require.NoError(t, done.Err, done.String())
	_, difference := w.verifyRestore(writing, writing.Now.Add(-simulated.Interval))
	// The last record is the last scrape of the last target.
	require.LessOrEqual(t, difference.Lost, int64(faultSeries/7))
	require.Positive(t, difference.Lost)

	_, err = file.Write(written[len(written)-missing:])
	require.NoError(t, err)
	done = torn.Backup(t.Context())
	require.NoError(t, done.Err, done.String())
	_, difference = w.verifyRestore(writing, writing.Now)
	require.Zero(t, difference.Lost)
}

// Prometheus may cut a block, write a checkpoint and remove segments between any two requests of a backup.
func faultChangesMeanwhile(w faultWorld) {
	for _, part := range []string{"wal", "checkpoints", "blocks", "catalogues", "manifests"} {
		w.t.Run("before the first of the "+part, func(t *testing.T) {
			w := faultWorld{s3server.Start(t, serveragent.Bucket), t, w.agent}
			server := w.first()
			server.advance(9*time.Hour + time.Minute)
			before := server.Blocks()
			happened := w.during("PUT /"+serveragent.Bucket+"/history/"+part+"/", func() {
				if err := server.Advance(t.Context(), 2*time.Hour); err != nil {
					t.Error(err)
				}
			})
			begun := server.backup()
			require.True(t, happened(), "the request did not arrive during the run")
			require.Greater(t, server.Blocks(), before)
			w.verifyRestore(server, begun)

			server.backup()
			verified, difference := w.verifyRestore(server, server.Now)
			require.Zero(t, difference.Lost)
			require.Equal(t, server.Blocks(), verified.Blocks)
			require.Zero(t, verified.Fallbacks)
		})
	}
}

// A missing object makes a backup useless, and the restore falls back to the previous one.
func faultDamaged(w faultWorld) {
	for name, damage := range map[string]struct {
		// The damaged object is the last uploaded object of the last backups whose key has this prefix and suffix.
		begin, end string
		do         func(t *testing.T, path string)
		// fallbacks is the number of the last three backups that need the object.
		fallbacks int
		// healed reports whether the agent notices the damage in time.
		healed bool
	}{
		"a segment's last part":        {"history/wal/", "", remove, 1, true},
		"half of a segment's part":     {"history/wal/", "", halve, 1, false},
		"bytes of a segment's part":    {"history/wal/", "", scramble, 1, false},
		"a block's index":              {"history/blocks/", "/index", remove, 3, true},
		"bytes of a block's index":     {"history/blocks/", "/index", scramble, 3, false},
		"a block's chunks":             {"history/blocks/", "/chunks/000001", halve, 3, false},
		"the list of the blocks":       {"history/catalogues/", ".json", remove, 3, false},
		"bytes of the list of blocks":  {"history/catalogues/", ".json", scramble, 3, false},
		"half of the newest manifest":  {"history/manifests/", ".json", halve, 1, false},
		"bytes of the newest manifest": {"history/manifests/", ".json", scramble, 1, false},
	} {
		w.t.Run(name, func(t *testing.T) {
			w := faultWorld{s3server.Start(t, serveragent.Bucket), t, w.agent}
			server := w.first()
			server.advance(5 * time.Hour)
			// One backup before a block is cut, and three that contain the block.
			backups := []time.Time{server.backup()}
			var sent []string
			for range 3 {
				server.advance(time.Minute)
				existing := w.Objects(t, serveragent.Bucket, "history/")
				backups = append(backups, server.backup())
				for key := range w.Objects(t, serveragent.Bucket, "history/") {
					if _, old := existing[key]; !old && strings.HasPrefix(key, damage.begin) && strings.HasSuffix(key, damage.end) {
						sent = append(sent, key)
					}
				}
			}
			require.NotEmpty(t, sent)
			damage.do(t, w.Path(serveragent.Bucket, sent[len(sent)-1]))

			complete := backups[len(backups)-1-damage.fallbacks]
			verified, difference := w.verifyRestore(server, complete)
			require.Equal(t, damage.fallbacks, verified.Fallbacks)
			require.EqualValues(t, damage.fallbacks*faultSeries*4, difference.Lost,
				"the scrapes between that backup and now are lost")

			if !damage.healed {
				return
			}
			// Once an hour, the agent checks that all objects exist.
			for range 61 {
				server.advance(time.Minute)
				server.backup()
			}
			_, difference = w.verifyRestore(server, server.Now)
			require.Zero(t, difference.Lost)
		})
	}
}

func remove(t *testing.T, path string) { require.NoError(t, os.Remove(path)) }

func halve(t *testing.T, path string) {
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(path, info.Size()/2))
}

// scramble changes bytes in the middle of a file but keeps its size.
func scramble(t *testing.T, path string) {
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	for i := len(content) / 2; i < min(len(content)/2+4, len(content)); i++ {
		content[i] ^= 0x55
	}
	require.NoError(t, os.WriteFile(path, content, 0o644))
}

// Without an object that every backup needs, no backup is usable. The agent must not treat the bucket as one without
// backups.
func faultAllDamaged(w faultWorld) {
	t := w.t
	server := w.first()
	server.advance(10 * time.Minute)
	server.backup()
	parts := slices.Sorted(maps.Keys(w.Objects(t, serveragent.Bucket, "history/wal/")))
	require.NotEmpty(t, parts)
	server.advance(time.Minute)
	server.backup()
	remove(t, w.Path(serveragent.Bucket, parts[0]))

	_, done, err := server.Verify(t.Context(), t.TempDir())
	require.ErrorContains(t, err, "none of the 2 backups in the bucket is usable")
	require.Contains(t, done.Stderr, filepath.Base(parts[0]))
}

// An old server that comes back to life, or has not yet noticed its successor, backs up at the same time. Its uploads
// never replace the successor's.
func faultTwoServers(w faultWorld) {
	t := w.t
	old := w.first()
	old.advance(30 * time.Minute)
	handedOver := old.backup()

	successor := w.agent.Server(t, w, "i-0000000000000000b")
	restored := successor.Restore(t.Context())
	require.NoError(t, restored.Err, restored.String())
	var new *faultServer
	// The old server is in the middle of a run, and about to write its manifest.
	old.advance(time.Minute)
	happened := w.during("PUT /"+serveragent.Bucket+"/history/manifests/00000001/", func() {
		successor.TakeVIP(t)
		new = w.collecting(successor)
		new.Now = old.Now
		new.advance(time.Minute)
		new.backup()
	})
	late := old.Backup(t.Context())
	require.True(t, happened())
	require.NoError(t, late.Err, "its manifest was begun in time: %s", late)

	// From now on, both servers back up concurrently.
	for range 3 {
		old.advance(time.Minute)
		new.advance(time.Minute)
		var both sync.WaitGroup
		var oldRun, newRun serveragent.Done
		both.Go(func() { oldRun = old.Backup(t.Context()) })
		both.Go(func() { newRun = new.Backup(t.Context()) })
		both.Wait()
		require.Error(t, oldRun.Err)
		require.Contains(t, oldRun.Stderr, new.Name+" has taken over")
		require.NoError(t, newRun.Err, newRun.String())
	}
	verified, difference := w.verifyRestore(new, new.Now)
	require.Equal(t, new.Name, verified.Server)
	require.EqualValues(t, 2, verified.Epoch)
	require.Zero(t, difference.Lost)
	// The samples that the old server handed over are also in the backup.
	dir := t.TempDir()
	_, _, err := new.Verify(t.Context(), dir)
	require.NoError(t, err)
	storage, err := simulated.Open(filepath.Join(dir, "data"))
	require.NoError(t, err)
	defer storage.Close()
	difference, err = compare.Samples(t.Context(), old, storage)
	require.NoError(t, err)
	t.Logf("of the old server, which continued for 4 minutes: %s", difference)
	require.False(t, difference.FirstLost().Before(handedOver), difference.String())
	require.EqualValues(t, 4*4*faultSeries, difference.Lost)
}

// After the bucket is emptied, the next backup starts over and uploads everything.
func faultEmptied(w faultWorld) {
	t := w.t
	server := w.first()
	server.advance(9 * time.Hour)
	server.backup()
	require.NoError(t, os.RemoveAll(w.Path(serveragent.Bucket, "history")))
	_, _, err := server.Verify(t.Context(), t.TempDir())
	require.ErrorContains(t, err, "no history was backed up yet")

	server.advance(time.Minute)
	server.backup()
	verified, difference := w.verifyRestore(server, server.Now)
	require.Zero(t, difference.Lost)
	require.Equal(t, server.Blocks(), verified.Blocks)
}

// A restored storage is like any other: it is opened, repaired, appended to and backed up.
func faultRepeatedRestores(w faultWorld) {
	t := w.t
	server := w.first()
	for i, name := range []string{"i-0000000000000000b", "i-0000000000000000c", "i-0000000000000000d"} {
		server.advance(3*time.Hour + 15*time.Second)
		server.backup()
		next := w.agent.Server(t, w, name)
		restored := next.Restore(t.Context())
		require.NoError(t, restored.Err, restored.String())
		// This opens the storage, which repairs it: the files then differ from the restored ones.
		w.compare(server, next.Data(), server.Now)
		next.TakeVIP(t)
		successor := w.collecting(next)
		successor.Now = server.Now
		successor.advance(time.Minute)
		successor.backup()
		verified, difference := w.verifyRestore(successor, successor.Now)
		require.Zero(t, difference.Lost)
		require.EqualValues(t, i+2, verified.Epoch)
		server = successor
	}
}
