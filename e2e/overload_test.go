package e2e

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"immutable-infra/e2e/internal/load"
)

const (
	// serverCPUs limits the server's CPU time, so that enough remains for the visitors to send ten times as many requests
	// as the server can answer.
	serverCPUs = "0.5"
	// offerTime is how long each rate is offered. The server's own work takes a third of that CPU time, in bursts: health
	// checks, measurements and downloads. All of it recurs within a minute.
	offerTime = time.Minute
	// warmUp is the time before that, in which visitors who keep a connection open it.
	warmUp = 5 * time.Second
	// goodShare is the minimum share of the capacity that must be served under overload.
	goodShare = 0.8
	// recovery is the time after an overload within which all visitors must be served again.
	recovery = 5 * time.Second
)

// TestOverload sends more requests than the server can answer, and requires that it still answers nearly as many as it
// can.
func TestOverload(t *testing.T) {
	if os.Getenv("E2E") != "overload" {
		t.Skip("needs a local cloud that is up and takes half an hour to 40 minutes: make test-overload")
	}
	p := root(t)
	p.loadEnv(t)
	p.startClean(t)
	p.converges(t)
	p.limitCPUs(t, p.outputs(t).ServerID)

	var fresh float64
	t.Run("fresh connections", func(t *testing.T) {
		visitors := func(rate int) load.Visitors { return load.Visitors{Fresh: rate} }
		fresh = p.capacity(t, 100, visitors)
		p.overload(t, fresh, visitors)
	})
	t.Run("kept connections", func(t *testing.T) {
		const rate = 10
		visitors := func(total int) load.Visitors {
			return load.Visitors{KeepAlive: max(1, total/rate), KeepAliveRate: rate, Patient: true}
		}
		p.overload(t, p.capacity(t, 200, visitors), visitors)
	})
	t.Run("a replacement at twice the capacity", func(t *testing.T) {
		require.NotZero(t, fresh, "the capacity is not known: run all of TestOverload")
		before := p.outputs(t).ServerID
		p.set(t, "generation", int(time.Now().Unix()))
		visitors, err := p.startVisitors(t, load.Visitors{Fresh: int(2 * fresh)})
		require.NoError(t, err)
		up := p.pulumiUp(t)
		report := visitors.Stop()
		require.NoError(t, up.err, up.String())
		after := p.outputs(t)
		require.NotEqual(t, before, after.ServerID)
		t.Logf("%.1f s; %s", up.took.Seconds(), outcome(report.Fresh))
		require.Greater(t, report.Fresh.Requests, 1000)
		refusedOnly(t, report.Fresh)
		server, _ := p.served(t)
		require.Equal(t, after.ServerID, server)
	})
}

// limitCPUs limits a server's CPU time and stops its reports for the bake, which is over: they would use much of
// the CPU time.
func (p *project) limitCPUs(t *testing.T, server string) {
	t.Helper()
	stop := p.ssh(t, "sudo systemctl stop agent-report.path agent-report.service")
	require.NoError(t, stop.err, stop.String())
	id := p.container(t, server)
	p.must(t, time.Minute, "docker", "update", "--cpus", serverCPUs, id)
}

// startVisitors starts visitors who request one page.
func (p *project) startVisitors(t *testing.T, visitors load.Visitors) (*load.Run, error) {
	t.Helper()
	visitors.URL, visitors.Roots, visitors.Pages = siteURL, p.roots(t), map[string]string{"/about/": ""}
	return load.Start(t.Context(), visitors)
}

// offer sends visitors for some time and returns the number of requests served per second after the warm-up.
func (p *project) offer(t *testing.T, visitors load.Visitors) (perSecond float64, report load.Summary) {
	t.Helper()
	run, err := p.startVisitors(t, visitors)
	require.NoError(t, err)
	<-time.After(warmUp)
	began, before := time.Now(), run.Served()
	<-time.After(offerTime)
	perSecond = float64(run.Served()-before) / time.Since(began).Seconds()
	both := run.Stop()
	report = both.Fresh
	if visitors.KeepAlive > 0 {
		report = both.KeepAlive
	}
	return perSecond, report
}

// capacity returns the number of requests per second that the server can answer. It doubles the rate, beginning with
// least, until two consecutive rates raise that number by less than a tenth each. The best of these measurements may be
// due to chance, so the result is the mean of two further ones at its rate.
func (p *project) capacity(t *testing.T, least int, visitors func(rate int) load.Visitors) float64 {
	t.Helper()
	offer := func(rate int) float64 {
		served, report := p.offer(t, visitors(rate))
		t.Logf("%d/s offered: %.0f/s served; median %d ms; %s", rate, served, report.P50.Milliseconds(), outcome(report))
		return served
	}
	most, best := 0.0, 0
	for rate, equal := least, 0; equal < 2; rate *= 2 {
		served := offer(rate)
		if equal++; served > 1.1*most {
			equal = 0
		}
		if served > most {
			most, best = served, rate
		}
	}
	return (offer(best) + offer(best)) / 2
}

// overload offers up to ten times as many requests as the server can answer.
func (p *project) overload(t *testing.T, capacity float64, visitors func(rate int) load.Visitors) {
	t.Helper()
	for _, factor := range []int{1, 2, 5, 10} {
		rate := factor * int(capacity)
		served, report := p.offer(t, visitors(rate))
		ended := time.Now()
		after, err := p.startVisitors(t, visitors(int(capacity/2)))
		for err != nil && time.Since(ended) < recovery {
			after, err = p.startVisitors(t, visitors(int(capacity/2)))
		}
		require.NoError(t, err, "the server does not recover")
		<-time.After(2 * recovery)
		recovered := after.Stop()
		t.Logf("%d times: %d/s offered, %.0f/s served (%.0f %%); median %d ms, longest %d ms; %s; afterwards %s",
			factor, rate, served, 100*served/capacity, report.P50.Milliseconds(), report.Max.Milliseconds(), outcome(report),
			outcome(recovered.Fresh)+"; "+outcome(recovered.KeepAlive))
		assert.GreaterOrEqual(t, served, goodShare*capacity)
		for _, failure := range append(recovered.Fresh.Failures, recovered.KeepAlive.Failures...) {
			require.Less(t, failure.At.Sub(ended), recovery, "%s: %s", failure.Kind, failure.Detail)
		}
		refusedOnly(t, report)
	}
}

// refusedOnly requires that only requests whose connection the server refused have failed.
func refusedOnly(t *testing.T, report load.Summary) {
	t.Helper()
	for _, failure := range report.Failures {
		require.Contains(t, []string{"reset", "refused"}, failure.Kind, "a request that was admitted failed: %s",
			failure.Detail)
	}
}

// outcome describes the requests and failures of visitors.
func outcome(report load.Summary) string {
	return fmt.Sprintf("%d requests, failed: %s", report.Requests, load.Kinds(load.ByKind(report.Failures)))
}
