package release

import (
	"fmt"
	"sync/atomic"
)

// budget counts the bytes of a release while several files are written at
// once, and refuses those beyond its limit.
type budget struct {
	limit int64
	spent atomic.Int64
}

// Write counts data and keeps nothing of it, which makes a budget one more
// destination of a copy.
func (b *budget) Write(data []byte) (int, error) {
	if err := b.spend(int64(len(data))); err != nil {
		return 0, err
	}
	return len(data), nil
}

// fits refuses so many more bytes if they would be beyond the limit.
func (b *budget) fits(bytes int64) error {
	if sum := b.spent.Load() + bytes; sum > b.limit {
		return fmt.Errorf("the build has %s, and at most %s are accepted: make the site smaller and run pulumi up", mebibytes(sum), mebibytes(b.limit))
	}
	return nil
}

// spend counts bytes that need no copying.
func (b *budget) spend(bytes int64) error {
	if b.spent.Add(bytes) > b.limit {
		return fmt.Errorf("the build is larger than %d bytes in all", b.limit)
	}
	return nil
}
