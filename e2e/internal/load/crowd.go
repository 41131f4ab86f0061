package load

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// crowd is a group of visitors of one kind, with their results.
type crowd struct {
	visitors Visitors
	running  sync.WaitGroup

	mutex    sync.Mutex
	clients  []*client
	answers  []answer
	failures []Failure
	requests int
	// next holds the time at which each visitor's next request would have been due.
	next []time.Time
	// behind is the largest delay of a request.
	behind time.Duration
}

// answer is a correct response.
type answer struct {
	at   time.Time
	took time.Duration
}

func newCrowd(visitors Visitors) *crowd { return &crowd{visitors: visitors} }

// send makes a client request the pages in turn, beginning with page first. Each client has its own attacker and
// therefore its own connection: an attacker reuses idle connections, so only a few of many shared ones would be used.
func (c *crowd) send(ctx context.Context, client *client, schedule schedule, first int) {
	pages := c.visitors.pages()
	var count atomic.Uint64
	targets := func(target *vegeta.Target) error {
		page := pages[(uint64(first)+count.Add(1)-1)%uint64(len(pages))]
		target.Method, target.URL = "GET", c.visitors.URL+page
		return nil
	}
	began := time.Now()
	// It begins with one worker: vegeta adds a worker whenever all of them are waiting for a response.
	options := []func(*vegeta.Attacker){vegeta.Client(&client.Client), vegeta.Workers(1)}
	if c.visitors.Patient {
		options = append(options, vegeta.MaxWorkers(1))
	}
	attacker := vegeta.NewAttacker(options...)
	results := attacker.Attack(targets, pacer{schedule: schedule, ctx: ctx}, 0, "")
	c.clients = append(c.clients, client)
	c.running.Go(func() {
		sent := uint64(0)
		for result := range results {
			sent++
			c.record(result, began.Add(schedule.due(result.Seq)))
		}
		c.mutex.Lock()
		defer c.mutex.Unlock()
		c.next = append(c.next, began.Add(schedule.due(sent)))
	})
}

// record records the result of a request.
func (c *crowd) record(result *vegeta.Result, due time.Time) {
	page := strings.TrimPrefix(result.URL, c.visitors.URL)
	var err error
	// Without a status, there is no complete response. With a status, vegeta's error only repeats it.
	if result.Code == 0 {
		err = errors.New(result.Error)
	}
	kind, detail := judge(int(result.Code), result.Body, err, c.visitors.Pages[page])

	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.requests++
	c.behind = max(c.behind, result.Timestamp.Sub(due))
	if kind != "" {
		c.failures = append(c.failures,
			Failure{At: result.Timestamp, Took: result.Latency, Page: page, Kind: kind, Detail: detail})
		return
	}
	c.answers = append(c.answers, answer{at: result.Timestamp.Add(result.Latency), took: result.Latency})
}

func (c *crowd) served() int {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return len(c.answers)
}

// summary waits for the requests in flight and returns the results.
func (c *crowd) summary(began, ended time.Time) Summary {
	c.running.Wait()
	slices.SortFunc(c.failures, func(a, b Failure) int { return a.At.Compare(b.At) })
	s := Summary{Requests: c.requests, Failures: c.failures, Behind: c.behind}
	s.LongestGap, s.GapAt = longestGap(c.answers, began, ended)
	s.P50, s.P99, s.Max = quantile(c.answers, 0.50), quantile(c.answers, 0.99), quantile(c.answers, 1)
	// Requests that were due before the end but never sent were late by the time until the end.
	for _, due := range c.next {
		s.Behind = max(s.Behind, ended.Sub(due))
	}
	for _, client := range c.clients {
		s.Reconnects += int(client.reconnects.Load())
		s.Repeated += int(client.repeated.Load())
		s.Resets += int(client.resets.Load())
		client.transport.CloseIdleConnections()
	}
	return s
}
