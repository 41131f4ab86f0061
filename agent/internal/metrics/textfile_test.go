package metrics

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMetricsFileIsReplacedAsAWhole(t *testing.T) {
	dir := t.TempDir()
	file := Textfile{Path: filepath.Join(dir, "pull.prom")}
	for _, value := range []float64{1795651422.25, 1795651483} {
		require.NoError(t,
			file.Write(Metric{Name: "agent_last_pull_timestamp_seconds", Help: "When it was.", Value: value},
				Metric{Name: "agent_failures_total", Help: "How many.", Value: 3, Counter: true}))
	}
	text, err := os.ReadFile(file.Path)
	require.NoError(t, err)
	require.Equal(t, `# HELP agent_last_pull_timestamp_seconds When it was.
# TYPE agent_last_pull_timestamp_seconds gauge
agent_last_pull_timestamp_seconds 1795651483
# HELP agent_failures_total How many.
# TYPE agent_failures_total counter
agent_failures_total 3
`, string(text))
	stat, err := os.Stat(file.Path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o644), stat.Mode().Perm())
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1)
}

func TestNoMetricsAreWrittenWithoutAPath(t *testing.T) {
	require.NoError(t, Textfile{}.Write(Metric{Name: "agent_files"}))
}

func TestMetricsThatCannotBeWrittenAreAnError(t *testing.T) {
	require.ErrorContains(t, Textfile{Path: filepath.Join(t.TempDir(), "missing", "pull.prom")}.Write(),
		"cannot write metrics: ")
}
