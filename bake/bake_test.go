package bake

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"immutable-infra/server"
	"immutable-infra/server/report"
)

// fakeCloud is a cloud with the servers i-old and i-new. The VIP is at i-new.
type fakeCloud struct {
	began  time.Time
	holder string
	// moves and terminated have the ids of instances, in order.
	moves, terminated []string
	// tags are the values of i-new's tag, in order.
	tags    []string
	objects map[string][]byte
	lines   []string
	// signs returns the sign of life of i-old, by the time since the start. Default: the same sign at all times, as from
	// an earlier update.
	signs func(after time.Duration) ([]byte, error)
	// gone is a server that no longer responds, or "".
	gone string
	// moveErr is the error of a move, or nil.
	moveErr error
	// window is how long after a move visits do not reach the server that holds the VIP. inWindow is the server that they
	// reach during that time, or "". moved is the time of the last move.
	window   time.Duration
	inWindow string
	moved    time.Time
	// broken returns the error of a visit of i-new, by the time since the start.
	broken func(after time.Duration) error
	// reports modifies the report of i-new, by the time since the start. It returns false if there is no report.
	reports func(after time.Duration, r *report.Report) bool
}

func newFakeCloud() *fakeCloud {
	now := time.Now()
	return &fakeCloud{began: now, moved: now, holder: "i-new", objects: map[string][]byte{}}
}

func (w *fakeCloud) AddressHolder(context.Context, string) (string, error) { return w.holder, nil }

func (w *fakeCloud) MoveAddress(_ context.Context, _, instance string) error {
	if w.moveErr != nil {
		return w.moveErr
	}
	w.holder, w.inWindow, w.moved = instance, w.holder, time.Now()
	w.moves = append(w.moves, instance)
	return nil
}

func (w *fakeCloud) TerminateInstance(ctx context.Context, instance string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	w.terminated = append(w.terminated, instance)
	return nil
}

func (w *fakeCloud) TagInstance(_ context.Context, instance, key, value string) error {
	if instance != "i-new" || key != FailedTag {
		return errors.New("AccessDenied")
	}
	w.tags = append(w.tags, value)
	return nil
}

func (w *fakeCloud) Get(_ context.Context, key string) ([]byte, error) {
	switch {
	case key == report.StandbyKey && w.signs == nil:
		return json.Marshal(report.Standby{Server: "i-old"})
	case key == report.StandbyKey:
		return w.signs(time.Since(w.began))
	case key != report.Key:
		if object, found := w.objects[key]; found {
			return object, nil
		}
		return nil, errors.New("404 Not Found")
	}
	share, fast, none := 0.5, 0.02, 0.0
	figures := report.Figures{Errors: &none, Latency: &fast, Memory: &share, Disk: &share, Restarts: &none}
	r := report.Report{
		Server: "i-new", Time: time.Now(), Checks: []report.Check{{Name: "containers", OK: true}},
		Figures: map[string]report.Figures{"i-new": figures, "i-old": figures},
	}
	if w.reports != nil && !w.reports(time.Since(w.began), &r) {
		return nil, errors.New("404 Not Found")
	}
	return json.Marshal(r)
}

func (w *fakeCloud) Put(_ context.Context, key, _ string, content []byte) error {
	w.objects[key] = content
	return nil
}

func (w *fakeCloud) visit(_ context.Context, server string) error {
	reached := w.holder
	if time.Since(w.moved) < w.window {
		reached = w.inWindow
	}
	switch {
	case reached == "" || reached == w.gone || slices.Contains(w.terminated, reached):
		// A connection attempt without a response takes this long to fail.
		time.Sleep(5 * time.Second)
		return errors.New("dial: i/o timeout")
	case server != reached:
		return errors.New("another server responds")
	case server == "i-new" && w.broken != nil:
		return w.broken(time.Since(w.began))
	}
	return nil
}

// bake runs the bake of i-new, and returns how long it took and its error.
func (w *fakeCloud) bake(ctx context.Context, change func(*Bake)) (time.Duration, error) {
	b := Bake{
		Server: "i-new", Previous: "i-old", AllocationID: "eipalloc-1", Cloud: w, Bucket: w, Visit: w.visit,
		Log: func(line string) { w.lines = append(w.lines, line) },
	}
	server.SetDefaults(&b.Criteria)
	if change != nil {
		change(&b)
	}
	began := time.Now()
	err := b.Run(ctx)
	return time.Since(began), err
}

func TestGoodServerKeepsTheVIPAfterTheBakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeCloud()
		took, err := w.bake(t.Context(), nil)
		require.NoError(t, err)
		require.Equal(t, 120*time.Second, took)
		require.Empty(t, w.moves)
		require.Empty(t, w.terminated)
		require.Empty(t, w.objects)
		require.Empty(t, w.tags)
	})
}

// after returns a function for reports that applies change from some time on.
func after(begin time.Duration, change func(r *report.Report)) func(time.Duration, *report.Report) bool {
	return func(at time.Duration, r *report.Report) bool {
		if at >= begin {
			change(r)
		}
		return true
	}
}

func figures(change func(f *report.Figures)) func(r *report.Report) {
	return func(r *report.Report) {
		f := r.Figures["i-new"]
		change(&f)
		r.Figures["i-new"] = f
	}
}

// late makes all visits fail except the first one, with which the bake begins.
func late(err error) func(time.Duration) error {
	return func(at time.Duration) error {
		if at > 0 {
			return err
		}
		return nil
	}
}

func TestBrokenServerLosesTheVIP(t *testing.T) {
	every := func(n int) func(time.Duration) error {
		return func(at time.Duration) error {
			if at > 0 && int(at.Seconds())%n == 0 {
				return errors.New("/: got 500")
			}
			return nil
		}
	}
	float := func(f float64) *float64 { return &f }
	for name, c := range map[string]struct {
		broken  func(time.Duration) error
		reports func(time.Duration, *report.Report) bool
		reason  string
		within  time.Duration
	}{
		"does not respond": {
			broken: late(errors.New("dial: connection refused")),
			reason: "3 visits in a row failed: dial: connection refused", within: 3 * time.Second,
		},
		"responds to every tenth request with 500": {
			broken: every(10), reason: "2 of 20 visits failed, the last one: /: got 500", within: 20 * time.Second,
		},
		"responds to its visitors with 500": {
			reports: after(30*time.Second, figures(func(f *report.Figures) { f.Errors = float(0.1) })),
			reason:  "10.0 % of the responses are errors; the server before had 0.0 %", within: 50 * time.Second,
		},
		"is ten times slower": {
			reports: after(0, figures(func(f *report.Figures) { f.Latency = float(0.4) })),
			reason:  "95 % of the responses take up to 400 ms; the limit is 250 ms", within: 25 * time.Second,
		},
		"loses its memory": {
			reports: after(60*time.Second, figures(func(f *report.Figures) { f.Memory = float(0.04) })),
			reason:  "4.0 % of the memory is available", within: 80 * time.Second,
		},
		"fills its disk": {
			reports: after(60*time.Second, figures(func(f *report.Figures) { f.Disk = float(0.01) })),
			reason:  "1.0 % of the disk is available", within: 80 * time.Second,
		},
		"has a container that restarts": {
			reports: after(10*time.Second, figures(func(f *report.Figures) { f.Restarts = float(2) })),
			reason:  "containers restarted 2 times", within: 10 * time.Second,
		},
		"fails a check": {
			reports: after(10*time.Second, func(r *report.Report) {
				r.Checks = append(r.Checks, report.Check{Name: "php", Detail: "the probe has no answer"})
			}),
			reason: "the check php fails: the probe has no answer", within: 30 * time.Second,
		},
		"has a wrong clock": {
			reports: after(0, func(r *report.Report) { r.Time = r.Time.Add(time.Hour) }),
			reason:  "the server's clock is 3600 s fast", within: 25 * time.Second,
		},
		"stops reporting": {
			reports: func(at time.Duration, _ *report.Report) bool { return at < 20*time.Second },
			reason:  "the server sends no report: 404 Not Found", within: 40 * time.Second,
		},
		"repeats an old report": {
			reports: after(0, func(r *report.Report) { r.Time = r.Time.Add(-time.Minute) }),
			reason:  "the newest report is 60 s old, or the server's clock is slow", within: 25 * time.Second,
		},
		"cannot read its figures": {
			reports: after(0, func(r *report.Report) { r.Missing = "prometheus is not running" }),
			reason:  "the server cannot read its own figures: prometheus is not running", within: 25 * time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeCloud()
				w.broken, w.reports = c.broken, c.reports
				took, err := w.bake(t.Context(), nil)
				require.ErrorContains(t, err, "server i-new failed its bake: "+c.reason)
				require.ErrorContains(t, err, "i-old serves. Correct the cause and run `pulumi up`")
				require.LessOrEqual(t, took, c.within)
				require.Equal(t, []string{"i-old"}, w.moves)
				require.Equal(t, []string{"i-new"}, w.terminated)
				require.Equal(t, []string{hasFailed}, w.tags)
				require.Contains(t, string(w.objects["handover/failed/i-new.json"]), strings.Split(c.reason, ":")[0])

				// This server must never get the VIP again.
				_, again := w.bake(t.Context(), nil)
				require.ErrorContains(t, again, "server i-new failed its bake at ")
				require.Len(t, w.moves, 1)
			})
		})
	}
}

func TestTransientProblemsDoNotFailABake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeCloud()
		w.reports = func(at time.Duration, r *report.Report) bool {
			r.Checks[0].OK = int(at.Seconds())%30 >= 15
			return at < 70*time.Second || at > 80*time.Second
		}
		w.broken = func(at time.Duration) error {
			if at == 50*time.Second || at == 51*time.Second {
				return errors.New("dial: i/o timeout")
			}
			return nil
		}
		_, err := w.bake(t.Context(), nil)
		require.NoError(t, err)
	})
}

func TestServerAsSlowAsThePreviousOnePasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeCloud()
		w.reports = after(0, func(r *report.Report) {
			slow, errors := 2.0, 0.3
			for id, f := range r.Figures {
				f.Latency, f.Errors = &slow, &errors
				r.Figures[id] = f
			}
		})
		_, err := w.bake(t.Context(), nil)
		require.NoError(t, err)
	})
}

func TestBakeThatIsRepeatedLateUsesTheLastReport(t *testing.T) {
	for _, ok := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newFakeCloud()
			w.reports = after(0, func(r *report.Report) {
				r.Time, r.Last, r.Checks[0].OK = r.Time.Add(-24*time.Hour), true, ok
			})
			if _, err := w.bake(t.Context(), nil); ok {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, "the check containers fails")
			}
		})
	}
}

func TestNoBakeWithoutAPreviousServer(t *testing.T) {
	for _, previous := range []string{"", "i-new"} {
		synctest.Test(t, func(t *testing.T) {
			w := newFakeCloud()
			w.broken = func(time.Duration) error { return errors.New("refused") }
			took, err := w.bake(t.Context(), func(b *Bake) { b.Previous = previous })
			require.NoError(t, err)
			require.Zero(t, took)
			require.Empty(t, w.moves)
		})
	}
}

func TestVIPThatCannotReturnStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeCloud()
		w.broken = late(errors.New("refused"))
		w.moveErr = errors.New("InvalidInstanceID.NotFound The instance ID 'i-old' does not exist")
		_, err := w.bake(t.Context(), nil)
		require.ErrorContains(t, err, "server i-new failed its bake: 3 visits in a row failed")
		require.ErrorContains(t, err, "the VIP cannot return, and i-new keeps serving: InvalidInstanceID.NotFound")
		require.Equal(t, "i-new", w.holder)
		require.Empty(t, w.terminated, "it is the only server that serves")
		require.Equal(t, []string{hasFailed, NotFailed}, w.tags, "tagged before the move, and no longer after it failed")
	})
}

func TestVIPReturnsToTheNewServerIfTheOldOneIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeCloud()
		w.gone = "i-old"
		restarts := 2.0
		w.reports = after(10*time.Second, figures(func(f *report.Figures) { f.Restarts = &restarts }))
		const reason, kept = "server i-new failed its bake: containers restarted 2 times",
			"the way back failed, because i-old does not serve: i-new keeps the VIP"
		_, err := w.bake(t.Context(), nil)
		require.ErrorContains(t, err, reason)
		require.ErrorContains(t, err, "i-old holds the VIP again, but does not serve: dial: i/o timeout")
		require.ErrorContains(t, err, kept)
		require.Equal(t, []string{"i-old", "i-new"}, w.moves)

		_, again := w.bake(t.Context(), nil)
		require.ErrorContains(t, again, reason)
		require.ErrorContains(t, again, kept)
		require.Len(t, w.moves, 2, "the VIP must not return to i-old a second time")
		require.Equal(t, []string{hasFailed, NotFailed}, w.tags, "the next update must not replace it")
		require.Empty(t, w.terminated)
	})
}

// signsOf returns a function for signs: the server sends one every 5 s until it ends.
func signsOf(server string, end time.Duration) func(time.Duration) ([]byte, error) {
	return func(at time.Duration) ([]byte, error) {
		return json.Marshal(report.Standby{Server: server, Time: time.Unix(int64(min(at, end).Seconds())/5*5, 0).UTC()})
	}
}

func TestVIPStaysIfTheOldServerIsKnownToBeGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeCloud()
		w.gone, w.signs = "i-old", signsOf("i-old", 30*time.Second)
		restarts := 2.0
		w.reports = after(60*time.Second, figures(func(f *report.Figures) { f.Restarts = &restarts }))
		_, err := w.bake(t.Context(), nil)
		require.ErrorContains(t, err, "server i-new failed its bake: containers restarted 2 times")
		require.ErrorContains(t, err, "because i-old does not serve: i-new keeps the VIP")
		require.Equal(t, []string{"after 50 s: i-old sends no sign of life any more"}, w.lines[1:2])
		require.Empty(t, w.moves)
		require.Empty(t, w.terminated)
		require.Equal(t, []string{NotFailed}, w.tags)
		require.Contains(t, string(w.objects[failureKey("i-new")]), `"kept": true`)
	})
}

func TestVIPReturnsUnlessTheOldServerIsKnownToBeGone(t *testing.T) {
	unreadable := func(signs func(time.Duration) ([]byte, error)) func(time.Duration) ([]byte, error) {
		return func(at time.Duration) ([]byte, error) {
			if at >= 40*time.Second {
				return nil, errors.New("503 Slow Down")
			}
			return signs(at)
		}
	}
	for name, c := range map[string]struct {
		signs  func(time.Duration) ([]byte, error)
		broken error
	}{
		"it sends signs of life":                             {signsOf("i-old", time.Hour), nil},
		"it never sent any, but another server did":          {signsOf("i-older", 30*time.Second), nil},
		"it sent one in an earlier update":                   {nil, nil},
		"its signs cannot be read":                           {unreadable(signsOf("i-old", 30*time.Second)), nil},
		"no sign of life, but the new server does not serve": {signsOf("i-old", 30*time.Second), errors.New("/: got 500")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeCloud()
				w.signs = c.signs
				w.broken = func(at time.Duration) error {
					if at < 60*time.Second {
						return nil
					}
					return c.broken
				}
				restarts := 2.0
				w.reports = after(60*time.Second, figures(func(f *report.Figures) { f.Restarts = &restarts }))
				_, err := w.bake(t.Context(), nil)
				require.ErrorContains(t, err, "server i-new failed its bake")
				require.Equal(t, []string{"i-old"}, w.moves)
			})
		})
	}
}

func TestReturnKilledBeforeTheMoveIsCompletedByTheNextUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeCloud()
		w.broken = late(errors.New("/: got 500"))
		w.moveErr = context.Canceled
		_, err := w.bake(t.Context(), nil)
		require.ErrorIs(t, err, context.Canceled)
		require.Empty(t, w.moves)

		w.moveErr, w.broken = nil, nil
		took, err := w.bake(t.Context(), nil)
		require.ErrorContains(t, err, "server i-new failed its bake: 3 visits in a row failed: /: got 500")
		require.Zero(t, took)
		require.Equal(t, []string{"i-old"}, w.moves)
		require.Equal(t, []string{"i-new"}, w.terminated)
	})
}

func TestServerThatGetsTheVIPBackDuringTheReturnIsNotTerminated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeCloud()
		w.broken = late(errors.New("/: got 500"))
		_, err := w.bake(t.Context(), func(b *Bake) {
			b.Visit = func(ctx context.Context, server string) error {
				err := w.visit(ctx, server)
				if server == "i-old" {
					w.holder = "i-new"
				}
				return err
			}
		})
		require.ErrorContains(t, err, "the VIP is at i-new again, which therefore keeps running")
		require.Empty(t, w.terminated)
	})
}

func TestVIPThatAnotherUpdateMovedIsNotTouched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeCloud()
		w.broken = func(at time.Duration) error {
			w.holder = "i-newer"
			return errors.New("another server responds")
		}
		_, err := w.bake(t.Context(), nil)
		require.ErrorContains(t, err, "the VIP is at i-newer by now, and stays there")
		require.Empty(t, w.moves)
		require.Empty(t, w.terminated)
	})
}

func TestWindowOfTheMoveIsNotCountedAgainstTheServer(t *testing.T) {
	for name, inWindow := range map[string]string{"the old server responds": "i-old", "nothing arrives": ""} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeCloud()
				w.window, w.inWindow = 30*time.Second, inWindow
				took, err := w.bake(t.Context(), nil)
				require.NoError(t, err)
				require.Empty(t, w.moves)
				require.InDelta(t, 150, took.Seconds(), 6, "the bake time counts from the arrival on")
			})
		})
	}
}

func TestServerThatNoVisitReachesLosesTheVIP(t *testing.T) {
	for name, c := range map[string]struct{ inWindow, reason string }{
		"the old server responds": {"i-old", "no visit arrived at it within 60 s, the last one: another server responds"},
		"nothing arrives":         {"", "no visit arrived at it within 65 s, the last one: dial: i/o timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeCloud()
				w.window, w.inWindow = time.Hour, c.inWindow
				_, err := w.bake(t.Context(), nil)
				require.ErrorContains(t, err, "server i-new failed its bake: "+c.reason)
				require.Equal(t, []string{"i-old"}, w.moves)
			})
		})
	}
}

func TestServerThatFailedServesUntilTheVIPIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeCloud()
		w.broken = late(errors.New("/: got 500"))
		w.window = 6 * time.Second
		w.moved = w.began.Add(-w.window)
		_, err := w.bake(t.Context(), nil)
		require.ErrorContains(t, err, "server i-new failed its bake")
		require.Equal(t, []string{"i-new"}, w.terminated)
		lines := strings.Join(w.lines, "\n")
		require.Contains(t, lines, "the VIP is back at i-old, 0.0 s after the decision")
		require.Contains(t, lines, "i-old serves again, 6.0 s after the decision")
	})
}

func TestReturnKilledAfterTheMoveIsCompletedByTheNextUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeCloud()
		w.broken = late(errors.New("/: got 500"))
		w.window = 6 * time.Second
		w.moved = w.began.Add(-w.window)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := w.bake(ctx, nil)
		require.ErrorContains(t, err, "server i-new failed its bake")
		require.Equal(t, "i-old", w.holder)
		require.Empty(t, w.terminated)

		_, err = w.bake(t.Context(), nil)
		require.ErrorContains(t, err, "server i-new failed its bake at ")
		require.Equal(t, []string{"i-new"}, w.terminated)
	})
}

func TestInterruptedBakeLeavesBothServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeCloud()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		took, err := w.bake(ctx, nil)
		require.ErrorContains(t, err, "both servers stay; the next update repeats it")
		require.Equal(t, time.Minute, took)
		require.Empty(t, w.moves)
		require.Empty(t, w.terminated)
	})
}

func TestFailedBakeShowsNoLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeCloud()
		w.reports = func(_ time.Duration, r *report.Report) bool {
			r.Checks[0] = report.Check{Name: "containers", Detail: "web: \x1b]0;exited\a"}
			r.Logs = map[string][]string{"traefik": {"203.0.113.7 GET /reset?token=secret"}}
			return true
		}
		_, err := w.bake(t.Context(), nil)
		require.ErrorContains(t, err, "the check containers fails: web:  ]0;exited ")
		output := err.Error() + strings.Join(w.lines, "\n")
		require.NotContains(t, output, "203.0.113.7")
		require.NotContains(t, output, "\x1b")
		require.Contains(t, string(w.objects[failureKey("i-new")]), "203.0.113.7",
			"the operator finds the logs in the bucket")
	})
}

// FuzzReport reads arbitrary reports, as a compromised server could send them.
func FuzzReport(f *testing.F) {
	w := newFakeCloud()
	valid, err := w.Get(context.Background(), report.Key)
	require.NoError(f, err)
	f.Add(valid)
	f.Add([]byte(`{"server":"i-new","time":"2026-01-01T00:00:00Z","checks":[{"name":"disk\u001b","detail":"` +
		strings.Repeat("x", 1000) + `"}],"figures":{"i-new":{"errors":1e308,"latency":-1}},"missing":"\u0000"}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		b := Bake{Server: "i-new", Previous: "i-old", Bucket: constantBucket(content)}
		_, found := b.readReport(t.Context())
		for _, problem := range found {
			require.LessOrEqual(t, len(problem.text), maxText+len("..."))
			require.NotContains(t, problem.text, "\x1b")
			require.True(t, utf8.ValidString(problem.text), problem.text)
		}
	})
}

// constantBucket is a bucket in which every object has the same content.
type constantBucket []byte

func (b constantBucket) Get(context.Context, string) ([]byte, error)       { return b, nil }
func (b constantBucket) Put(context.Context, string, string, []byte) error { return nil }
