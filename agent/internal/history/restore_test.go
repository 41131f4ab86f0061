package history

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestANewServerGoesOnWithAllThatTheOneBeforeMeasured(t *testing.T) {
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
	require.Equal(t, Report{Bytes: report.Bytes, Objects: 2 + 1 + 4 + 1 + 1, Epoch: 1, Sequence: 3, Duration: report.Duration}, report)

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

	// It goes on: only what is new is sent.
	w.move("i-new")
	successor.segment(4, 700)
	report = successor.backup()
	require.Equal(t, uint64(2), report.Epoch)
	require.Equal(t, 2, report.Objects, "the new bytes, and the manifest")
	third := w.restored("i-third")
	requireSame(t, successor.history(), third.history())
}

func TestTheFirstServerBeginsWithNothing(t *testing.T) {
	w := newWorld(t)
	s := w.server("i-first")
	result := s.restore()
	require.False(t, result.Found)
	require.Equal(t, "no history was backed up yet: Prometheus begins with nothing", result.String())
	require.DirExists(t, s.Dir)
	text, err := os.ReadFile(filepath.Join(s.restoring.Dir, "restored.json"))
	require.NoError(t, err)
	require.Contains(t, string(text), `"found": false`)
}
