package release

import (
	"context"
	"errors"
	"fmt"
	"io"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/server/manifest"
)

// FetchManifest reads the manifest from the content bucket and returns its ETag, too. If the manifest still has
// knownETag, the error is bucket.ErrNotModified. With an empty knownETag, it always reads the manifest.
func FetchManifest(
	ctx context.Context, content *bucket.Bucket, knownETag string, limits manifest.Limits,
) (manifest.Manifest, string, error) {
	object, err := content.Get(ctx, manifest.Name, knownETag)
	switch {
	case errors.Is(err, bucket.ErrNotFound):
		return manifest.Manifest{}, "", fmt.Errorf("no build has been uploaded yet: %w", err)
	case errors.Is(err, bucket.ErrDenied):
		return manifest.Manifest{}, "", fmt.Errorf("%w: allow this server's role s3:GetObject on the bucket's objects and "+
			"s3:ListBucket on the bucket", err)
	case err != nil:
		return manifest.Manifest{}, "", err
	}
	defer object.Body.Close()
	// One byte more than allowed, so that manifest.Parse detects a manifest that is too large.
	text, err := io.ReadAll(io.LimitReader(object.Body, limits.ManifestBytes+1))
	if err != nil {
		return manifest.Manifest{}, "", fmt.Errorf("cannot read %s: %w", content.URL(manifest.Name), err)
	}
	fetched, err := manifest.Parse(text, limits)
	if err != nil {
		return manifest.Manifest{}, "", fmt.Errorf("%s is refused: %w; correct the site and run pulumi up",
			content.URL(manifest.Name), err)
	}
	return fetched, object.ETag, nil
}
