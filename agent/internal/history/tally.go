package history

import (
	"context"
	"time"

	"immutable-infra/agent/internal/lockfile"
)

// Tally is how backups went on this server.
type Tally struct {
	// Failures is how many failed.
	Failures uint64
	// Lost is how many objects that this server wrote, and did not delete, were gone from the bucket.
	Lost uint64
	// LastSuccess is when the last one ended that did not; zero is never.
	LastSuccess time.Time
}

// Note counts a run that ended now, and whether another backup was gone from the bucket, and tells how runs went until now.
func (b Backup) Note(ctx context.Context, failed, gone bool) (Tally, error) {
	unlock, err := lockfile.Lock(ctx, b.State+".lock")
	if err != nil {
		return Tally{}, err
	}
	defer unlock()
	state, err := loadState(b.State)
	if err != nil {
		return Tally{}, err
	}
	if gone {
		state.Lost++
	}
	if failed {
		state.Failures++
	} else {
		state.LastSuccess = time.Now().Unix()
	}
	tally := Tally{Failures: state.Failures, Lost: state.Lost}
	if state.LastSuccess > 0 {
		tally.LastSuccess = time.Unix(state.LastSuccess, 0)
	}
	return tally, state.save(b.State)
}
