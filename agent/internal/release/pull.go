package release

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/server/atomicfile"
	"immutable-infra/server/manifest"
)

const (
	verifiedName = "site-verified"
	failureName  = "pull-failure.json"

	// checkInterval is the pause between two checks of the current release's files: a check of
	// 100,000 files takes half a second of processor time.
	checkInterval = time.Minute
)

// Pull downloads the current build from the content bucket and serves it.
type Pull struct {
	// Bucket is the content bucket: SHA256SUMS and site/<path>.
	Bucket   *bucket.Bucket
	Releases *Releases
	// Keep is how many releases stay on disk besides the current one. At least 1, since readers may
	// still use the previous one.
	Keep int
	// Verify hashes every file of the current release, as if the machine had just booted.
	Verify bool
	// StateDir is a directory that is emptied at boot. Runs record there which release they have hashed since, and
	// failures. If it is "", every run verifies and retries.
	StateDir string
	// Web is the web server that reads nginx's configuration of the current release. If nil, a release is served
	// as soon as `current` names it.
	Web WebServer
	// ReloadTimeout bounds the time until Web serves a release.
	ReloadTimeout time.Duration
	// Reserve is how many bytes of the disk a release must leave free.
	Reserve int64
	Limits  manifest.Limits
	// Log receives one line per change.
	Log *slog.Logger
}

// Run serves the release in the bucket, or changes nothing that is served and returns an error. If
// nothing is new, it sends one request. The next run retries a build that could not be served, with
// a pause that grows to a minute.
func (p Pull) Run(ctx context.Context) error {
	unlock, err := p.Releases.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	begin := time.Now()
	if err := p.Releases.RemoveTemporary(); err != nil {
		return err
	}
	current, sound, err := p.current(ctx)
	if err != nil {
		return err
	}
	knownETag := ""
	if sound {
		if knownETag, err = p.Releases.ETag(current); err != nil {
			return err
		}
	}

	list, etag, err := FetchManifest(ctx, p.Bucket, knownETag, p.Limits)
	if errors.Is(err, bucket.ErrNotModified) {
		p.Log.Debug("nothing new", "release", current)
		return nil
	}
	if err != nil {
		return err
	}
	last := loadFailure(p.statePath(failureName))
	if err := last.tooEarly(list.ID(), begin); err != nil {
		return err
	}
	err = p.serve(ctx, list, etag, current, sound, begin)
	switch {
	case p.StateDir == "" || err != nil && ctx.Err() != nil:
		// An interrupted run says nothing about the build.
		return err
	case err != nil:
		return errors.Join(err, last.next(list.ID(), err).save(p.statePath(failureName)))
	default:
		return forgetFailure(p.statePath(failureName))
	}
}

// serve serves the release of the list. It records the ETag last: if it fails, the next run tries again.
func (p Pull) serve(
	ctx context.Context, list manifest.Manifest, etag, current string, sound bool, begin time.Time,
) error {
	id := list.ID()
	if id == current && sound {
		p.Log.Debug("nothing new", "release", current)
		if _, err := p.reload(ctx, id); err != nil {
			return err
		}
		return p.Releases.RememberETag(id, etag)
	}
	info, downloaded, err := p.obtain(ctx, list, current)
	if err != nil {
		return err
	}
	event := "repaired release"
	if id != current {
		event = "switched to release"
		if err := p.Releases.Switch(id); err != nil {
			return err
		}
	}
	served, err := p.reload(ctx, id)
	if err != nil {
		return err
	}
	p.Log.Info(event, "release", id, "files", info.Files, "bytes", info.Bytes,
		"downloaded", downloaded, "from", previous(current), "in", time.Since(begin).Round(time.Millisecond))

	if err := p.Releases.RememberETag(id, etag); err != nil {
		return err
	}
	if err := p.markVerified(id); err != nil {
		return err
	}
	if !served {
		// The web server may be using any of the releases.
		return nil
	}
	return p.Releases.Prune(p.Keep)
}

// current finds the release that is served and checks it. A damaged release is logged and not an error: the
// release in the bucket replaces it.
func (p Pull) current(ctx context.Context) (id string, sound bool, err error) {
	id, err = p.Releases.Current()
	if err != nil || id == "" {
		return "", false, err
	}
	verified, at, err := p.verified()
	if err != nil {
		return "", false, err
	}
	contents := p.Verify || verified != id
	if age := time.Since(at); !contents && age >= 0 && age < checkInterval {
		return id, true, nil
	}
	if _, err := p.Releases.Check(ctx, id, contents, p.Limits); err != nil {
		if ctx.Err() != nil {
			return "", false, err
		}
		p.Log.Warn("the current release is damaged and will be replaced", "reason", err)
		return id, false, nil
	}
	return id, true, p.markVerified(id)
}

// obtain makes sure that the release of the list is complete on the disk: left by an earlier run,
// or built now from other releases and the bucket. It returns the number of downloaded bytes, too.
func (p Pull) obtain(
	ctx context.Context, list manifest.Manifest, current string,
) (_ Info, downloaded int64, err error) {
	id := list.ID()
	exists, err := p.Releases.Exists(id)
	if err != nil {
		return Info{}, 0, err
	}
	var from []string
	if exists {
		info, err := p.Releases.Check(ctx, id, true, p.Limits)
		if err == nil {
			return info, 0, nil
		}
		if ctx.Err() != nil {
			return Info{}, 0, err
		}
		if id != current {
			p.Log.Warn("a release on disk is damaged and will be replaced", "reason", err)
		}
		from = append(from, id)
	}
	if current != "" && current != id {
		from = append(from, current)
	}

	build, err := p.Releases.NewBuild(list, p.Limits)
	if err != nil {
		return Info{}, 0, err
	}
	defer func() { err = errors.Join(err, build.Discard()) }()
	if err := build.Fill(ctx, p.Bucket, from, p.Reserve); err != nil {
		return Info{}, 0, err
	}
	info, err := build.Finish()
	if err != nil {
		return Info{}, 0, err
	}
	return info, build.Downloaded(), nil
}

// statePath returns the path of a file in StateDir, or "" without a StateDir.
func (p Pull) statePath(name string) string {
	if p.StateDir == "" {
		return ""
	}
	return filepath.Join(p.StateDir, name)
}

// verified returns the release that was hashed since boot, or "", and when it last passed the check.
func (p Pull) verified() (id string, at time.Time, err error) {
	if p.StateDir == "" {
		return "", time.Time{}, nil
	}
	path := p.statePath(verifiedName)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", time.Time{}, nil
	}
	if err != nil {
		return "", time.Time{}, fmt.Errorf("cannot read the verified marker: %w", err)
	}
	stat, err := os.Stat(path)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("cannot read the verified marker: %w", err)
	}
	return strings.TrimSpace(string(text)), stat.ModTime(), nil
}

// markVerified records that the release is complete, and has been hashed since this boot.
func (p Pull) markVerified(id string) error {
	if p.StateDir == "" {
		return nil
	}
	if err := atomicfile.Write(p.statePath(verifiedName), []byte(id+"\n"), 0o644); err != nil {
		return fmt.Errorf("cannot write the verified marker: %w", err)
	}
	return nil
}

// previous names the previous release in the log.
func previous(current string) string {
	if current == "" {
		return "none"
	}
	return current
}
