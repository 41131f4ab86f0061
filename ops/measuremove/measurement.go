package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

const (
	// pollPause is the time between two calls of EC2's API; pollTimeout bounds one call.
	pollPause   = 250 * time.Millisecond
	pollTimeout = 5 * time.Second
	// progressPause is the time between two progress messages, checkPause the time between two checks for the end.
	progressPause = 5 * time.Second
	checkPause    = 100 * time.Millisecond
)

// settings are the settings of a measurement.
type settings struct {
	site site
	// old is the id of the server that holds the address before the move.
	old string
	// interval is the time between two fresh requests. timeout bounds each request, maxInFlight the number of concurrent
	// fresh requests.
	interval, timeout time.Duration
	maxInFlight       int
	// visitors is the number of visitors who keep a connection, keptInterval the time between two of a visitor's requests.
	visitors     int
	keptInterval time.Duration
	// after is how long the measurement continues after the move, limit its maximum duration.
	after, limit time.Duration
	// holder returns the id of the server that holds the address according to EC2's API. Optional.
	holder func(ctx context.Context) (string, error)
	// ended is closed when the command that moves the address has ended, and nil without a command.
	ended <-chan struct{}
	// log receives progress messages.
	log func(line string)
}

// milliseconds is a duration that JSON represents as milliseconds, rounded to a tenth.
type milliseconds time.Duration

// MarshalJSON implements json.Marshaler.
func (m milliseconds) MarshalJSON() ([]byte, error) {
	return json.Marshal(math.Round(float64(m)/float64(100*time.Microsecond)) / 10)
}

// request is a request on its own connection. Times are relative to the beginning of the measurement.
type request struct {
	Number int          `json:"number"`
	Due    milliseconds `json:"dueMs"`
	Sent   milliseconds `json:"sentMs"`
	Ended  milliseconds `json:"endedMs"`
	// Connect and Secure are the durations of the TCP and TLS handshakes.
	Connect milliseconds `json:"connectMs"`
	Secure  milliseconds `json:"tlsMs"`
	// Server is the id of the server that answered. Without an answer, Failure is the kind of failure and FailedIn its
	// stage.
	Server   string `json:"server,omitempty"`
	Failure  string `json:"failure,omitempty"`
	FailedIn stage  `json:"failedIn,omitempty"`
	Detail   string `json:"detail,omitempty"`
}

// result returns the server that answered, or the kind of failure.
func (r request) result() string { return r.Server + r.Failure }

// The ways in which a kept connection ends without a failure.
const (
	endAnnounced = "announced"
	endOpen      = "open at the end"
)

// keptConnection is a connection that a visitor keeps, or a failed attempt to open one.
type keptConnection struct {
	Visitor int          `json:"visitor"`
	Opened  milliseconds `json:"openedMs"`
	Ended   milliseconds `json:"endedMs"`
	// EndedBy is how it ended: announced by the server, open at the end of the measurement, or with a kind of failure.
	EndedBy  string `json:"endedBy"`
	FailedIn stage  `json:"failedIn,omitempty"`
	Detail   string `json:"detail,omitempty"`
	// Asked is the number of requests, Answers the number of answers by server.
	Asked   int            `json:"asked"`
	Answers map[string]int `json:"answers"`
	// LastAnswer is the time at which the last answer arrived, or 0.
	LastAnswer milliseconds `json:"lastAnswerMs,omitempty"`
}

func (k *keptConnection) fail(err error, in stage) {
	k.EndedBy, k.FailedIn, k.Detail = kindOf(err), in, err.Error()
}

// association is the time of the move according to EC2's API: after the beginning of the last call that named the old
// server and before the end of the first call that named another server.
type association struct {
	After  milliseconds `json:"afterMs"`
	Before milliseconds `json:"beforeMs"`
	Server string       `json:"server"`
}

// measurement is a measurement in progress and, when it has ended, its results.
type measurement struct {
	settings
	began time.Time

	mutex sync.Mutex
	// fresh holds the fresh requests, and kept the kept connections, that have ended.
	fresh []request
	kept  []keptConnection
	// sent counts the fresh requests, inFlight those in progress.
	sent, inFlight, mostInFlight int
	// results counts the fresh requests by result. last is the most recent result, and changed the time at which it last
	// changed.
	results map[string]int
	last    string
	changed time.Duration
	// successor is the first server other than the old one that answered a fresh request, and moved the time of that
	// answer.
	successor string
	moved     time.Duration
	// open holds the open kept connections by visitor.
	open map[int]openConnection
	// commandEnded is the time at which the command ended, or 0.
	commandEnded time.Duration
	// association is nil if no move was seen in EC2's API.
	association *association
}

// openConnection is an open kept connection. Its server is "" before the first answer.
type openConnection struct {
	opened time.Duration
	server string
}

// measure sends requests until the move is over, the limit is reached, or ctx is canceled. It waits for the requests in
// flight.
func measure(ctx context.Context, s settings) *measurement {
	m := &measurement{
		settings: s, began: time.Now(), fresh: []request{}, kept: []keptConnection{},
		results: map[string]int{}, open: map[int]openConnection{},
	}
	ctx, stop := context.WithTimeout(ctx, s.limit)
	defer stop()
	var running sync.WaitGroup
	running.Go(func() { m.sendFresh(ctx) })
	for visitor := range s.visitors {
		running.Go(func() { m.keep(ctx, visitor) })
	}
	if s.holder != nil {
		running.Go(func() { m.poll(ctx) })
	}
	m.await(ctx)
	stop()
	running.Wait()
	slices.SortFunc(m.fresh, func(a, b request) int { return a.Number - b.Number })
	return m
}

// now returns the time since the beginning.
func (m *measurement) now() time.Duration { return time.Since(m.began) }

// pause waits until a time relative to the beginning. It returns false if ctx is canceled first.
func (m *measurement) pause(ctx context.Context, until time.Duration) bool {
	timer := time.NewTimer(until - m.now())
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}

// await waits until the move is over or ctx is canceled.
func (m *measurement) await(ctx context.Context) {
	check, progress := time.NewTicker(checkPause), time.NewTicker(progressPause)
	defer check.Stop()
	defer progress.Stop()
	pending := m.ended
	for {
		select {
		case <-ctx.Done():
			return
		case <-pending:
			pending, m.commandEnded = nil, m.now() // a closed channel is always ready
			m.log("the command has ended")
		case <-progress.C:
			m.logProgress()
		case <-check.C:
			if pending == nil && m.over() {
				return
			}
		}
	}
}

// over reports whether the move is over: for some time, all fresh requests have had the same result, and no kept
// connection has been to another server. Without a command, another server must have answered; a command must have
// ended at least that long ago.
func (m *measurement) over() bool {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.ended == nil && m.successor == "" {
		return false
	}
	for _, c := range m.open {
		unknown := c.server == "" && m.successor != "" && c.opened < m.moved
		if unknown || c.server != "" && c.server != m.last {
			m.changed = m.now()
		}
	}
	return m.now()-max(m.changed, m.commandEnded) >= m.after
}

func (m *measurement) logProgress() {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	text := fmt.Sprintf("%d requests, ", m.sent)
	if len(m.results) > 0 {
		text += counts(m.results) + ", "
	}
	m.log(fmt.Sprintf("%sin flight: %d; kept connections: %d", text, m.inFlight, len(m.open)))
}

// sendFresh sends the numbered requests. None is skipped: when the in-flight limit is reached or this machine is too
// busy, a request is sent late.
func (m *measurement) sendFresh(ctx context.Context) {
	slots := make(chan struct{}, m.maxInFlight)
	var running sync.WaitGroup
	defer running.Wait()
	for number := 1; ; number++ {
		due := time.Duration(number-1) * m.interval
		if !m.pause(ctx, due) {
			return
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		m.mutex.Lock()
		m.sent++
		m.inFlight++
		m.mostInFlight = max(m.mostInFlight, m.inFlight)
		m.mutex.Unlock()
		running.Go(func() {
			m.record(m.sendOne(number, due))
			<-slots
		})
	}
}

// sendOne sends a request on its own connection, even if the measurement ends meanwhile.
func (m *measurement) sendOne(number int, due time.Duration) request {
	r := request{Number: number, Due: milliseconds(due), Sent: milliseconds(m.now())}
	ctx, cancel := context.WithTimeout(context.Background(), m.timeout)
	defer cancel()
	c, opened, err := m.site.open(ctx)
	r.Connect, r.Secure, r.FailedIn = milliseconds(opened.connect), milliseconds(opened.secure), opened.failedIn
	if err == nil {
		defer c.close()
		r.FailedIn = answering
		r.Server, err = c.ask(ctx, number)
	}
	r.Ended = milliseconds(m.now())
	if err != nil {
		r.Failure, r.Detail = kindOf(err), err.Error()
		return r
	}
	r.FailedIn = ""
	return r
}

func (m *measurement) record(r request) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.fresh = append(m.fresh, r)
	m.inFlight--
	if m.results[r.result()]++; m.results[r.result()] == 1 {
		if r.Server != "" {
			m.log(fmt.Sprintf("%s answers: request %d", r.Server, r.Number))
		} else {
			m.log(fmt.Sprintf("request %d failed in the stage %s: %s", r.Number, r.FailedIn, r.Detail))
		}
	}
	if m.successor == "" && r.Server != "" && r.Server != m.old {
		m.successor, m.moved = r.Server, m.now()
	}
	if r.result() != m.last {
		m.last, m.changed = r.result(), m.now()
	}
}

// poll queries EC2's API for the server that holds the address until it is no longer the old one.
func (m *measurement) poll(ctx context.Context) {
	var lastOld time.Duration
	var failure string
	for {
		began := m.now()
		callCtx, cancel := context.WithTimeout(ctx, pollTimeout)
		holder, err := m.holder(callCtx)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if err.Error() != failure {
				failure = err.Error()
				m.log(failure)
			}
		case holder == m.old:
			lastOld = began
		case holder != "":
			m.mutex.Lock()
			m.association = &association{After: milliseconds(lastOld), Before: milliseconds(m.now()), Server: holder}
			m.mutex.Unlock()
			m.log("EC2's API names " + holder)
			return
		}
		if !m.pause(ctx, began+pollPause) {
			return
		}
	}
}

// keep acts as a visitor who keeps a connection and opens a new one when it ends.
func (m *measurement) keep(ctx context.Context, visitor int) {
	// The visitors are spread over the interval, or all would send at the same moment.
	phase := m.keptInterval * time.Duration(visitor) / time.Duration(m.visitors)
	next := func() time.Duration { return m.now() + m.keptInterval - (m.now()-phase)%m.keptInterval }
	if !m.pause(ctx, phase) {
		return
	}
	for ctx.Err() == nil {
		k := m.keepOne(ctx, visitor, next)
		k.Ended = milliseconds(m.now())
		m.mutex.Lock()
		m.kept = append(m.kept, k)
		delete(m.open, visitor)
		m.mutex.Unlock()
		// An unused connection is not replaced before the next request is due.
		if k.Asked == 0 && !m.pause(ctx, next()) {
			return
		}
	}
}

// reply is a response on a kept connection, or the error that ended it.
type reply struct {
	server string
	last   bool
	err    error
}

// keepOne opens a connection and sends a request at each time that next returns, until the connection ends.
func (m *measurement) keepOne(ctx context.Context, visitor int, next func() time.Duration) keptConnection {
	k := keptConnection{Visitor: visitor + 1, Opened: milliseconds(m.now()), Answers: map[string]int{}}
	opening, cancel := context.WithTimeout(context.Background(), m.timeout)
	defer cancel()
	c, opened, err := m.site.open(opening)
	if err != nil {
		k.fail(err, opened.failedIn)
		return k
	}
	m.setOpen(visitor, k, "")
	replies, done := make(chan reply), make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() {
		for ended := false; !ended; {
			var r reply
			r.server, r.last, r.err = c.receive()
			select {
			case replies <- r:
			case <-done:
			}
			ended = r.err != nil || r.last
		}
	})
	defer reading.Wait()
	defer close(done)
	defer c.close()
	for {
		due := time.NewTimer(next() - m.now())
		select {
		case <-ctx.Done():
			due.Stop()
			k.EndedBy = endOpen
			return k
		case r := <-replies:
			due.Stop()
			if r.err == nil {
				r.err = fmt.Errorf("unexpected response from %s without a request", r.server)
			}
			k.fail(r.err, "")
			return k
		case <-due.C:
		}
		k.Asked++
		err := c.SetWriteDeadline(time.Now().Add(m.timeout))
		if err == nil {
			err = c.send(fmt.Sprintf("visitor=%d&n=%d", k.Visitor, k.Asked), false)
		}
		if err != nil {
			k.fail(err, answering)
			return k
		}
		timeout := time.NewTimer(m.timeout)
		select {
		case <-timeout.C:
			k.fail(context.DeadlineExceeded, answering)
			return k
		case r := <-replies:
			timeout.Stop()
			if r.err != nil {
				k.fail(r.err, answering)
				return k
			}
			k.Answers[r.server]++
			k.LastAnswer = milliseconds(m.now())
			m.setOpen(visitor, k, r.server)
			if r.last {
				k.EndedBy = endAnnounced
				return k
			}
		}
	}
}

func (m *measurement) setOpen(visitor int, k keptConnection, server string) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.open[visitor] = openConnection{time.Duration(k.Opened), server}
}
