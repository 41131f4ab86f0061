// Package load simulates the visitors of a website and records their results. Visitors send requests at a fixed rate
// whether or not the site keeps up, so that a stalled site receives as many requests as a responsive one.
package load

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

const defaultTimeout = 10 * time.Second

// Visitors configures visitors who request pages concurrently.
type Visitors struct {
	// URL is the site's URL without a path, such as https://example.org.
	URL string
	// Roots are the trusted CAs. Default: the machine's.
	Roots *x509.CertPool
	// Pages maps each page's path to its SHA-256 in hex. An empty SHA-256 accepts any body with status 200.
	Pages map[string]string
	// Fresh is the number of requests per second that are each sent on a new connection.
	Fresh int
	// KeepAlive is the number of visitors who keep a connection.
	KeepAlive int
	// KeepAliveRate is the number of requests per second of each of these visitors.
	KeepAliveRate int
	// Patient makes these visitors wait for a response before the next request. A request that is late by then is sent at
	// once.
	Patient bool
	// Timeout is the time limit of a request. Default: 10 s.
	Timeout time.Duration
}

func (v *Visitors) complete() error {
	if v.Timeout == 0 {
		v.Timeout = defaultTimeout
	}
	base, err := url.Parse(v.URL)
	if err != nil {
		return fmt.Errorf("cannot parse the site's URL: %w", err)
	}
	switch {
	case base.Scheme == "" || base.Host == "" || base.Path != "":
		return fmt.Errorf("the site's URL is %q; use one such as https://example.org, without a path", v.URL)
	case len(v.Pages) == 0:
		return errors.New("no page to request")
	case v.Fresh < 0 || v.KeepAlive < 0 || v.KeepAliveRate < 0 || v.Timeout < 0:
		return errors.New("a number of visitors, a rate or the timeout is negative")
	case v.KeepAlive > 0 && v.KeepAliveRate == 0:
		return errors.New("visitors who keep their connection have no rate")
	}
	for path, digest := range v.Pages {
		if !strings.HasPrefix(path, "/") {
			return fmt.Errorf("page %q does not begin with a slash", path)
		}
		if digest != strings.ToLower(digest) {
			return fmt.Errorf("the SHA-256 of %s is not in lower case", path)
		}
	}
	return nil
}

func (v *Visitors) secure() bool { return strings.HasPrefix(v.URL, "https://") }

// pages returns the paths in a fixed order.
func (v *Visitors) pages() []string { return slices.Sorted(maps.Keys(v.Pages)) }

// Run is a run of visitors in progress.
type Run struct {
	began            time.Time
	cancel           context.CancelFunc
	ended            <-chan time.Time
	fresh, keepAlive *crowd
}

// Report is the visitors' results.
type Report struct {
	Fresh     Summary `json:"fresh"`
	KeepAlive Summary `json:"keepAlive"`
}

// Start requires one correct response for each page and then starts the visitors. They send requests until Stop is
// called or the context ends.
func Start(ctx context.Context, v Visitors) (*Run, error) {
	if err := v.complete(); err != nil {
		return nil, fmt.Errorf("cannot start the visitors: %w", err)
	}
	if err := v.checkEachPage(ctx); err != nil {
		return nil, fmt.Errorf("cannot start the visitors: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan time.Time, 1)
	context.AfterFunc(ctx, func() { ended <- time.Now() })

	r := &Run{began: time.Now(), cancel: cancel, ended: ended, fresh: newCrowd(v), keepAlive: newCrowd(v)}
	if v.Fresh > 0 {
		r.fresh.send(ctx, newClient(v, false), schedule{interval: time.Second / time.Duration(v.Fresh)}, 0)
	}
	for i := range v.KeepAlive {
		interval := time.Second / time.Duration(v.KeepAliveRate)
		// The visitors are spread over the interval, or all would send at the same moment.
		phase := interval * time.Duration(i) / time.Duration(v.KeepAlive)
		r.keepAlive.send(ctx, newClient(v, true), schedule{phase: phase, interval: interval}, i)
	}
	return r, nil
}

// checkEachPage requires a correct response for each page before the run begins.
func (v *Visitors) checkEachPage(ctx context.Context) error {
	client := newClient(*v, false)
	for _, path := range v.pages() {
		status, body, err := client.get(ctx, v.URL+path)
		if kind, detail := judge(status, body, err, v.Pages[path]); kind != "" {
			return fmt.Errorf("%s before the first visitor: %s: %s", path, kind, detail)
		}
	}
	return nil
}

// Served returns the number of correct responses so far.
func (r *Run) Served() int { return r.fresh.served() + r.keepAlive.served() }

// Stop stops the visitors, waits for the requests in flight, and returns the results. It must be called once.
func (r *Run) Stop() Report {
	r.cancel()
	ended := <-r.ended
	var both sync.WaitGroup
	var report Report
	both.Go(func() { report.Fresh = r.fresh.summary(r.began, ended) })
	both.Go(func() { report.KeepAlive = r.keepAlive.summary(r.began, ended) })
	both.Wait()
	return report
}
