package load

import (
	"context"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// schedule defines when a visitor's requests are due: the first one after phase, each further one an interval later.
type schedule struct {
	phase, interval time.Duration
}

// due returns when a request is due, relative to the visitor's start.
func (s schedule) due(request uint64) time.Duration {
	return s.phase + time.Duration(request)*s.interval
}

// pacer schedules requests until a context ends.
type pacer struct {
	schedule
	ctx context.Context
}

var _ vegeta.Pacer = pacer{}

// Pace implements vegeta.Pacer. It waits itself instead of returning the time to wait, because vegeta's own wait
// cannot be interrupted and is followed by another request.
func (p pacer) Pace(elapsed time.Duration, sent uint64) (wait time.Duration, stop bool) {
	if p.ctx.Err() != nil {
		return 0, true
	}
	timer := time.NewTimer(p.due(sent) - elapsed)
	defer timer.Stop()
	select {
	case <-timer.C:
		return 0, false
	case <-p.ctx.Done():
		return 0, true
	}
}

// Rate implements vegeta.Pacer.
func (p pacer) Rate(time.Duration) float64 {
	return float64(time.Second) / float64(p.interval)
}
