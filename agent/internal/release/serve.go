package release

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"immutable-infra/server/manifest"
)

const (
	// pollInterval is the time between two requests for the release that the web server names.
	pollInterval = 100 * time.Millisecond
	// settleTime is how long the web server must name the same release: for a tenth of a second after a reload,
	// nginx's old workers still accept requests.
	settleTime = 200 * time.Millisecond
)

// WebServer serves the current release to visitors. It reads the release's configuration when it
// starts and at a reload.
type WebServer interface {
	// Reload requests a reload and does not wait for it.
	Reload() error
	// Release returns the id of the release that visitors get. The error is an ECONNREFUSED if
	// nothing listens.
	Release(ctx context.Context) (id string, err error)
}

// reload makes the web server serve the current release, whose id is given, and waits for that.
// served reports whether the web server then named it.
//
// A web server that still names another release has rejected the new configuration: reload points
// `current` back to the served release, and its error says so. A web server that does not run reads
// `current` when it starts, and one that does not respond must not cause a sound release to be
// undone.
func (p Pull) reload(ctx context.Context, id string) (served bool, err error) {
	if p.Web == nil {
		return true, nil
	}
	if err := p.Web.Reload(); err != nil {
		return false, err
	}
	named, err := p.awaitServed(ctx, id)
	switch {
	case err == nil && named == id:
		return true, nil
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err == nil:
		return false, errors.Join(
			fmt.Errorf("the web server still serves release %q %s after the switch to %s: see journalctl --unit "+
				"web-reload.service", named, p.ReloadTimeout, id),
			p.switchBack(named))
	case errors.Is(err, syscall.ECONNREFUSED):
		p.Log.Debug("no web server to reload", "release", id)
		return false, nil
	default:
		p.Log.Warn("cannot check which release is served", "release", id, "reason", err)
		return false, nil
	}
}

// awaitServed polls until the web server names the release for settleTime or refuses connections, or ReloadTimeout
// has passed. It returns the release that the web server named last, or the error if it named none.
func (p Pull) awaitServed(ctx context.Context, id string) (named string, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.ReloadTimeout)
	defer cancel()
	var since time.Time
	for {
		latest, latestErr := p.Web.Release(ctx)
		if ctx.Err() == nil || named == "" && err == nil {
			// The error of a request that the timeout cut off is less useful than the previous one.
			named, err = latest, latestErr
		}
		switch {
		case errors.Is(latestErr, syscall.ECONNREFUSED):
			return latest, latestErr
		case latestErr != nil || latest != id:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		case time.Since(since) >= settleTime:
			return latest, nil
		}
		select {
		case <-ctx.Done():
			return named, err
		case <-time.After(pollInterval):
		}
	}
}

// switchBack points `current` to the release that the web server still serves, if it exists.
func (p Pull) switchBack(id string) error {
	if !manifest.IsID(id) {
		return nil
	}
	exists, err := p.Releases.Exists(id)
	if err != nil || !exists {
		return err
	}
	if err := p.Releases.Switch(id); err != nil {
		return err
	}
	return p.Web.Reload()
}
