package history

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// prometheus is a fake that records its calls.
type prometheus struct {
	calls []string
	fails string
}

func (p *prometheus) call(name string) error {
	p.calls = append(p.calls, name)
	if p.fails == name {
		return errors.New(name + " failed")
	}
	return nil
}

// data returns the Data of a server during a handover.
func (s *server) data() (Data, *prometheus, *bytes.Buffer) {
	prometheus, out := &prometheus{}, &bytes.Buffer{}
	return Data{
		Backup: s.Backup, Restoring: s.restoring,
		Stop: func(context.Context) error {
			if err := prometheus.call("stop"); err != nil {
				return err
			}
			// The samples that were still in memory.
			s.add("wal/00000000", []byte("the last samples"))
			return nil
		},
		Start:   func(context.Context) error { return prometheus.call("start") },
		Collect: func() error { return prometheus.call("collect") },
		Out:     out,
	}, prometheus, out
}

func TestLastSamplesAreRestoredBeforeCollecting(t *testing.T) {
	w := newWorld(t)
	old := w.first("i-old")
	s := w.restored("i-new")
	data, asked, _ := old.data()
	require.NoError(t, data.Release(t.Context()))
	require.Equal(t, []string{"stop"}, asked.calls)

	require.NoError(t, os.WriteFile(filepath.Join(s.restoring.Dir, CollectingFile), nil, 0o644))
	data, asked, out := s.data()
	require.NoError(t, data.Restore(t.Context()))
	requireSame(t, old.history(), s.history())
	require.Equal(t, []string{"stop", "collect", "start"}, asked.calls)
	require.Contains(t, out.String(), "restored: history of i-old, ")
}

func TestResumedServerCollectsAgain(t *testing.T) {
	w := newWorld(t)
	data, asked, _ := w.first("i-old").data()
	require.NoError(t, data.Release(t.Context()))
	require.NoError(t, data.Resume(t.Context()))
	require.Equal(t, []string{"stop", "stop", "collect", "start"}, asked.calls)
}

func TestPrometheusOfTheFirstServerCollects(t *testing.T) {
	w := newWorld(t)
	data, asked, _ := w.restored("i-first").data()
	require.NoError(t, data.Resume(t.Context()))
	require.Equal(t, []string{"stop", "collect", "start"}, asked.calls,
		"Prometheus checks at its start whether it may collect")
}

func TestRunningPrometheusIsNotTreatedAsStopped(t *testing.T) {
	w := newWorld(t)
	old := w.first("i-old")
	want := old.history()
	data, asked, _ := old.data()
	asked.fails = "stop"
	require.EqualError(t, data.Release(t.Context()), "stop failed")
	require.EqualError(t, data.Restore(t.Context()), "stop failed")
	requireSame(t, want, old.history())
}

func TestNewServerWithFailedRestoreCollectsNothing(t *testing.T) {
	w := newWorld(t)
	w.first("i-old")
	s := w.restored("i-new")
	w.Intercept(func(writer http.ResponseWriter, r *http.Request) bool {
		return strings.HasPrefix(w.Key(r), manifestRoot) && cut(writer, r)
	})
	data, asked, _ := s.data()
	require.ErrorIs(t, data.Restore(t.Context()), errUnreadable)
	require.Equal(t, []string{"stop", "start"}, asked.calls, "the old server still collects")
	require.NoFileExists(t, filepath.Join(s.restoring.Dir, CollectingFile))
}
