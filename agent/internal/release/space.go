package release

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"immutable-infra/agent/internal/bucket"
)

// fewFiles is the number of files up to which sizes are requested one by one. Listing the whole bucket takes one
// request per thousand files, one after the other.
const fewFiles = 64

// totalSize returns the sum of the sizes of files in the bucket, in bytes. It ignores a missing file, whose
// download reports the error.
func totalSize(ctx context.Context, content *bucket.Bucket, names []string) (int64, error) {
	if len(names) > fewFiles {
		listing, err := content.List(ctx, siteName+"/")
		if err != nil {
			return 0, err
		}
		wanted := make(map[string]bool, len(names))
		for _, name := range names {
			wanted[siteName+"/"+name] = true
		}
		var sum int64
		for _, object := range listing.Objects {
			if wanted[object.Key] {
				sum += object.Size
			}
		}
		return sum, nil
	}
	var sum atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelTransfers)
	for _, name := range names {
		group.Go(func() error {
			size, err := content.Size(ctx, siteName+"/"+name)
			if errors.Is(err, bucket.ErrNotFound) {
				return nil
			}
			sum.Add(size)
			return err
		})
	}
	err := group.Wait()
	return sum.Load(), err
}

// checkSpace fails if writing so many bytes below dir would leave less than reserve free.
func checkSpace(dir string, bytes, reserve int64) error {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return fmt.Errorf("cannot measure the free space of %s: %w", dir, err)
	}
	free := int64(stat.Bavail) * stat.Bsize
	if bytes > free-reserve {
		return fmt.Errorf("the release needs %s, and %s has %s free, of which %s must stay free: make the site smaller, "+
			"or set a larger rootVolumeSize and run pulumi up",
			mebibytes(bytes), dir, mebibytes(free), mebibytes(reserve))
	}
	return nil
}

// mebibytes formats a size in MiB, or a small one in bytes.
func mebibytes(bytes int64) string {
	if bytes < 1<<20 {
		return fmt.Sprintf("%d bytes", bytes)
	}
	return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
}

// budget counts the bytes of a release while several files are written at a time, and rejects bytes
// beyond its limit.
type budget struct {
	limit int64
	spent atomic.Int64
}

// Write counts data without keeping it, so that a budget can be another destination of a copy.
func (b *budget) Write(data []byte) (int, error) {
	if err := b.spend(int64(len(data))); err != nil {
		return 0, err
	}
	return len(data), nil
}

// fits fails if so many more bytes would exceed the limit.
func (b *budget) fits(bytes int64) error {
	if sum := b.spent.Load() + bytes; sum > b.limit {
		return fmt.Errorf("the build has %s, and at most %s are accepted: make the site smaller and run pulumi up",
			mebibytes(sum), mebibytes(b.limit))
	}
	return nil
}

// spend counts bytes, and fails if they exceed the limit.
func (b *budget) spend(bytes int64) error {
	if b.spent.Add(bytes) > b.limit {
		return fmt.Errorf("the build is larger than %d bytes in total", b.limit)
	}
	return nil
}
