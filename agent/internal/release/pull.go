package release

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/server/manifest"
)

// Pull brings the current build from the content bucket onto this server and
// serves it.
type Pull struct {
	// Bucket is the content bucket: SHA256SUMS and site/<path>.
	Bucket *bucket.Bucket
	// Releases is where releases are kept and served from.
	Releases *Releases
	// Keep is how many releases stay on disk besides the current one. At least
	// 1, since readers may be in the release that was just switched away from.
	Keep int
	// Verify hashes every file of the current release, as if the machine had
	// just booted.
	Verify bool
	// VerifiedMarker is a file that exists when the current release was hashed
	// since boot: it lies in a directory that a boot empties. When empty,
	// every run verifies.
	VerifiedMarker string
	// Limits bound what is accepted.
	Limits manifest.Limits
	// Log gets one line per change.
	Log *slog.Logger
}

// Run makes the release that the bucket describes the one that is served, or
// changes nothing that is served and returns an error. A run that finds
// nothing new makes one request.
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
	id := list.ID()
	if id == current && sound {
		p.Log.Debug("nothing new", "release", current)
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
	p.Log.Info(event, "release", id, "files", info.Files, "bytes", info.Bytes,
		"downloaded", downloaded, "from", previous(current), "in", time.Since(begin).Round(time.Millisecond))

	if err := p.Releases.RememberETag(id, etag); err != nil {
		return err
	}
	if err := p.markVerified(); err != nil {
		return err
	}
	return p.Releases.Prune(p.Keep)
}

// current finds the release that is served and whether it is whole. An unsound
// one is logged and not an error: it is replaced by what the bucket has.
func (p Pull) current(ctx context.Context) (id string, sound bool, err error) {
	id, err = p.Releases.Current()
	if err != nil || id == "" {
		return "", false, err
	}
	verified, err := p.verifiedSinceBoot()
	if err != nil {
		return "", false, err
	}
	contents := p.Verify || !verified
	if _, err := p.Releases.Check(ctx, id, contents, p.Limits); err != nil {
		if ctx.Err() != nil {
			return "", false, err
		}
		p.Log.Warn("the current release is not whole and will be replaced", "reason", err)
		return id, false, nil
	}
	if contents {
		if err := p.markVerified(); err != nil {
			return "", false, err
		}
	}
	return id, true, nil
}

// obtain makes sure that the release of the list is on disk and whole: as
// it was left by an earlier run, or built now from what other releases have
// and the bucket. It returns how many bytes were downloaded, too.
func (p Pull) obtain(ctx context.Context, list manifest.Manifest, current string) (_ Info, downloaded int64, err error) {
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
			p.Log.Warn("a release on disk is not whole and will be replaced", "reason", err)
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
	if err := build.Fill(ctx, p.Bucket, from); err != nil {
		return Info{}, 0, err
	}
	info, err := build.Finish()
	if err != nil {
		return Info{}, 0, err
	}
	return info, build.Downloaded(), nil
}

// verifiedSinceBoot tells whether markVerified was called since boot.
func (p Pull) verifiedSinceBoot() (bool, error) {
	if p.VerifiedMarker == "" {
		return false, nil
	}
	_, err := os.Stat(p.VerifiedMarker)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for verified marker: %w", err)
	}
	return true, nil
}

// markVerified records that the current release is whole as of this boot.
func (p Pull) markVerified() error {
	if p.VerifiedMarker == "" {
		return nil
	}
	if err := os.WriteFile(p.VerifiedMarker, nil, 0o644); err != nil {
		return fmt.Errorf("write verified marker: %w", err)
	}
	return nil
}

// previous names the release switched away from in the log.
func previous(current string) string {
	if current == "" {
		return "none"
	}
	return current
}
