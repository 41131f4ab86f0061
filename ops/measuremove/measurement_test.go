package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// moving returns a route that changes from the old server to the new one at a time.
func moving(when time.Duration) func(time.Duration) string {
	return func(now time.Duration) string {
		if now < when {
			return serverOld
		}
		return serverNew
	}
}

// interrupted returns a route to the new server that leads to a third destination between two times.
func interrupted(from, to time.Duration, destination string) func(time.Duration) string {
	return func(now time.Duration) string {
		switch {
		case now < from:
			return serverOld
		case now < to:
			return destination
		default:
			return serverNew
		}
	}
}

func TestInstantMoveLosesNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.route = moving(at(10.05))
		w.cut(serverOld, at(10.05))
		r := w.measure()
		require.Equal(t, serverNew, r.New)
		require.Equal(t, 101, r.phase("before").Old, "the last one at 10.0 s")
		require.Empty(t, r.windowed)
		require.Equal(t, len(r.Fresh)-101, r.phase("after").New)
		require.Equal(t, milliseconds(at(10.005)), r.LastOld)
		require.Equal(t, milliseconds(at(10.105)), r.FirstNew)
		require.Equal(t, milliseconds(at(10.1)), r.Zero)
		require.True(t, r.Settled)
		require.Zero(t, r.Behind)
		require.Zero(t, r.Returned)
		require.Equal(t, milliseconds(at(0.1)), r.LongestGap)

		first := r.ofVisitor(1)
		require.Len(t, first, 2)
		require.Equal(t, map[string]int{serverOld: 10}, first[0].Answers)
		require.Equal(t, []any{milliseconds(0), milliseconds(at(10.05)), "reset", stage("")},
			[]any{first[0].Opened, first[0].Ended, first[0].EndedBy, first[0].FailedIn})
		require.Equal(t, endOpen, first[1].EndedBy)
		require.Equal(t, map[string]int{serverNew: first[1].Asked}, first[1].Answers)
		require.Equal(t, map[string]int{serverOld: 9}, r.ofVisitor(2)[0].Answers)
		// It ends five seconds after 11 s, when every connection opened before the new server's first answer has had an
		// answer.
		require.InDelta(t, 160, len(r.Fresh), 1)
	})
}

func TestLateAnswersOfTheOldServerAreInTheWindow(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.route = moving(at(16.05))
		w.cut(serverOld, at(70.05))
		w.holder = func(context.Context) (string, error) { return moving(at(10.05))(w.now()), nil }
		r := w.measure()
		require.Equal(t, &association{milliseconds(at(10)), milliseconds(at(10.25)), serverNew}, r.Association)
		require.Equal(t, milliseconds(at(10)), r.Zero)
		require.Equal(t, 100, r.phase("before").Old)
		require.Equal(t, phase{
			Name: "window", From: milliseconds(at(10)), To: milliseconds(at(16)), Sent: 61, Old: 61, Connects: [5]int{61},
		}, r.phase("window"))
		require.Equal(t, len(r.Fresh)-161, r.phase("after").New)
		require.Equal(t, milliseconds(at(16.005)), r.LastOld)
		require.Equal(t, milliseconds(at(16.105)), r.FirstNew)
		for visitor, answers := range map[int]int{1: 70, 2: 69} {
			kept := r.ofVisitor(visitor)[0]
			require.Equal(t, map[string]int{serverOld: answers}, kept.Answers)
			require.Equal(t, milliseconds(at(70.05)), kept.Ended)
		}
		require.InDelta(t, 751, len(r.Fresh), 1, "it ends five seconds after the last connection to the old server does")
	})
}

func TestLostPacketsCauseLateAnswersOrTimeouts(t *testing.T) {
	for name, test := range map[string]struct {
		timeout  time.Duration
		window   phase
		ends     []string
		lastOpen float64
	}{
		"a long timeout": {
			10 * time.Second,
			phase{Sent: 60, New: 60, LostSYN: 60, Connects: [5]int{0, 0, 10, 20, 30}, MaxConnect: milliseconds(at(7))},
			[]string{kindTimedOut, endOpen}, 21,
		},
		"a short timeout": {
			2 * time.Second,
			phase{Sent: 60, New: 10, TimedOut: 50, LostSYN: 60, Connects: [5]int{0, 0, 10}, MaxConnect: milliseconds(at(1))},
			[]string{kindTimedOut, kindTimedOut, endOpen}, 16,
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.route = interrupted(at(10.05), at(16.05), nowhere)
				w.silence(serverOld, at(10.05))
				w.timeout = test.timeout
				r := w.measure()
				require.Equal(t, 101, r.phase("before").Old)
				test.window.Name = "window"
				test.window.From, test.window.To = milliseconds(at(10.1)), milliseconds(at(16))
				require.Equal(t, test.window, r.phase("window"))
				require.Equal(t, len(r.Fresh)-161, r.phase("after").New)
				require.Equal(t, milliseconds(at(10.005)), r.GapFrom)
				require.Equal(t, milliseconds(at(6.1)), r.LongestGap)
				kept := r.ofVisitor(1)
				require.Len(t, kept, len(test.ends))
				for i, end := range test.ends {
					require.Equal(t, end, kept[i].EndedBy)
				}
				require.Equal(t, answering, kept[0].FailedIn)
				require.Equal(t, 11, kept[0].Asked)
				require.Equal(t, map[string]int{serverOld: 10}, kept[0].Answers)
				require.Equal(t, milliseconds(at(test.lastOpen)), kept[len(kept)-1].Opened)
			})
		})
	}
}

func TestRefusedConnectionsAreCounted(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.route = interrupted(at(10.05), at(13.05), refusing)
		w.cut(serverOld, at(10.05))
		r := w.measure()
		require.Equal(t, phase{
			Name: "window", From: milliseconds(at(10.1)), To: milliseconds(at(13)), Sent: 30, Refused: 30,
		}, r.phase("window"))
		kept := r.ofVisitor(1)
		require.Len(t, kept, 6, "the cut connection, attempts at once and at 11, 12 and 13 s, and the connection at 14 s")
		for _, attempt := range kept[1:5] {
			require.Equal(t, []any{"refused", connecting, 0}, []any{attempt.EndedBy, attempt.FailedIn, attempt.Asked})
		}
	})
}

func TestRequestCutInFlightIsInTheWindow(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.route = moving(at(10.002))
		w.cut(serverOld, at(10.002))
		r := w.measure()
		require.Equal(t, 100, r.phase("before").Old)
		require.Equal(t, phase{
			Name: "window", From: milliseconds(at(10)), To: milliseconds(at(10)), Sent: 1, Reset: 1, Connects: [5]int{1},
		}, r.phase("window"))
		require.Equal(t, []any{101, answering}, []any{r.windowed[0].Number, r.windowed[0].FailedIn})
		kept := r.ofVisitor(1)[0]
		require.Equal(t, []any{10, map[string]int{serverOld: 9}, "reset", answering},
			[]any{kept.Asked, kept.Answers, kept.EndedBy, kept.FailedIn})
	})
}

func TestAlternatingAnswersAreInTheWindow(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.route = func(now time.Duration) string {
			if now < at(10.05) || now < at(12) && now/(100*time.Millisecond)%2 == 0 {
				return serverOld
			}
			return serverNew
		}
		w.cut(serverOld, at(12))
		r := w.measure()
		window := r.phase("window")
		// From 10.1 s to 11.8 s: new, old, ..., old.
		require.Equal(t, []int{18, 9, 9}, []int{window.Sent, window.Old, window.New})
		require.Equal(t, 101, r.phase("before").Old)
		require.Equal(t, milliseconds(at(11.805)), r.LastOld)
		require.Equal(t, milliseconds(at(10.105)), r.FirstNew)
	})
}

func TestReturnOfTheAddressIsReported(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.route = func(now time.Duration) string {
			if now < at(10.05) || now >= at(14.05) {
				return serverOld
			}
			return serverNew
		}
		w.cut(serverOld, at(10.05))
		w.cut(serverNew, at(14.05))
		r := w.measure()
		require.Equal(t, 101, r.phase("before").Old)
		require.Equal(t, 40, r.phase("after").New)
		require.Equal(t, r.phase("after").Old, r.Returned)
		require.InDelta(t, 51, r.Returned, 1)
		var text strings.Builder
		require.NoError(t, r.print(&text))
		require.Contains(t, text.String(), "**The address returned**: i-old answered")
	})
}

func TestConnectionAnnouncedToCloseIsReplacedBeforeTheMove(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.route = moving(at(10.05))
		w.cut(serverOld, at(10.05))
		w.drains = at(8)
		r := w.measure()
		kept := r.ofVisitor(1)
		for i, expected := range []keptConnection{
			{EndedBy: endAnnounced, Asked: 8, Ended: milliseconds(at(8.005))},
			{EndedBy: endAnnounced, Asked: 1, Ended: milliseconds(at(9.005))},
			{EndedBy: endAnnounced, Asked: 1, Ended: milliseconds(at(10.005))},
			{EndedBy: kindReset, Ended: milliseconds(at(10.05))},
		} {
			require.Equal(t, expected, keptConnection{EndedBy: kept[i].EndedBy, Asked: kept[i].Asked, Ended: kept[i].Ended})
		}
		require.Equal(t, milliseconds(at(11)), kept[4].Opened)
		require.Equal(t, map[string]int{serverNew: 1}, kept[4].Answers, "the new server also announces the end")
	})
}

func TestRequestsBeyondTheInFlightLimitAreSentLateAndNoneIsSkipped(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.route = moving(at(10.05))
		w.latency = 300 * time.Millisecond
		w.maxInFlight, w.visitors, w.limit = 1, 0, 12*time.Second
		r := w.measure()
		require.Equal(t, 1, r.MostInFlight)
		for _, request := range r.Fresh {
			require.Equal(t, milliseconds(request.Number-1)*milliseconds(300*time.Millisecond), request.Sent)
			require.Equal(t, milliseconds(request.Number-1)*milliseconds(100*time.Millisecond), request.Due)
		}
		require.InDelta(t, 40, len(r.Fresh), 1)
		require.Equal(t, milliseconds(len(r.Fresh)-1)*milliseconds(200*time.Millisecond), r.Behind)
		// The first one is on time.
		require.Equal(t, len(r.Fresh)-1, r.phase("before").Late+r.phase("window").Late+r.phase("after").Late)
	})
}

func TestMeasurementEndsWithoutAMove(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.route = moving(time.Hour)
		w.limit = at(20.05)
		r := w.measure()
		require.Empty(t, r.New)
		require.Len(t, r.Fresh, 201, "it ends at its limit")
		require.Equal(t, 201, r.phase("before").Old)
		require.Len(t, r.Phases, 1)
		var text strings.Builder
		require.NoError(t, r.print(&text))
		require.Contains(t, text.String(), "**No move was observed**: no other server than i-old answered.")
	})
	inWorld(t, func(t *testing.T, w *world) {
		w.route = moving(time.Hour)
		ended := make(chan struct{})
		w.ended = ended
		timer := time.AfterFunc(at(7.05), func() { close(ended) })
		defer timer.Stop()
		require.InDelta(t, 121, len(w.measure().Fresh), 1, "it ends five seconds after the command")
	})
	inWorld(t, func(t *testing.T, w *world) {
		w.route = moving(time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), at(3.002))
		defer cancel()
		m := measure(ctx, w.settings)
		require.Len(t, m.fresh, 31)
		require.Equal(t, serverOld, m.fresh[30].Server, "it waits for the request in flight")
	})
}

func TestMeasurementContinuesUntilTheCommandEnds(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.route = moving(at(3.05))
		w.cut(serverOld, at(3.05))
		ended := make(chan struct{})
		w.ended = ended
		timer := time.AfterFunc(at(30.05), func() { close(ended) })
		defer timer.Stop()
		require.InDelta(t, 351, len(w.measure().Fresh), 1)
	})
}

func TestMeasurementWaitsForConnectionsWithoutAnAnswer(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.route = moving(at(10.05))
		w.drains = at(8)
		w.keptInterval = 40 * time.Second
		r := w.measure()
		kept := r.ofVisitor(1)[0]
		require.Equal(t, map[string]int{serverOld: 1}, kept.Answers, "the first request on it is at 40 s")
		require.Equal(t, endAnnounced, kept.EndedBy)
		require.InDelta(t, 450, len(r.Fresh), 2)
	})
}

func TestReportNamesEveryMoment(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.route = interrupted(at(10.05), at(16.05), nowhere)
		w.silence(serverOld, at(10.05))
		w.holder = func(context.Context) (string, error) { return moving(at(10.05))(w.now()), nil }
		r := w.measure()
		var text strings.Builder
		require.NoError(t, r.print(&text))
		for _, line := range []string{
			"# example.com at 192.0.2.1, stack production",
			"2000-01-01T00:00:00Z, a request every 100ms on a new connection, abandoned after 10s.",
			"| +0.000 s | last call of EC2's API that names i-old |",
			"| +0.250 s | EC2's API has named i-new |",
			"| +0.005 s | last answer of i-old |",
			"| +6.105 s | first answer of i-new |",
			"| +0.005 s | longest time without an answer: 6.100 s |",
			"| before | -10.000 s | -0.100 s | 100 | 100 | 0 | 0 | 0 | 0 | 0 | 0 | 0 |",
			"| window | +0.000 s | +6.000 s | 61 | 1 | 60 | 0 | 0 | 0 | 0 | 0 | 0 |",
			"| window | 1 | 0 | 10 | 20 | 30 | 7.000 s | 60 |",
			"| +0.000 s | +0.000 s | 1 | i-old |",
			"| +0.100 s | +6.000 s | 60 | i-new |",
			"| 1 | -10.000 s | +11.000 s | 21.000 s | timed out | i-old: 10 | +0.005 s |",
			"| 2 | -9.500 s | +10.500 s | 20.000 s | timed out | i-old: 9 | -0.495 s |",
		} {
			require.Contains(t, text.String(), line+"\n")
		}
		encoded, err := json.Marshal(r)
		require.NoError(t, err)
		require.Contains(t, string(encoded),
			`{"number":1,"dueMs":0,"sentMs":0,"endedMs":5,"connectMs":0,"tlsMs":0,"server":"i-old"}`)
		require.NotContains(t, string(encoded), "null")
	})
}
