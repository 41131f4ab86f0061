package switchover

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/e2e/internal/engine"
	"immutable-infra/e2e/internal/load"
)

var start = time.Date(2026, 4, 14, 12, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time {
	return start.Add(time.Duration(seconds * float64(time.Second)))
}

// good returns a replacement in which the VIP moved between the 40th and the 41st second without failures. The move cut
// connections.
func good() Replacement {
	return Replacement{
		Generation: 7,
		Move:       Move{Arrive: "old", Connections: "none"},
		Began:      at(0),
		Ended:      at(45),
		Engine: engine.Log{
			Previewed: at(4),
			Steps: []engine.Step{
				{Op: "create-replacement", Type: "aws:ec2/instance:Instance", Name: "web", Began: at(6), Ended: at(9)},
				{Op: "create-replacement", Type: "aws:ec2/eipAssociation:EipAssociation", Name: "vip", Began: at(40),
					Ended: at(41)},
				{Op: "delete-replaced", Type: "aws:ec2/eipAssociation:EipAssociation", Name: "vip", Began: at(42), Ended: at(42)},
				{Op: "delete-replaced", Type: "aws:ec2/instance:Instance", Name: "web", Began: at(42), Ended: at(44)},
			},
			Lines: []engine.Line{{At: at(20), Name: "web-provision", Severity: "info", Text: "containers"}},
		},
		Load: load.Report{
			Fresh: load.Summary{
				Requests: 9000, LongestGap: 100 * time.Millisecond, P50: 2 * time.Millisecond, P99: 30 * time.Millisecond,
				Max: time.Second, Behind: 4 * time.Millisecond,
			},
			KeepAlive: load.Summary{
				Requests: 4500, LongestGap: 50 * time.Millisecond, P50: time.Millisecond, P99: 10 * time.Millisecond,
				Max: time.Second, Reconnects: 3,
			},
		},
		Logins: []Login{
			{At: at(1), Took: time.Second},
			{At: at(40.5), Took: 10 * time.Second, Status: 255, Stderr: "Connection reset by peer"},
		},
	}
}

func failed(sent float64, took time.Duration) load.Failure {
	return load.Failure{At: at(sent), Took: took, Page: "/", Kind: "reset", Detail: "connection reset by peer"}
}

func TestReplacementWithoutFailuresHasNoProblem(t *testing.T) {
	require.Empty(t, good().Problems())
}

func TestOnlyRequestsInFlightDuringTheMoveMayFail(t *testing.T) {
	for name, test := range map[string]struct {
		sent float64
		took time.Duration
		good bool
	}{
		"before the move":              {39, 999 * time.Millisecond, false},
		"until the move":               {39, time.Second, true},
		"within the move":              {40.2, 10 * time.Millisecond, true},
		"during the whole move":        {39, 10 * time.Second, true},
		"beyond its end":               {40.9, 10 * time.Second, true},
		"sent as it ended":             {41, time.Second, true},
		"after the move":               {41.001, time.Millisecond, false},
		"while the old one is deleted": {42, time.Millisecond, false},
	} {
		t.Run(name, func(t *testing.T) {
			fresh, keepAlive, login := good(), good(), good()
			fresh.Load.Fresh.Failures = []load.Failure{failed(test.sent, test.took)}
			keepAlive.Load.KeepAlive.Failures = []load.Failure{failed(test.sent, test.took)}
			keepAlive.Load.KeepAlive.Failures[0].Kind = "refused"
			login.Logins = []Login{{At: at(test.sent), Took: test.took, Status: 255, Stderr: "Connection refused"}}
			for _, r := range []Replacement{fresh, keepAlive, login} {
				if test.good {
					require.Empty(t, r.Problems())
				} else {
					require.Len(t, r.Problems(), 1)
					require.Contains(t, r.Problems()[0], "not while the VIP moved")
				}
			}
		})
	}
}

func TestRequestsThatAMoveDropsMayFail(t *testing.T) {
	r := good()
	r.Move = Move{Window: 6 * time.Second, Arrive: "nothing", Connections: "end"}
	r.Load.Fresh.LongestGap = 6200 * time.Millisecond
	r.Load.Fresh.Failures = []load.Failure{failed(46.9, 10*time.Second)}
	require.Empty(t, r.Problems())
	r.Load.Fresh.Failures = append(r.Load.Fresh.Failures, failed(47.1, time.Second))
	require.Len(t, r.Problems(), 1)
	r.Load.Fresh.LongestGap = 6300 * time.Millisecond
	require.Len(t, r.Problems(), 2)
}

func TestMoveThatLosesNothingExcusesNothing(t *testing.T) {
	r := good()
	r.Move = Move{Window: 30 * time.Second, Arrive: "old", Connections: "1m0s"}
	r.Logins = r.Logins[:1]
	require.Empty(t, r.Problems())
	r.Load.KeepAlive.Failures = []load.Failure{failed(40.5, time.Millisecond)}
	r.Logins = good().Logins
	require.Len(t, r.Problems(), 2)
}

func TestMoveSettingsRoundTrip(t *testing.T) {
	move, err := ParseMove("-window 1m30s -arrive nothing -connections end\n")
	require.NoError(t, err)
	require.Equal(t, Move{Window: 90 * time.Second, Arrive: "nothing", Connections: "end"}, move)
	require.Equal(t, []string{"-window", "1m30s", "-arrive", "nothing", "-connections", "end"}, move.Flags())
	_, err = ParseMove("-window 6 -arrive nothing -connections end")
	require.ErrorContains(t, err, `cannot parse the settings of the move "-window 6 -arrive nothing -connections end"`)
}

func TestTableHasALineForEachKindOfVisitor(t *testing.T) {
	r := good()
	r.Load.Fresh.Failures = []load.Failure{failed(40, time.Second), failed(40.1, time.Second), failed(10, time.Second)}
	r.Load.Fresh.Failures[0].Kind = "timeout"
	require.Equal(t, `MOVE                          REPLACEMENTS  VISITORS  REQUESTS  FAILED AT THE MOVE  FAILED OTHERWISE  LONGEST GAP  RECONNECTS
0s to old, connections: none  1             fresh     9000      1 reset, 1 timeout  1 reset           100 ms       0
0s to old, connections: none  1             kept      4500      0                   0                 50 ms        3
`, Table([]Report{NewReport("project", []Replacement{r})}))
}

func TestCutOfAKeptConnectionMayBeNoticedAtTheNextRequest(t *testing.T) {
	r := good()
	r.Load.KeepAlive.Failures = []load.Failure{failed(41.5, time.Millisecond)}
	require.Empty(t, r.Problems())
	r.Load.KeepAlive.Failures = []load.Failure{failed(41.501, time.Millisecond)}
	require.Len(t, r.Problems(), 1)
	r.Load.KeepAlive.Failures = nil
	r.Load.Fresh.Failures = []load.Failure{failed(41.1, time.Millisecond)}
	require.Len(t, r.Problems(), 1, "a fresh visitor has no connection that a move could cut")
}

func TestEachProblemIsReported(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(*Replacement)
		problem string
	}{
		"a gap": {func(r *Replacement) { r.Load.Fresh.LongestGap, r.Load.Fresh.GapAt = 254*time.Millisecond, at(40.1) },
			"no fresh visitor got an answer for 254ms, beginning 40.1 s after the update began; the limit is 250ms plus 4ms, " +
				"by which this machine was late"},
		"a failure": {func(r *Replacement) { r.Load.KeepAlive.Failures = []load.Failure{failed(10, 20*time.Millisecond)} },
			`a visitor with a connection had "reset" for /, sent 10.0 s after the update began, after 20ms, not while the VIP moved: connection reset by peer`},
		"a host key warning": {func(r *Replacement) { r.Logins[0].Stderr = "REMOTE HOST IDENTIFICATION HAS CHANGED" },
			"a login 1.0 s after the update began printed an unexpected message: REMOTE HOST IDENTIFICATION HAS CHANGED"},
		"no login": {func(r *Replacement) { r.Logins = nil }, "no login was attempted"},
		"no move": {
			func(r *Replacement) { r.Engine.Steps = r.Engine.Steps[:1]; r.Logins = r.Logins[:1] }, "the VIP moved 0 times",
		},
		"a second move": {
			func(r *Replacement) { r.Engine.Steps = append(r.Engine.Steps, r.Engine.Steps[1]) }, "the VIP moved 2 times",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := good()
			test.change(&r)
			require.Equal(t, []string{test.problem}, r.Problems())
		})
	}
}

func TestReplacementIsDividedIntoParts(t *testing.T) {
	require.Equal(t, Times{
		UpMs:    45000,
		MovedMs: 41000,
		Parts: []Part{
			{"preview", 0, 4000},
			{"program until its first change", 4000, 2000},
			{"create web (Instance)", 6000, 3000},
			{"create vip (EipAssociation)", 40000, 1000},
			{"delete vip (EipAssociation)", 42000, 0},
			{"delete web (Instance)", 42000, 2000},
			{"end after the last change", 44000, 1000},
		},
	}, NewReport("project", []Replacement{good()}).Each[0].Times)
}

func TestReportHasSumsWorstGapAndMedianTimes(t *testing.T) {
	slow, worst := good(), good()
	slow.Ended = at(60)
	slow.Load.Fresh.LongestGap = 120 * time.Millisecond
	slow.Load.Fresh.Failures = []load.Failure{failed(40, time.Second)}
	worst.Ended = at(90)
	worst.Load.Fresh.LongestGap = 3 * time.Second
	worst.Load.Fresh.Failures = []load.Failure{failed(40, time.Second), failed(10, time.Second)}
	report := NewReport("project", []Replacement{worst, good(), slow})

	require.Equal(t, 3, report.Replacements)
	require.Equal(t, Visits{
		Requests: 27000, InFlight: map[string]int{"reset": 2}, Other: map[string]int{"reset": 1},
		LongestGapMs: 3000, MedianGapMs: 120, P50Ms: 2, P99Ms: 30, MaxMs: 1000, BehindMs: 4,
	}, report.Fresh)
	require.Equal(t, 9, report.KeepAlive.Reconnects)
	require.Equal(t, Logins{Tried: 6, Cut: 3}, report.Logins)
	require.EqualValues(t, 60000, report.Median.UpMs)
	require.EqualValues(t, 41000, report.Median.MovedMs)
	require.Equal(t, Part{"end after the last change", 44000, 16000}, report.Median.Parts[6])
	require.Len(t, report.Each[0].Problems, 2)
	require.Len(t, report.Each[0].Failures, 1)
}

func TestReportShowsOnlyAFewOfManyFailures(t *testing.T) {
	r := good()
	for range 5000 {
		r.Load.Fresh.Failures = append(r.Load.Fresh.Failures, failed(10, time.Second))
	}
	report := NewReport("original", []Replacement{r})
	require.Equal(t, map[string]int{"reset": 5000}, report.Fresh.Other)
	require.Len(t, report.Each[0].Failures, examples)
	require.Len(t, report.Each[0].Problems, examples)
}

func TestJSONReportHasEmptyLists(t *testing.T) {
	encoded, err := json.Marshal(NewReport("project", nil))
	require.NoError(t, err)
	require.NotContains(t, string(encoded), "null")
	encoded, err = json.Marshal(NewReport("project", []Replacement{{}}))
	require.NoError(t, err)
	require.NotContains(t, string(encoded), "null")
}
