package load

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const page = "a page of the site"

func digest(body string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(body))) }

// site is a web server whose responses the tests set.
type site struct {
	*httptest.Server
	requests    atomic.Int64
	connections atomic.Int64

	mutex  sync.Mutex
	answer http.HandlerFunc
}

func good(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, page) }

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{answer: good}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mutex.Lock()
		answer := s.answer
		s.mutex.Unlock()
		s.requests.Add(1)
		answer(w, r)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// answers sets the site's responses from now on.
func (s *site) answers(answer http.HandlerFunc) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.answer = answer
}

// awaitRequests waits until more requests have arrived.
func (s *site) awaitRequests(t *testing.T, more int64) {
	t.Helper()
	wanted := s.requests.Load() + more
	require.Eventually(t, func() bool { return s.requests.Load() >= wanted }, 10*time.Second, time.Millisecond)
}

// awaitServed waits until visitors have received a number of responses.
func awaitServed(t *testing.T, run *Run, count int) {
	t.Helper()
	require.Eventually(t, func() bool { return run.Served() >= count }, 10*time.Second, time.Millisecond)
}

func (s *site) start(t *testing.T, v Visitors) *Run {
	t.Helper()
	v.URL = s.URL
	if v.Pages == nil {
		v.Pages = map[string]string{"/": digest(page)}
	}
	run, err := Start(t.Context(), v)
	require.NoError(t, err)
	return run
}

// cut closes the connection of a request without a response, with a reset or regularly.
func cut(reset bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		connection, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		if reset {
			if err := connection.(*net.TCPConn).SetLinger(0); err != nil {
				panic(err)
			}
		}
		connection.Close()
	}
}

func TestVisitorsOfAHealthySiteSeeNoFailure(t *testing.T) {
	s := newSite(t)
	run := s.start(t, Visitors{Fresh: 100, KeepAlive: 5, KeepAliveRate: 10})
	s.awaitRequests(t, 60)
	report := run.Stop()
	for name, summary := range map[string]Summary{"fresh": report.Fresh, "keep-alive": report.KeepAlive} {
		require.Empty(t, summary.Failures, name)
		require.Greater(t, summary.Requests, 10, name)
		require.Positive(t, summary.P50, name)
		require.LessOrEqual(t, summary.P50, summary.P99, name)
		require.LessOrEqual(t, summary.P99, summary.Max, name)
		require.Positive(t, summary.LongestGap, name)
		require.Zero(t, summary.Reconnects+summary.Repeated+summary.Resets, name)
	}
}

func TestFreshVisitorsConnectEachTimeAndOthersOnce(t *testing.T) {
	s := newSite(t)
	run := s.start(t, Visitors{Fresh: 50})
	s.awaitRequests(t, 20)
	report := run.Stop()
	require.EqualValues(t, report.Fresh.Requests+1, s.connections.Load(), "one is from the check before the first visitor")
	require.Zero(t, report.KeepAlive.Requests)

	s = newSite(t)
	run = s.start(t, Visitors{KeepAlive: 7, KeepAliveRate: 10})
	s.awaitRequests(t, 40)
	report = run.Stop()
	require.EqualValues(t, 7+1, s.connections.Load())
	require.Zero(t, report.Fresh.Requests)
}

func TestPagesAreRequestedInTurn(t *testing.T) {
	s := newSite(t)
	var mutex sync.Mutex
	seen := map[string]int{}
	s.answers(func(w http.ResponseWriter, r *http.Request) {
		mutex.Lock()
		defer mutex.Unlock()
		seen[r.URL.Path]++
		fmt.Fprint(w, r.URL.Path)
	})
	run := s.start(t,
		Visitors{Pages: map[string]string{"/": digest("/"), "/a.css": digest("/a.css"), "/any": ""}, Fresh: 100})
	s.awaitRequests(t, 30)
	require.Empty(t, run.Stop().Fresh.Failures)
	for path, times := range seen {
		require.GreaterOrEqual(t, times, 10, path)
	}
	require.Len(t, seen, 3)
}

func TestEachFailureIsReported(t *testing.T) {
	for name, test := range map[string]struct {
		answer       http.HandlerFunc
		kind, detail string
	}{
		"reset":     {cut(true), "reset", "connection reset by peer"},
		"no answer": {cut(false), "eof", "EOF"},
		"bad status": {
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "status 502", "Bad Gateway",
		},
		"redirect": {http.RedirectHandler("/elsewhere", http.StatusFound).ServeHTTP, "status 302", "Found"},
		"other page": {
			func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprint(
					w, "Welcome!",
				)
			}, "wrong body", "8 bytes with SHA-256 " + digest("Welcome!"),
		},
		"cut short": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, page)
		}, "eof", "unexpected EOF"},
		"too late": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "timeout", "exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			run := s.start(t, Visitors{Fresh: 50, Timeout: 500 * time.Millisecond})
			s.awaitRequests(t, 3)
			s.answers(test.answer)
			before := time.Now()
			s.awaitRequests(t, 3)
			report := run.Stop()
			require.GreaterOrEqual(t, len(report.Fresh.Failures), 3)
			require.Less(t, len(report.Fresh.Failures), report.Fresh.Requests, "the first requests were answered")
			for _, failure := range report.Fresh.Failures {
				require.Equal(t, test.kind, failure.Kind)
				require.Contains(t, failure.Detail, test.detail)
				require.Equal(t, "/", failure.Page)
				require.Positive(t, failure.Took)
				require.WithinDuration(t, before, failure.At, 10*time.Second)
			}
		})
	}
}

func TestStoppedSiteRefusesConnections(t *testing.T) {
	s := newSite(t)
	run := s.start(t, Visitors{Fresh: 50})
	s.awaitRequests(t, 3)
	s.Listener.Close()
	failed := func() bool {
		run.fresh.mutex.Lock()
		defer run.fresh.mutex.Unlock()
		return len(run.fresh.failures) > 2
	}
	require.Eventually(t, failed, 10*time.Second, time.Millisecond)
	for _, failure := range run.Stop().Fresh.Failures {
		require.Equal(t, "refused", failure.Kind, failure.Detail)
	}
}

func TestRequestIsRetriedOnANewConnectionLikeInABrowser(t *testing.T) {
	s := newSite(t)
	run := s.start(t, Visitors{KeepAlive: 3, KeepAliveRate: 20})
	s.awaitRequests(t, 6)
	before := s.connections.Load()
	var once sync.Once
	s.answers(func(w http.ResponseWriter, r *http.Request) {
		answer := http.HandlerFunc(good)
		once.Do(func() { answer = cut(true) })
		answer(w, r)
	})
	s.awaitRequests(t, 12)
	report := run.Stop()
	require.Empty(t, report.KeepAlive.Failures, "no visitor noticed")
	require.Equal(t, 1, report.KeepAlive.Repeated)
	require.Equal(t, 1, report.KeepAlive.Reconnects)
	require.Equal(t, 1, report.KeepAlive.Resets)
	require.EqualValues(t, before+1, s.connections.Load())
}

func TestConnectionCutWhileIdleIsReplaced(t *testing.T) {
	s := newSite(t)
	run := s.start(t, Visitors{KeepAlive: 1, KeepAliveRate: 5})
	awaitServed(t, run, 2)
	s.CloseClientConnections()
	s.awaitRequests(t, 2)
	report := run.Stop()
	require.Empty(t, report.KeepAlive.Failures)
	require.Equal(t, 1, report.KeepAlive.Reconnects)
}

func TestConnectionAnnouncedToCloseDoesNotCountAsBroken(t *testing.T) {
	s := newSite(t)
	run := s.start(t, Visitors{KeepAlive: 3, KeepAliveRate: 20})
	s.awaitRequests(t, 3)
	s.answers(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		good(w, r)
	})
	s.awaitRequests(t, 9)
	report := run.Stop()
	require.GreaterOrEqual(t, s.connections.Load(), int64(3+3), "each visitor connected again")
	require.Empty(t, report.KeepAlive.Failures)
	require.Zero(t, report.KeepAlive.Reconnects)
	require.Zero(t, report.KeepAlive.Repeated)
}

// secureSite is a site that speaks HTTP/2 and HTTP/1.1 over TLS.
func secureSite(t *testing.T) (s *site, roots *x509.CertPool) {
	t.Helper()
	s = newSite(t)
	secure := httptest.NewUnstartedServer(s.Config.Handler)
	secure.EnableHTTP2 = true
	secure.Config.ConnState = s.Config.ConnState
	// Clients are expected to disconnect.
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	s.Server = secure
	roots = x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	return s, roots
}

func TestKeepAliveVisitorsUseHTTP2OverHTTPS(t *testing.T) {
	s, roots := secureSite(t)
	var mutex sync.Mutex
	versions := map[int]int{}
	s.answers(func(w http.ResponseWriter, r *http.Request) {
		mutex.Lock()
		defer mutex.Unlock()
		versions[r.ProtoMajor]++
		good(w, r)
	})
	run := s.start(t, Visitors{Roots: roots, KeepAlive: 3, KeepAliveRate: 20, Fresh: 20})
	s.awaitRequests(t, 30)
	report := run.Stop()
	require.Empty(t, append(report.Fresh.Failures, report.KeepAlive.Failures...))
	require.Equal(t, map[int]int{1: report.Fresh.Requests + 1, 2: report.KeepAlive.Requests}, versions)
	require.EqualValues(t, report.Fresh.Requests+1+3, s.connections.Load())
}

func TestHTTP2ConnectionAnnouncedToCloseDoesNotCountAsBroken(t *testing.T) {
	s, roots := secureSite(t)
	run := s.start(t, Visitors{Roots: roots, KeepAlive: 3, KeepAliveRate: 20})
	s.awaitRequests(t, 6)
	s.answers(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		good(w, r)
	})
	s.awaitRequests(t, 12)
	report := run.Stop()
	require.GreaterOrEqual(t, s.connections.Load(), int64(3+3), "each visitor connected again")
	require.Empty(t, report.KeepAlive.Failures)
	require.Zero(t, report.KeepAlive.Reconnects)
	require.Zero(t, report.KeepAlive.Repeated)
}

func TestCutHTTP2ConnectionIsReplaced(t *testing.T) {
	s, roots := secureSite(t)
	run := s.start(t, Visitors{Roots: roots, KeepAlive: 1, KeepAliveRate: 5})
	awaitServed(t, run, 2)
	s.CloseClientConnections()
	s.awaitRequests(t, 2)
	report := run.Stop()
	require.Empty(t, report.KeepAlive.Failures)
	require.Equal(t, 1, report.KeepAlive.Reconnects)
}

func TestUntrustedSiteIsNotVisited(t *testing.T) {
	s, _ := secureSite(t)
	_, err := Start(t.Context(), Visitors{URL: s.URL, Pages: map[string]string{"/": ""}})
	require.ErrorContains(t, err, "/ before the first visitor: certificate")
}

func TestVisitorsDoNotWaitForEachOther(t *testing.T) {
	s := newSite(t)
	run := s.start(t, Visitors{Fresh: 100})
	s.awaitRequests(t, 2)
	release := make(chan struct{})
	s.answers(func(w http.ResponseWriter, r *http.Request) {
		<-release
		good(w, r)
	})
	s.awaitRequests(t, 50)
	close(release)
	report := run.Stop()
	require.Empty(t, report.Fresh.Failures)
	require.Greater(t, report.Fresh.LongestGap, 300*time.Millisecond,
		"fifty requests arrived in half a second, and none was answered in that time")
	require.Greater(t, report.Fresh.Max, 300*time.Millisecond)
}

func TestStopWaitsForRequestsInFlightAndSendsNoMore(t *testing.T) {
	s := newSite(t)
	run := s.start(t, Visitors{Fresh: 50, KeepAlive: 5, KeepAliveRate: 2})
	release := make(chan struct{})
	s.answers(func(w http.ResponseWriter, r *http.Request) {
		<-release
		good(w, r)
	})
	s.awaitRequests(t, 5)
	stopped := make(chan Report)
	go func() { stopped <- run.Stop() }()
	select {
	case <-stopped:
		require.Fail(t, "Stop returned while requests were in flight")
	case <-time.After(100 * time.Millisecond):
	}
	close(release)
	report := <-stopped
	require.Empty(t, report.Fresh.Failures)
	require.EqualValues(t, report.Fresh.Requests+report.KeepAlive.Requests+1, s.requests.Load())
}

func TestCanceledContextStopsTheVisitors(t *testing.T) {
	s := newSite(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	run, err := Start(ctx, Visitors{URL: s.URL, Pages: map[string]string{"/": ""}, Fresh: 50})
	require.NoError(t, err)
	s.awaitRequests(t, 5)
	cancel()
	report := run.Stop()
	require.Empty(t, report.Fresh.Failures)
	require.EqualValues(t, report.Fresh.Requests+1, s.requests.Load())
}

func TestRunDoesNotStartOnABrokenSite(t *testing.T) {
	s := newSite(t)
	closed := httptest.NewServer(http.HandlerFunc(good))
	closed.Close()
	for name, test := range map[string]struct {
		visitors Visitors
		err      string
	}{
		"another page": {
			Visitors{URL: s.URL, Pages: map[string]string{"/": digest("other")}}, "/ before the first visitor: wrong body",
		},
		"no server": {
			Visitors{URL: closed.URL, Pages: map[string]string{"/": ""}}, "/ before the first visitor: refused",
		},
		"URL with a path":   {Visitors{URL: s.URL + "/", Pages: map[string]string{"/": ""}}, "without a path"},
		"no URL":            {Visitors{Pages: map[string]string{"/": ""}}, "without a path"},
		"no page":           {Visitors{URL: s.URL}, "no page to request"},
		"no path":           {Visitors{URL: s.URL, Pages: map[string]string{"a.css": ""}}, "does not begin with a slash"},
		"capitals":          {Visitors{URL: s.URL, Pages: map[string]string{"/": "ABCD"}}, "not in lower case"},
		"no rate":           {Visitors{URL: s.URL, Pages: map[string]string{"/": ""}, KeepAlive: 1}, "have no rate"},
		"a negative number": {Visitors{URL: s.URL, Pages: map[string]string{"/": ""}, Fresh: -1}, "negative"},
	} {
		_, err := Start(t.Context(), test.visitors)
		require.ErrorContains(t, err, test.err, name)
	}
}

func TestLongestGapIncludesTheStartAndTheEnd(t *testing.T) {
	began := time.Date(2026, 4, 14, 12, 0, 0, 0, time.UTC)
	at := func(seconds float64) time.Time { return began.Add(time.Duration(seconds * float64(time.Second))) }
	for name, test := range map[string]struct {
		complete []float64
		gap      time.Duration
		gapAt    float64
	}{
		"in the middle":            {[]float64{1, 2, 5, 6, 9, 10}, 3 * time.Second, 2},
		"before the first":         {[]float64{4, 5, 6, 7, 8, 9}, 4 * time.Second, 0},
		"after the last":           {[]float64{1, 2, 3}, 7 * time.Second, 3},
		"no answer":                {nil, 10 * time.Second, 0},
		"in any order":             {[]float64{9, 1, 2, 8, 5, 4}, 3 * time.Second, 5},
		"answered after the end":   {[]float64{1, 3, 5, 7, 9, 15}, 2 * time.Second, 1},
		"nothing but late answers": {[]float64{15, 16}, 10 * time.Second, 0},
	} {
		var answers []answer
		for _, seconds := range test.complete {
			answers = append(answers, answer{at: at(seconds)})
		}
		gap, gapAt := longestGap(answers, began, at(10))
		require.Equal(t, test.gap, gap, name)
		require.Equal(t, at(test.gapAt), gapAt, name)
	}
}

func TestQuantileIsAnActualResponseTime(t *testing.T) {
	var answers []answer
	for i := range 100 {
		answers = append(answers, answer{took: time.Duration(100-i) * time.Millisecond})
	}
	require.Equal(t, 50*time.Millisecond, quantile(answers, 0.50))
	require.Equal(t, 99*time.Millisecond, quantile(answers, 0.99))
	require.Equal(t, 100*time.Millisecond, quantile(answers, 1))
	require.Equal(t, 7*time.Millisecond, quantile([]answer{{took: 7 * time.Millisecond}}, 0.5))
	require.Zero(t, quantile(nil, 0.99))
}

func TestClientThatDoesNotKeepUpIsReported(t *testing.T) {
	began := time.Now()
	late := newCrowd(Visitors{})
	late.behind = 40 * time.Millisecond
	late.next = []time.Time{began.Add(time.Hour)}
	require.Equal(t, 40*time.Millisecond, late.summary(began, began.Add(time.Minute)).Behind, "a request was sent late")

	stuck := newCrowd(Visitors{})
	stuck.next = []time.Time{began.Add(20 * time.Second), began.Add(55 * time.Second)}
	require.Equal(t, 40*time.Second, stuck.summary(began, began.Add(time.Minute)).Behind, "a request was not sent at all")
}

func TestJSONReportNamesItsUnits(t *testing.T) {
	at := time.Date(2026, 4, 14, 12, 0, 0, 0, time.UTC)
	encoded, err := json.MarshalIndent(Report{Fresh: Summary{
		Requests:   2,
		Failures:   []Failure{{At: at, Took: 1500 * time.Microsecond, Page: "/", Kind: "reset", Detail: "in words"}},
		LongestGap: 123456 * time.Microsecond, GapAt: at, P50: time.Millisecond, P99: 2 * time.Millisecond, Max: time.Second,
		Reconnects: 1, Repeated: 2, Resets: 3, Behind: 4 * time.Millisecond,
	}}, "", "  ")
	require.NoError(t, err)
	require.JSONEq(t, `{
	  "fresh": {
	    "requests": 2,
	    "failures": [{"at": "2026-04-14T12:00:00Z", "tookMs": 1.5, "page": "/", "kind": "reset", "detail": "in words"}],
	    "longestGapMs": 123.5, "gapAt": "2026-04-14T12:00:00Z", "p50Ms": 1, "p99Ms": 2, "maxMs": 1000,
	    "reconnects": 1, "repeated": 2, "resets": 3, "behindMs": 4
	  },
	  "keepAlive": {
	    "requests": 0, "failures": [], "longestGapMs": 0, "gapAt": "0001-01-01T00:00:00Z",
	    "p50Ms": 0, "p99Ms": 0, "maxMs": 0,
	    "reconnects": 0, "repeated": 0, "resets": 0, "behindMs": 0
	  }
	}`, string(encoded))
}
