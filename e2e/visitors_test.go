package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/e2e/internal/load"
)

const (
	// lookEvery is how often is asked which server has the VIP. It bounds how
	// exactly the time of a move is known.
	lookEvery = 50 * time.Millisecond
	// moveLimit is how long a move may take at most: what fails in a longer
	// time is not excused by it.
	moveLimit = time.Second
	// clock is how times are shown.
	clock = "15:04:05.000"
)

// visitors come to the site through the VIP while something happens to it.
type visitors struct {
	run *load.Run
	// endLooks ends the looks at which server answers; moves gets what they saw.
	endLooks context.CancelFunc
	moves    chan []move
}

// move is the VIP's way from one server to another: it began when the last look
// that met the old one did, and was over when the first that met the new one was.
type move struct {
	from, to    string
	began, over time.Time
}

func (m move) String() string {
	return fmt.Sprintf("from %s to %s, between %s and %s", m.from, m.to, m.began.Format(clock), m.over.Format(clock))
}

// seen is what visitors saw.
type seen struct {
	report load.Report
	moves  []move
}

// visit sends visitors until seen is called.
func (p *project) visit(t *testing.T) *visitors {
	t.Helper()
	pages := map[string]string{}
	for _, page := range []string{
		"/", "/about/", "/feed.xml", "/assets/css/site.css", "/assets/images/one-serving.jpg", "/.well-known/release",
	} {
		status, body, _ := p.get(t, siteURL+page)
		require.Equal(t, http.StatusOK, status, page)
		digest := sha256.Sum256([]byte(body))
		pages[page] = hex.EncodeToString(digest[:])
	}
	ctx, cancel := context.WithCancel(t.Context())
	run, err := load.Start(ctx,
		load.Visitors{URL: siteURL, Roots: p.roots(t), Pages: pages, Fresh: 20, KeepAlive: 5, KeepAliveRate: 2})
	if err != nil {
		cancel()
		require.NoError(t, err)
	}
	v := &visitors{run: run, endLooks: cancel, moves: make(chan []move, 1)}
	client := p.client(t, moveLimit/2)
	go func() { v.moves <- watchMoves(ctx, client) }()
	return v
}

// watchMoves looks which server has the VIP, until the context ends.
func watchMoves(ctx context.Context, client *http.Client) []move {
	var moves []move
	var last string
	var lastLook time.Time
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		began := time.Now()
		// A look in vain is no news: it is for the visitors to notice.
		if server, err := ask(ctx, client, "server"); err == nil {
			if last != "" && server != last {
				moves = append(moves, move{from: last, to: server, began: lastLook, over: time.Now()})
			}
			last, lastLook = server, began
		}
		select {
		case <-ctx.Done():
			return moves
		case <-tick.C:
		}
	}
}

// seen sends the visitors home, and returns what they saw. It is called once.
func (v *visitors) seen(t *testing.T) seen {
	t.Helper()
	report := v.run.Stop()
	v.endLooks()
	s := seen{report: report, moves: <-v.moves}
	t.Logf("visitors: %d requests on connections of their own, %d on kept ones; the longest gap was %.0f ms; the VIP "+
		"moved %d times",
		report.Fresh.Requests, report.KeepAlive.Requests, load.Milliseconds(report.Fresh.LongestGap), len(s.moves))
	require.Greater(t, report.Fresh.Requests, 20, "too few to tell anything")
	return s
}

// failures are the requests that were not answered as they should: those that
// were in flight while the VIP moved, and all others.
func (s seen) failures() (atMoves, others []string) {
	for _, failure := range append(s.report.Fresh.Failures, s.report.KeepAlive.Failures...) {
		line := fmt.Sprintf("%s, sent %s, ended after %.0f ms: %s: %s",
			failure.Page, failure.At.Format(clock), load.Milliseconds(failure.Took), failure.Kind, failure.Detail)
		if s.inFlight(failure) {
			atMoves = append(atMoves, line)
		} else {
			others = append(others, line)
		}
	}
	return atMoves, others
}

func (s seen) inFlight(failure load.Failure) bool {
	for _, move := range s.moves {
		if !failure.At.After(move.over) && !failure.At.Add(failure.Took).Before(move.began) {
			return true
		}
	}
	return false
}

// unharmed requires that every request was answered, but for those that were in
// flight while the VIP moved. It returns the number of these.
func (s seen) unharmed(t *testing.T) (cut int) {
	t.Helper()
	for _, move := range s.moves {
		require.Less(t, move.over.Sub(move.began), moveLimit, "the VIP took long to move from %s to %s", move.from, move.to)
	}
	atMoves, others := s.failures()
	require.Empty(t, others, "visitors noticed:\n%s\nmoves of the VIP: %v", strings.Join(others, "\n"), s.moves)
	return len(atMoves)
}
