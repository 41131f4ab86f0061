// Package load simulates the visitors of a web site, and records their results. They come at their
// own pace, whether or not the site keeps up, so that a stalled site gets as many requests as one
// that responds.
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

// Visitors request pages, all at the same time.
type Visitors struct {
	// URL is the site's, without a path, such as https://example.org.
	URL string
	// Roots are the trusted authorities. Default: those of the machine.
	Roots *x509.CertPool
	// Pages is the SHA-256, in hex, of each page by its path. An empty one accepts any body with
	// status 200.
	Pages map[string]string
	// Fresh is the number of requests per second, each on a connection of its own.
	Fresh int
	// KeepAlive is the number of visitors who keep a connection.
	KeepAlive int
	// KeepAliveRate is the number of requests per second of each of those.
	KeepAliveRate int
	// Patient makes each of those await a response before the next request: a late one is sent at once.
	Patient bool
	// Timeout of one request. Default: 10 s.
	Timeout time.Duration
}

func (v *Visitors) complete() error {
	if v.Timeout == 0 {
		v.Timeout = defaultTimeout
	}
	base, err := url.Parse(v.URL)
	if err != nil {
		return fmt.Errorf("URL of the site: %w", err)
	}
	switch {
	case base.Scheme == "" || base.Host == "" || base.Path != "":
		return fmt.Errorf("URL of the site is %q: it has to be like https://example.org, without a path", v.URL)
	case len(v.Pages) == 0:
		return errors.New("no page to ask for")
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

// Run are visitors at work.
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

// Start starts the visitors, after one correct response for each page on a connection of its own.
// They come until Stop, or until the context ends.
func Start(ctx context.Context, v Visitors) (*Run, error) {
	if err := v.complete(); err != nil {
		return nil, fmt.Errorf("send visitors: %w", err)
	}
	if err := v.checkEachPage(ctx); err != nil {
		return nil, fmt.Errorf("send visitors: %w", err)
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
		// Spread, or all of them would send at the same moment.
		phase := interval * time.Duration(i) / time.Duration(v.KeepAlive)
		r.keepAlive.send(ctx, newClient(v, true), schedule{phase: phase, interval: interval}, i)
	}
	return r, nil
}

// checkEachPage checks the setup of the run before it begins.
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

// Served is the number of correct responses so far.
func (r *Run) Served() int { return r.fresh.served() + r.keepAlive.served() }

// Stop stops the visitors, awaits the requests in flight, and returns the results. It is called
// once.
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
