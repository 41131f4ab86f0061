package history

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/agent/internal/bucket/buckettest"
	"immutable-infra/agent/internal/handover"
)

// world is a backup bucket and the servers that use it.
type world struct {
	*buckettest.Gateway
	t     *testing.T
	store *bucket.Bucket
}

func newWorld(t *testing.T) *world {
	t.Helper()
	gateway := buckettest.StartGateway(t)
	return &world{Gateway: gateway, t: t, store: openStore(t)}
}

// openStore opens the bucket at the endpoint that the environment names.
func openStore(t *testing.T) *bucket.Bucket {
	t.Helper()
	store, err := bucket.Open(t.Context(), "backup", "")
	require.NoError(t, err)
	return store
}

func (w *world) move(server string) {
	w.t.Helper()
	text, err := json.Marshal(handover.Holder{Server: server, Since: time.Now()})
	require.NoError(w.t, err)
	require.NoError(w.t, w.store.Put(w.t.Context(), handover.HolderKey, text, jsonType))
}

// age makes all objects that begin with prefix older, by the bucket's clock.
func (w *world) age(prefix string, by time.Duration) {
	w.t.Helper()
	for _, key := range w.Keys(w.t, prefix) {
		stat, err := os.Stat(w.Path(key))
		require.NoError(w.t, err)
		to := stat.ModTime().Add(-by)
		require.NoError(w.t, os.Chtimes(w.Path(key), to, to))
	}
}

// server is a server whose Prometheus is simulated: a test writes its files.
type server struct {
	Backup
	t         *testing.T
	restoring Restore
	log       *logText
}

// logText is a log buffer for concurrent writers.
type logText struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.text.String()
}

// server creates a new server of the stack production.
func (w *world) server(name string) *server {
	w.t.Helper()
	return newServer(w.t, w.store, name, w.t.TempDir())
}

func newServer(t *testing.T, store *bucket.Bucket, name, dir string) *server {
	t.Helper()
	log := &logText{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	state := filepath.Join(t.TempDir(), "history.json")
	return &server{
		Backup: Backup{
			Store: store, Server: name, Stack: "production", Dir: filepath.Join(dir, DataDir), State: state,
			Retention: 24 * time.Hour, Log: logger,
		},
		restoring: Restore{Store: store, Stack: "production", Dir: dir, State: state, Log: logger},
		t:         t, log: log,
	}
}

// restored creates a new server and restores its history.
func (w *world) restored(name string) *server {
	w.t.Helper()
	s := w.server(name)
	s.restore()
	return s
}

// restore runs a restore, which must succeed.
func (s *server) restore() Result {
	s.t.Helper()
	result, err := s.restoring.Run(s.t.Context())
	require.NoError(s.t, err)
	return result
}

// backup runs a backup, which must succeed.
func (s *server) backup() Report {
	s.t.Helper()
	report, err := s.Run(s.t.Context())
	require.NoError(s.t, err)
	return report
}

// write appends bytes to a file below the data directory.
func (s *server) write(path string, size int) {
	s.t.Helper()
	text := make([]byte, size)
	_, err := rand.Read(text)
	require.NoError(s.t, err)
	s.add(path, text)
}

func (s *server) add(path string, text []byte) {
	s.t.Helper()
	local := filepath.Join(s.Dir, path)
	require.NoError(s.t, os.MkdirAll(filepath.Dir(local), 0o755))
	file, err := os.OpenFile(local, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(s.t, err)
	_, err = file.Write(text)
	require.NoError(s.t, err)
	require.NoError(s.t, file.Close())
}

// segment appends to a segment of the write-ahead log.
func (s *server) segment(number, size int) {
	s.t.Helper()
	s.write(fmt.Sprintf("wal/%08d", number), size)
}

// block creates a block whose name ends with this number.
func (s *server) block(number int) (ulid string) {
	s.t.Helper()
	ulid = fmt.Sprintf("01ARZ3NDEKTSV4RRFFQ69G%04d", number)
	for name, size := range map[string]int{"chunks/000001": 3000, "index": 2000, "tombstones": 9, metaName: 300} {
		s.write(filepath.Join(ulid, name), size)
	}
	return ulid
}

// truncate does what Prometheus does every two hours: it creates a block, and a checkpoint of the segments up to
// this one, and removes these segments.
func (s *server) truncate(upTo, number int) {
	s.t.Helper()
	s.block(number)
	old, err := filepath.Glob(filepath.Join(s.Dir, "wal", "checkpoint.*"))
	require.NoError(s.t, err)
	s.write(fmt.Sprintf("wal/checkpoint.%08d/00000000", upTo), 1000)
	for _, path := range old {
		require.NoError(s.t, os.RemoveAll(path))
	}
	for segment := range upTo + 1 {
		require.NoError(s.t, os.RemoveAll(filepath.Join(s.Dir, "wal", fmt.Sprintf("%08d", segment))))
	}
}

// history returns all files that a backup must contain, by path.
func (s *server) history() map[string]string {
	s.t.Helper()
	files := map[string]string{}
	require.NoError(s.t, filepath.WalkDir(s.Dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(s.Dir, path)
		if err != nil || strings.HasPrefix(name, "chunks_head") {
			return err
		}
		text, err := os.ReadFile(path)
		files[name] = string(text)
		return err
	}))
	return files
}

// requireSame checks that two histories are the same.
func requireSame(t *testing.T, want, got map[string]string) {
	t.Helper()
	for path, text := range want {
		require.Contains(t, got, path)
		// Not by require.Equal, which would print all of it.
		require.True(t, got[path] == text, "%s has other bytes: %d bytes instead of %d", path, len(got[path]), len(text))
	}
	require.Len(t, got, len(want))
}

// first creates the stack's first server, with the VIP and a history that is backed up.
func (w *world) first(name string) *server {
	w.t.Helper()
	s := w.restored(name)
	w.move(name)
	s.segment(0, 40_000)
	s.block(1)
	s.backup()
	return s
}

// fails runs a backup, which must fail, and returns its error.
func (s *server) fails() error {
	s.t.Helper()
	_, err := s.Run(s.t.Context())
	require.Error(s.t, err)
	return err
}

// collectGarbageNext makes the next run collect garbage.
func (s *server) collectGarbageNext() {
	s.t.Helper()
	s.change(func(state *state) { state.Runs = garbageInterval })
}

func (s *server) change(change func(*state)) {
	s.t.Helper()
	state, err := loadState(s.State)
	require.NoError(s.t, err)
	change(state)
	require.NoError(s.t, state.save(s.State))
}

// puts returns the keys of the PUT requests.
func puts(requests []string) []string {
	var keys []string
	for _, request := range requests {
		if key, ok := strings.CutPrefix(request, "PUT "); ok {
			keys = append(keys, key)
		}
	}
	return keys
}

// once calls do for the first request with this method whose key begins with prefix. do reports whether it has
// responded. Other requests continue meanwhile.
func (w *world) once(method, prefix string, do func(http.ResponseWriter, *http.Request) (answered bool)) {
	var done atomic.Bool
	w.Intercept(func(writer http.ResponseWriter, r *http.Request) bool {
		if r.Method != method || !strings.HasPrefix(w.Key(r), prefix) || !done.CompareAndSwap(false, true) {
			return false
		}
		return do(writer, r)
	})
}

// cut closes the connection of a request.
func cut(http.ResponseWriter, *http.Request) bool {
	// net/http closes the connection of a handler that panics with this value.
	panic(http.ErrAbortHandler)
}
