package compare

import (
	"math"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"
)

// stored creates a storage with the values of each series, one per second. -1 means no sample.
func stored(t *testing.T, series map[string][]float64) *tsdb.DB {
	t.Helper()
	db, err := tsdb.Open(t.TempDir(), nil, nil, tsdb.DefaultOptions(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	appender := db.Appender(t.Context())
	for name, values := range series {
		for second, value := range values {
			if value == -1 {
				continue
			}
			_, err := appender.Append(storage.SeriesRef(0), labels.FromStrings(labels.MetricName, name), int64(second)*1000,
				value)
			require.NoError(t, err)
		}
	}
	require.NoError(t, appender.Commit())
	return db
}

func TestEachSampleIsCompared(t *testing.T) {
	nan := math.NaN()
	for name, test := range map[string]struct {
		before, after map[string][]float64
		want          Difference
	}{
		"the same": {
			map[string][]float64{"a": {1, 2}, "b": {nan}}, map[string][]float64{"a": {1, 2}, "b": {nan}},
			Difference{Same: 3, Series: 2},
		},
		"the end lost": {
			map[string][]float64{"a": {1, 2, 3}}, map[string][]float64{"a": {1}}, Difference{Same: 1, Series: 1, Lost: 2},
		},
		"a hole": {
			map[string][]float64{"a": {1, 2, 3}}, map[string][]float64{"a": {1, -1, 3}}, Difference{Same: 2, Series: 1, Lost: 1},
		},
		"another value": {
			map[string][]float64{"a": {1, 2}}, map[string][]float64{"a": {1, 3}}, Difference{Same: 1, Series: 1, Changed: 1},
		},
		"series lost": {
			map[string][]float64{"a": {1}, "b": {1}, "c": {1}}, map[string][]float64{"b": {1}},
			Difference{Same: 1, Series: 3, Lost: 2},
		},
		"more series": {
			map[string][]float64{"b": {1}}, map[string][]float64{"a": {1}, "b": {1}, "c": {1}},
			Difference{Same: 1, Series: 1, Invented: 2},
		},
		"more samples": {
			map[string][]float64{"a": {-1, 2}}, map[string][]float64{"a": {1, 2, 3}},
			Difference{Same: 1, Series: 1, Invented: 2},
		},
		"all lost": {map[string][]float64{"a": {1}}, nil, Difference{Series: 1, Lost: 1}},
		"nothing":  {nil, nil, Difference{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Samples(t.Context(), stored(t, test.before), stored(t, test.after))
			require.NoError(t, err)
			got.firstLost, got.lastLost = 0, 0
			require.Equal(t, test.want, got)
		})
	}
}

func TestTimesOfLostSamplesAreReported(t *testing.T) {
	got, err := Samples(t.Context(), stored(t, map[string][]float64{"a": {1, 2, 3, 4}, "b": {1, 2, 3}}),
		stored(t, map[string][]float64{"a": {1, 2}, "b": {1, 2, 3}}))
	require.NoError(t, err)
	require.Equal(t, time.Unix(2, 0).UTC(), got.FirstLost())
	require.Equal(t, time.Unix(3, 0).UTC(), got.LastLost())
	require.Equal(t, "5 samples of 2 series are the same; LOST 2, of 00:00:02 to 00:00:03", got.String())
}
