// Package load is visitors of a web site, and what they see. They come at
// their own pace, whether the site keeps up or not, so that a site that stands
// still is asked as often as one that answers.
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

// Visitors are who asks for pages, all at the same time.
type Visitors struct {
	// URL is the site's, without a path, such as https://example.org.
	URL string
	// Roots are the authorities whose certificates are trusted. Defaulted: those
	// of the machine.
	Roots *x509.CertPool
	// Pages is the SHA-256, in hex, of each page by its path. An empty one
	// stands for any body with status 200.
	Pages map[string]string
	// Fresh is how many requests come in a second, each on a connection of its own.
	Fresh int
	// KeepAlive is how many visitors keep a connection.
	KeepAlive int
	// KeepAliveRate is how many requests a second each of those makes.
	KeepAliveRate int
	// Timeout of one request. Defaulted: 10 s.
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

// Run is visitors at work.
type Run struct {
	began            time.Time
	cancel           context.CancelFunc
	ended            <-chan time.Time
	fresh, keepAlive *crowd
}

// Report is what the visitors saw.
type Report struct {
	Fresh     Summary `json:"fresh"`
	KeepAlive Summary `json:"keepAlive"`
}

// Start sends the visitors, once each page was answered well on a connection of
// its own. They come until Stop, or until the context ends.
func Start(ctx context.Context, v Visitors) (*Run, error) {
	if err := v.complete(); err != nil {
		return nil, fmt.Errorf("send visitors: %w", err)
	}
	if err := v.lookAtEachPage(ctx); err != nil {
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
		// Spread, or all of them would ask at the same moment.
		phase := interval * time.Duration(i) / time.Duration(v.KeepAlive)
		r.keepAlive.send(ctx, newClient(v, true), schedule{phase: phase, interval: interval}, i)
	}
	return r, nil
}

// lookAtEachPage finds out that the run is set up well, before it begins.
func (v *Visitors) lookAtEachPage(ctx context.Context) error {
	client := newClient(*v, false)
	for _, path := range v.pages() {
		status, body, err := client.get(ctx, v.URL+path)
		if kind, detail := judge(status, body, err, v.Pages[path]); kind != "" {
			return fmt.Errorf("%s before the first visitor: %s: %s", path, kind, detail)
		}
	}
	return nil
}

// Stop sends nobody any more, awaits what is in flight, and returns what was
// seen. It is called once.
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
