// Package browser visits the pages of a site with Chromium and reports all problems that a visitor could see: blocked
// resources, console errors, failed requests, broken links, and pixels that differ from those of the same files on a
// plain file server.
package browser

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"image"
	"image/png"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/fetch"
	logdomain "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

const (
	// width and height are the window's size in pixels. Screenshots are as long as the page.
	width, height = 1280, 900
	// attempts is the maximum number of times that a page is opened while the machine's network changes.
	attempts = 3
	// visitLimit bounds the time until a page has loaded and is idle.
	visitLimit = time.Minute
)

//go:embed settle.js
var settle string

// Options configure a browser.
type Options struct {
	// Home is the browser's home directory, which contains its trusted CAs.
	Home string
	// Others are responses to requests for other hosts, by URL prefix. Such requests never leave the machine.
	Others map[string]string
}

// Browser is a running Chromium with an empty profile.
type Browser struct {
	ctx    context.Context
	others map[string]string
}

// Installed reports whether the machine has a Chromium.
func Installed() bool {
	for _, path := range []string{"/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"} {
		if _, err := os.Stat(path); err == nil {
			return true
		}
	}
	return false
}

// Start starts a browser, which runs until stop is called or the context ends.
func Start(ctx context.Context, options Options) (browser *Browser, stop func(), err error) {
	flags := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("font-render-hinting", "none"),
		chromedp.Flag("disable-lcd-text", true),
		// Screenshots include pictures below the window.
		chromedp.Flag("blink-settings", "lazyLoadEnabled=false"),
		// Pages of other hosts must run in the same process, where their requests are visible.
		chromedp.Flag("disable-site-isolation-trials", true),
		chromedp.Flag("disable-features", "Translate,BlinkGenPropertyTrees,IsolateOrigins,site-per-process,HttpsUpgrades"),
		chromedp.WindowSize(width, height))
	if options.Home != "" {
		flags = append(flags, chromedp.Env("HOME="+options.Home))
	}
	allocator, stopAllocator := chromedp.NewExecAllocator(ctx, flags...)
	first, stopBrowser := chromedp.NewContext(allocator)
	stop = func() { stopBrowser(); stopAllocator() }
	if err := chromedp.Do(first); err != nil {
		stop()
		return nil, nil, fmt.Errorf("cannot start Chromium: %w", err)
	}
	return &Browser{ctx: first, others: options.Others}, stop, nil
}

// Page is the result of one visit.
type Page struct {
	// URL is the final URL, after redirects.
	URL string
	// Status is the document's status.
	Status int
	// Problems are descriptions without duplicates.
	Problems []string
	// Links are the resolved URLs that the page refers to, with their fragments.
	Links []string
	// Picture is a screenshot of the whole page.
	Picture image.Image
}

// Visit opens a page in a new tab, waits until everything has loaded, and inspects the page. A page that cannot be
// opened at all is an error.
func (b *Browser) Visit(ctx context.Context, target string) (Page, error) {
	for attempt := 1; ; attempt++ {
		seen, err := b.visit(ctx, target)
		if attempt == attempts || !networkChanged(seen.Problems, err) {
			return seen, err
		}
	}
}

// networkChanged reports whether Chromium ended a request because a network interface of this machine, such as a
// container's, was added or removed, which is not the site's fault.
func networkChanged(problems []string, err error) bool {
	if err != nil {
		problems = append(problems, err.Error())
	}
	return slices.ContainsFunc(problems,
		func(problem string) bool { return strings.Contains(problem, "net::ERR_NETWORK_CHANGED") })
}

func (b *Browser) visit(ctx context.Context, target string) (Page, error) {
	seen := newWatch()
	tab, closeTab := chromedp.NewContext(b.ctx, chromedp.WithListener(seen.event))
	defer closeTab()
	limited, cancel := context.WithTimeout(tab, visitLimit)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()

	if err := b.prepare(limited, tab); err != nil {
		return Page{}, fmt.Errorf("cannot open a tab for %s: %w", target, err)
	}
	if err := chromedp.Do(limited, chromedp.Navigate(target)); err != nil {
		return Page{}, fmt.Errorf("cannot open %s: %w", target, err)
	}
	result, err := seen.settled(limited)
	if err != nil {
		return Page{}, fmt.Errorf("cannot inspect %s: %w; %s", target, err, strings.Join(seen.list(), "; "))
	}
	shot, err := chromedp.Run(limited, chromedp.FullScreenshot(100))
	if err != nil {
		return Page{}, fmt.Errorf("cannot take a screenshot of %s: %w", target, err)
	}
	picture, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		return Page{}, fmt.Errorf("cannot decode the screenshot of %s: %w", target, err)
	}
	for _, problem := range result.Problems {
		seen.note("%s", problem)
	}
	return Page{
		URL: result.URL, Status: seen.documentStatus(), Problems: seen.list(), Links: result.Links, Picture: picture,
	}, nil
}

// Evaluate opens a page and returns the value of a JavaScript expression, once its promise is fulfilled.
func (b *Browser) Evaluate(ctx context.Context, target, expression string) (string, error) {
	tab, closeTab := chromedp.NewContext(b.ctx)
	defer closeTab()
	limited, cancel := context.WithTimeout(tab, visitLimit)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	if err := chromedp.Do(limited, chromedp.Navigate(target)); err != nil {
		return "", fmt.Errorf("cannot open %s: %w", target, err)
	}
	value, err := chromedp.Run(limited,
		chromedp.Evaluate[string]("Promise.resolve("+expression+").then(String)", chromedp.EvalAwaitPromise))
	if err != nil {
		return "", fmt.Errorf("cannot evaluate %s at %s: %w", expression, target, err)
	}
	return value, nil
}

// prepare sets a tab's window and preferences, so that they are the same on every machine.
func (b *Browser) prepare(ctx, tab context.Context) error {
	if err := chromedp.Do(ctx); err != nil {
		return err
	}
	if _, err := chromedp.Call(ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: height, DeviceScaleFactor: 1,
	}); err != nil {
		return err
	}
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia,
		emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-reduced-motion", Value: "reduce"}, {Name: "prefers-color-scheme", Value: "light"},
		}}); err != nil {
		return err
	}
	if len(b.others) == 0 {
		return nil
	}
	var patterns []*fetch.RequestPattern
	for prefix := range b.others {
		patterns = append(patterns, &fetch.RequestPattern{URLPattern: prefix + "*"})
	}
	if err := chromedp.Listen(tab, func(event any) {
		if paused, ok := event.(*fetch.EventRequestPaused); ok {
			// The response to the command arrives after this event, so answer must not block it.
			go b.answer(tab, paused)
		}
	}); err != nil {
		return err
	}
	_, err := chromedp.Call(ctx, fetch.Enable, fetch.EnableParams{Patterns: patterns})
	return err
}

// answer responds to a request for another host. Errors are ignored because the tab may have been closed meanwhile.
func (b *Browser) answer(tab context.Context, paused *fetch.EventRequestPaused) {
	for prefix, body := range b.others {
		if !strings.HasPrefix(paused.Request.URL, prefix) {
			continue
		}
		_, _ = chromedp.Call(tab, fetch.FulfillRequest, fetch.FulfillRequestParams{
			RequestID: paused.RequestID, ResponseCode: 200, Body: []byte(body),
			ResponseHeaders: []*fetch.HeaderEntry{
				{Name: "Content-Type", Value: "text/html; charset=utf-8"},
				{Name: "Access-Control-Allow-Origin", Value: "*"},
				{Name: "Cross-Origin-Resource-Policy", Value: "cross-origin"},
			},
		})
		return
	}
}

// settledPage is the result of settle.js.
type settledPage struct {
	URL      string   `json:"url"`
	Links    []string `json:"links"`
	Problems []string `json:"problems"`
}

// watch collects the events of a tab.
type watch struct {
	mu       sync.Mutex
	problems []string
	// loader is the loader of the main frame's document, and loaded has the loaders whose pages have loaded all initial
	// resources.
	loader cdp.LoaderID
	loaded map[cdp.LoaderID]bool
	// urls are the URLs of requests, open the requests in progress, and documents the statuses of main documents by their
	// loader.
	urls      map[network.RequestID]string
	open      map[network.RequestID]cdp.LoaderID
	documents map[cdp.LoaderID]int
	changed   chan struct{}
}

func newWatch() *watch {
	return &watch{
		loaded: map[cdp.LoaderID]bool{}, urls: map[network.RequestID]string{}, open: map[network.RequestID]cdp.LoaderID{},
		documents: map[cdp.LoaderID]int{}, changed: make(chan struct{}, 1),
	}
}

// event handles an event of the tab.
func (w *watch) event(event any) {
	switch e := event.(type) {
	case *page.EventFrameNavigated:
		if e.Frame.ParentID == "" {
			w.update(func() {
				// Requests of the previous page end with it.
				maps.DeleteFunc(w.open, func(_ network.RequestID, loader cdp.LoaderID) bool { return loader == w.loader })
				w.loader = e.Frame.LoaderID
			})
		}
	case *page.EventLifecycleEvent:
		if e.Name == "load" {
			w.update(func() { w.loaded[e.LoaderID] = true })
		}
	case *page.EventJavascriptDialogOpening:
		w.note("dialog: %s", e.Message)
	case *network.EventRequestWillBeSent:
		w.update(func() {
			w.urls[e.RequestID] = e.Request.URL
			// A player keeps its request open, and settle.js waits for its first picture. The end of a worker's requests is
			// reported only to the worker.
			if e.LoaderID != "" && e.Type != network.ResourceTypeMedia && e.Type != network.ResourceTypeEventSource &&
				e.Type != network.ResourceTypePreflight {
				w.open[e.RequestID] = e.LoaderID
			}
		})
	case *network.EventResponseReceived:
		w.response(e)
	case *network.EventLoadingFinished:
		w.update(func() { delete(w.open, e.RequestID) })
	case *network.EventLoadingFailed:
		w.failed(e)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeAssert {
			w.note("console: %s", arguments(e.Args))
		}
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		w.note("exception: %s", text)
	case *logdomain.EventEntryAdded:
		// Failed requests are noted with their status above. Security messages always matter, such as a blocked style or
		// mixed content.
		if e.Entry.Source != logdomain.EntrySourceNetwork &&
			(e.Entry.Level == logdomain.EntryLevelError || e.Entry.Source == logdomain.EntrySourceSecurity) {
			w.note("%s: %s", e.Entry.Source, e.Entry.Text)
		}
	}
}

// arguments returns the text printed on the console.
func arguments(args []*runtime.RemoteObject) string {
	var words []string
	for _, arg := range args {
		if text := arg.Description; text != "" {
			words = append(words, text)
			continue
		}
		words = append(words, strings.Trim(string(arg.Value), `"`))
	}
	return strings.Join(words, " ")
}

func (w *watch) response(e *network.EventResponseReceived) {
	status := int(e.Response.Status)
	if e.Type == network.ResourceTypeDocument && string(e.RequestID) == string(e.LoaderID) {
		w.update(func() { w.documents[e.LoaderID] = status })
		return // Page has the status of the page itself
	}
	if status >= 400 && !isFavicon(e.Response.URL) {
		w.note("%d: %s %s", status, e.Type, e.Response.URL)
	}
}

// isFavicon reports whether browsers request a URL on their own. If a page has its own icon, the icon is among its
// links.
func isFavicon(target string) bool { return strings.HasSuffix(target, "/favicon.ico") }

func (w *watch) failed(e *network.EventLoadingFailed) {
	var target string
	w.update(func() {
		target = w.urls[e.RequestID]
		delete(w.open, e.RequestID)
	})
	switch {
	case e.BlockedReason != "":
		w.note("blocked (%s): %s %s", e.BlockedReason, e.Type, target)
	case e.CorsErrorStatus != nil:
		w.note("blocked (CORS, %s): %s %s", e.CorsErrorStatus.CorsError, e.Type, target)
	case !e.Canceled && e.ErrorText != "net::ERR_ABORTED":
		// A player cancels its request when it has enough of a file.
		w.note("failed (%s): %s %s", e.ErrorText, e.Type, target)
	}
}

func (w *watch) update(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func (w *watch) note(format string, args ...any) {
	problem := fmt.Sprintf(format, args...)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.problems, problem) {
		w.problems = append(w.problems, problem)
	}
}

func (w *watch) list() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.problems)
}

func (w *watch) documentStatus() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.documents[w.loader]
}

// settled waits until nothing is in progress in the tab and everything is drawn. It follows a page that redirects
// on its own.
func (w *watch) settled(ctx context.Context) (settledPage, error) {
	for {
		loader, err := w.idleLoader(ctx)
		if err != nil {
			return settledPage{}, err
		}
		result, err := chromedp.Run(ctx, chromedp.Evaluate[settledPage](settle, chromedp.EvalAwaitPromise))
		// A response to a script may have changed the page.
		if at, idle := w.idle(); at != loader || !idle {
			continue
		}
		if err != nil {
			return settledPage{}, err
		}
		// The fragment is not part of the page's URL.
		at, err := url.Parse(result.URL)
		if err != nil {
			return settledPage{}, err
		}
		at.Fragment, at.RawFragment = "", ""
		result.URL = at.String()
		return result, nil
	}
}

// idleLoader waits until the document of the main frame is complete and no request is in progress.
func (w *watch) idleLoader(ctx context.Context) (cdp.LoaderID, error) {
	for {
		if loader, idle := w.idle(); idle {
			return loader, nil
		}
		select {
		case <-w.changed:
		case <-ctx.Done():
			return "", fmt.Errorf("the page does not become idle, with these requests in progress: %s: %w", w.inProgress(),
				context.Cause(ctx))
		}
	}
}

func (w *watch) idle() (cdp.LoaderID, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.loader, w.loaded[w.loader] && len(w.open) == 0
}

func (w *watch) inProgress() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var urls []string
	for id := range w.open {
		urls = append(urls, w.urls[id])
	}
	return strings.Join(urls, ", ")
}
