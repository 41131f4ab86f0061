package history

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/bucket/buckettest"
)

// line is the network between the servers and the bucket.
type line struct{ *toxiproxy.Proxy }

// newLine returns a bucket behind a network, and the network.
func newLine(t *testing.T) (*world, line) {
	t.Helper()
	w := newWorld(t)
	address, err := url.Parse(w.URL)
	require.NoError(t, err)
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	l := line{toxiproxy.NewProxy(server, "line", "127.0.0.1:0", address.Host)}
	require.NoError(t, l.Start())
	t.Cleanup(l.Stop)
	for name, value := range buckettest.Environment("http://"+l.Listen, filepath.Join(t.TempDir(), "none")) {
		t.Setenv(name, value)
	}
	return w, l
}

// server creates a server behind the network.
func (l line) server(t *testing.T, name string) *server {
	t.Helper()
	return newServer(t, openStore(t), name, t.TempDir())
}

// addToxic adds a fault of the network, a toxic of toxiproxy, until removeToxics is called.
func (l line) addToxic(t *testing.T, toxic string) {
	t.Helper()
	_, err := l.Toxics.AddToxicJson(strings.NewReader(toxic))
	require.NoError(t, err)
}

func (l line) removeToxics(t *testing.T) {
	t.Helper()
	l.Toxics.ResetToxics(t.Context())
}

// holder creates a server behind the network that holds the VIP, with a history that is backed up.
func (l line) holder(t *testing.T, w *world) *server {
	t.Helper()
	s := l.server(t, "i-old")
	s.restore()
	w.move("i-old")
	s.segment(0, 40_000)
	s.block(1)
	s.backup()
	return s
}

func TestRefusedConnectionsOnlyDelayBackups(t *testing.T) {
	w, line := newLine(t)
	s := line.holder(t, w)
	want := s.history()
	line.Stop()
	for range 3 {
		s.segment(0, 1_000)
		require.ErrorIs(t, s.fails(), syscall.ECONNREFUSED)
	}
	successor := line.server(t, "i-new")
	_, err := successor.restoring.Run(t.Context())
	require.ErrorIs(t, err, errUnreadable)
	requireSame(t, want, w.restored("i-another").history())

	require.NoError(t, line.Start())
	report := s.backup()
	require.Less(t, report.Bytes, int64(4_500), "all new data in one run")
	successor.restore()
	requireSame(t, s.history(), successor.history())
}

func TestSlowBucketDoesNotFailTheBackup(t *testing.T) {
	w, line := newLine(t)
	s := line.holder(t, w)
	line.addToxic(t, `{"type": "latency", "stream": "downstream", "attributes": {"latency": 100, "jitter": 50}}`)
	line.addToxic(t, `{"type": "bandwidth", "stream": "upstream", "attributes": {"rate": 200}}`)
	s.segment(0, 100_000)
	begin := time.Now()
	s.backup()
	require.Greater(t, time.Since(begin), 500*time.Millisecond)
	successor := line.server(t, "i-new")
	require.Zero(t, successor.restore().Fallbacks)
	requireSame(t, s.history(), successor.history())
}

func TestInterruptedUploadIsNeverVisible(t *testing.T) {
	w, line := newLine(t)
	s := line.holder(t, w)
	want := s.history()
	// Some bytes of a part, the block and the manifest arrive, more each time.
	s.segment(0, 60_000)
	s.block(2)
	for sent := int64(10_000); sent <= 70_000; sent += 20_000 {
		line.addToxic(t, fmt.Sprintf(`{"type": "limit_data", "stream": "upstream", "attributes": {"bytes": %d}}`, sent))
		_, err := s.Run(t.Context())
		if err == nil {
			want = s.history()
		}
		successor := w.server("i-new")
		require.Zero(t, successor.restore().Fallbacks)
		requireSame(t, want, successor.history())
		line.removeToxics(t)
	}
	s.segment(0, 10)
	s.backup()
	requireSame(t, s.history(), w.restored("i-third").history())
}

func TestInterruptedRestoreSucceedsEventually(t *testing.T) {
	w, line := newLine(t)
	old := line.holder(t, w)
	for number := range 30 {
		old.block(number + 2)
	}
	old.segment(0, 200_000)
	old.backup()
	s := line.server(t, "i-new")
	line.addToxic(t, `{"type": "limit_data", "stream": "downstream", "attributes": {"bytes": 60000}}`)
	failures := 0
	for {
		_, err := s.restoring.Run(t.Context())
		if err == nil {
			break
		}
		require.NotErrorIs(t, err, errUnusable)
		require.NoDirExists(t, s.Dir)
		if failures++; failures == 3 {
			line.removeToxics(t)
		}
		require.Less(t, failures, 5, err)
	}
	require.NotZero(t, failures, "the connection must have been cut")
	require.NotContains(t, s.log.String(), "trying the one before")
	requireSame(t, old.history(), s.history())
}
