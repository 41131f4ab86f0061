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
	"immutable-infra/e2e/internal/switchover"
)

const (
	// checkInterval is the interval between checks of which server holds the VIP. It limits the precision of the time of a
	// move.
	checkInterval = 50 * time.Millisecond
	// moveLimit is the maximum duration of a move, not counting the time in which the local cloud's settings drop packets.
	// Failures in a longer move are not excused.
	moveLimit = time.Second
	// clock is the time format of messages.
	clock = "15:04:05.000"
)

// visitors request pages through the VIP while the site changes.
type visitors struct {
	run *load.Run
	// settings is how the VIP moves during the visits.
	settings switchover.Move
	// endChecks stops the checks of which server responds; moves receives their result.
	endChecks context.CancelFunc
	moves     chan []move
}

// move is a move of the VIP between servers: from the start of the last check that the old server answered to the
// end of the first check that the new one answered.
type move struct {
	from, to    string
	began, over time.Time
}

func (m move) String() string {
	return fmt.Sprintf("from %s to %s, between %s and %s", m.from, m.to, m.began.Format(clock), m.over.Format(clock))
}

// seen is the visitors' experience.
type seen struct {
	report   load.Report
	moves    []move
	settings switchover.Move
}

// moveSettings returns how the local cloud moves the VIP.
func (p *project) moveSettings(t *testing.T) switchover.Move {
	t.Helper()
	settings, err := switchover.ParseMove(p.must(t, time.Minute, "localcloud", "move"))
	require.NoError(t, err)
	return settings
}

// moveAs sets how the local cloud moves the VIP until the test ends.
func (p *project) moveAs(t *testing.T, settings switchover.Move) {
	t.Helper()
	before := p.moveSettings(t)
	p.must(t, time.Minute, "localcloud", append([]string{"move"}, settings.Flags()...)...)
	t.Cleanup(func() { p.must(t, time.Minute, "localcloud", append([]string{"move"}, before.Flags()...)...) })
	require.Equal(t, settings, p.moveSettings(t))
}

// visit starts visitors, who request pages until seen is called.
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
	v := &visitors{run: run, settings: p.moveSettings(t), endChecks: cancel, moves: make(chan []move, 1)}
	client := p.client(t, moveLimit/2)
	go func() { v.moves <- watchMoves(ctx, client) }()
	return v
}

// watchMoves records the moves of the VIP until the context ends.
func watchMoves(ctx context.Context, client *http.Client) []move {
	var moves []move
	var last string
	var lastCheck time.Time
	tick := time.NewTicker(checkInterval)
	defer tick.Stop()
	for {
		began := time.Now()
		// Failed checks are ignored, because the visitors notice outages.
		if server, err := ask(ctx, client, "server"); err == nil {
			if last != "" && server != last {
				moves = append(moves, move{from: last, to: server, began: lastCheck, over: time.Now()})
			}
			last, lastCheck = server, began
		}
		select {
		case <-ctx.Done():
			return moves
		case <-tick.C:
		}
	}
}

// seen stops the visitors and returns their results. It must be called once.
func (v *visitors) seen(t *testing.T) seen {
	t.Helper()
	report := v.run.Stop()
	v.endChecks()
	s := seen{report: report, moves: <-v.moves, settings: v.settings}
	t.Logf("visitors: %d requests on new connections, %d on kept ones; the longest gap was %.0f ms; the VIP "+
		"moved %d times: %v",
		report.Fresh.Requests, report.KeepAlive.Requests, load.Milliseconds(report.Fresh.LongestGap), len(s.moves), s.moves)
	require.Greater(t, report.Fresh.Requests, 20, "too few for a conclusion")
	return s
}

// failures returns the requests without a correct response: those in flight during a move of the VIP, if such moves can
// lose requests, and all others.
func (s seen) failures() (atMoves, others []string) {
	for _, failure := range append(s.report.Fresh.Failures, s.report.KeepAlive.Failures...) {
		line := fmt.Sprintf("%s, sent %s, ended after %.0f ms: %s: %s",
			failure.Page, failure.At.Format(clock), load.Milliseconds(failure.Took), failure.Kind, failure.Detail)
		if s.settings.Loses() && s.inFlight(failure) {
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

// unharmed requires that every request was answered, except requests that the local cloud's settings let a move of the
// VIP lose. It returns the number of these.
func (s seen) unharmed(t *testing.T) (lost int) {
	t.Helper()
	for _, move := range s.moves {
		require.Less(t, move.over.Sub(move.began), moveLimit+s.settings.Lost(), "the VIP took too long to move from %s to %s",
			move.from, move.to)
	}
	atMoves, others := s.failures()
	require.Empty(t, others, "visitors noticed:\n%s\nmoves of the VIP: %v", strings.Join(others, "\n"), s.moves)
	return len(atMoves)
}
