package backupbench

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/e2e/internal/compare"
)

// runs returns the runs of some hours, one per minute. sent returns the bytes of a minute; minutes count from 1.
func runs(hours int, sent func(minute int) int64) (all []Run) {
	for minute := 1; minute <= hours*60; minute++ {
		all = append(all, Run{Minute: minute, Sent: sent(minute), Requests: 5, Seconds: 0.1, Told: sent(minute) - 3000})
	}
	return all
}

// constant returns a cost of 40 kB per minute, plus a block of a megabyte every two hours from the fourth hour on.
func constant(minute int) int64 {
	if minute >= 180 && minute%120 == 61 {
		return 1_000_000
	}
	return 40_000
}

func whole() compare.Difference { return compare.Difference{Same: 1000, Series: 10} }

func TestConstantCostIsNoProblem(t *testing.T) {
	report := NewReport(Measured{
		Series: 1000, Interval: 15 * time.Second, Ours: runs(12, constant),
		Original: runs(12, func(int) int64 { return 4_000_000 }),
		Restores: []Restore{{After: "hour 1", Ours: Transfer{Samples: whole()}}},
		Killed:   []Killed{{Interval: 100, Ours: Transfer{Samples: compare.Difference{Same: 900, Lost: 100}}}},
	})
	require.Empty(t, report.Problems)
	require.Len(t, report.Hours, 12)
	require.Len(t, report.Cycles, 5)
	require.InDelta(t, 48_000, report.Cycles[0].SentMean, 1)
	require.InDelta(t, 600, report.Ours.OverheadPerRequest, 1)
	require.InDelta(t, 85, report.Ratio, 5)
	require.InDelta(t, 1_000_000, report.Hours[3].Ours.SentMax, 0)
	require.Contains(t, report.String(), "The original sends")
}

func TestGrowingCostIsAProblem(t *testing.T) {
	t.Run("an ordinary minute", func(t *testing.T) {
		report := NewReport(Measured{Ours: runs(12, func(minute int) int64 { return constant(minute) + int64(minute)*7 })})
		require.NotEmpty(t, report.Problems)
		require.Contains(t, report.Problems[0], "an ordinary minute of hour 11 takes")
	})
	t.Run("the blocks", func(t *testing.T) {
		report := NewReport(Measured{Ours: runs(8, func(minute int) int64 {
			if minute == 7*60+1 {
				return 2 * constant(minute)
			}
			return constant(minute)
		})})
		require.Len(t, report.Problems, 1)
		require.Contains(t, report.Problems[0], "a minute of hours 7 and 8 takes 56333 bytes, one of hours 3 and 4 48000")
	})
}

func TestCostAboveTheLimitIsAProblem(t *testing.T) {
	report := NewReport(Measured{Ours: runs(3, func(int) int64 { return 50_100 })})
	require.Equal(t, []string{"a minute takes 50100 bytes: more than 50000"}, report.Problems)
}

func TestWrongReportOfSentBytesIsAProblem(t *testing.T) {
	for name, reported := range map[string]int64{"too many": 41_000, "too few": 20_000} {
		t.Run(name, func(t *testing.T) {
			measured := runs(1, constant)
			for i := range measured {
				measured[i].Told = reported
			}
			report := NewReport(Measured{Ours: measured})
			require.Len(t, report.Problems, 1)
			require.Contains(t, report.Problems[0], "the agent reports that a run of hour 1 sent")
		})
	}
}

func TestIncompleteRestoreIsAProblem(t *testing.T) {
	for name, difference := range map[string]compare.Difference{
		"nothing restored": {}, "one lost": {Same: 1000, Lost: 1}, "one changed": {Same: 1000, Changed: 1},
		"one invented": {Same: 1000, Invented: 1},
	} {
		t.Run(name, func(t *testing.T) {
			report := NewReport(Measured{Restores: []Restore{{After: "hour 1", Ours: Transfer{Samples: difference}}}})
			require.Len(t, report.Problems, 1)
			require.Contains(t, report.Problems[0], "after hour 1, the restore is incomplete")
		})
	}
}

func TestMoreThanAnIntervalLostIsAProblem(t *testing.T) {
	report := NewReport(Measured{
		Killed: []Killed{{AfterBackup: 60, Interval: 100, Ours: Transfer{Samples: compare.Difference{Same: 900, Lost: 101}}}},
	})
	require.Len(t, report.Problems, 1)
	require.Contains(t, report.Problems[0], "more than one interval of 100 samples is lost")
}
