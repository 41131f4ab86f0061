// Package compare compares the samples in two data directories of Prometheus, one by one.
package compare

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// Difference compares the samples of one directory with those of another.
type Difference struct {
	// Same is the number of samples with equal values, and Series the number of series in the first directory.
	Same   int64 `json:"same"`
	Series int   `json:"series"`
	// Lost counts missing samples, Changed samples with another value, and Invented samples that only the second directory
	// has.
	Lost     int64 `json:"lost"`
	Changed  int64 `json:"changed"`
	Invented int64 `json:"invented"`

	// firstLost and lastLost are timestamps, in milliseconds.
	firstLost, lastLost int64
}

// FirstLost returns the time of the oldest lost sample. It is valid only if samples were lost.
func (d Difference) FirstLost() time.Time { return time.UnixMilli(d.firstLost).UTC() }

// LastLost returns the time of the newest lost sample. It is valid only if samples were lost.
func (d Difference) LastLost() time.Time { return time.UnixMilli(d.lastLost).UTC() }

// String summarizes the difference in one line.
func (d Difference) String() string {
	text := fmt.Sprintf("%d samples of %d series are the same", d.Same, d.Series)
	if d.Lost > 0 {
		text += fmt.Sprintf("; LOST %d, of %s to %s", d.Lost, d.FirstLost().Format(time.TimeOnly),
			d.LastLost().Format(time.TimeOnly))
	} else {
		text += "; lost none"
	}
	if d.Changed > 0 || d.Invented > 0 {
		text += fmt.Sprintf("; CHANGED %d; INVENTED %d", d.Changed, d.Invented)
	}
	return text
}

// Samples compares the samples in before with those in after.
func Samples(ctx context.Context, before, after storage.Queryable) (Difference, error) {
	difference, err := samples(ctx, before, after)
	if err != nil {
		return Difference{}, fmt.Errorf("cannot compare samples: %w", err)
	}
	return difference, nil
}

func samples(ctx context.Context, before, after storage.Queryable) (difference Difference, err error) {
	old, closeOld, err := everything(ctx, before)
	if err != nil {
		return Difference{}, err
	}
	defer func() { err = errors.Join(err, closeOld()) }()
	new, closeNew, err := everything(ctx, after)
	if err != nil {
		return Difference{}, err
	}
	defer func() { err = errors.Join(err, closeNew()) }()

	difference = Difference{firstLost: math.MaxInt64, lastLost: math.MinInt64}
	// Both are sorted by labels.
	hasOld, hasNew := old.Next(), new.Next()
	for hasOld || hasNew {
		order := 0
		switch {
		case !hasNew:
			order = -1
		case !hasOld:
			order = 1
		default:
			order = labels.Compare(old.At().Labels(), new.At().Labels())
		}
		// A series without a partner is compared with an empty one.
		var oldSamples, newSamples iterator
		if order <= 0 {
			oldSamples = iterator{chunks: old.At().Iterator(nil)}
			difference.Series++
		}
		if order >= 0 {
			newSamples = iterator{chunks: new.At().Iterator(nil)}
		}
		if err := difference.series(oldSamples, newSamples); err != nil {
			return Difference{}, err
		}
		if order <= 0 {
			hasOld = old.Next()
		}
		if order >= 0 {
			hasNew = new.Next()
		}
	}
	return difference, errors.Join(old.Err(), new.Err())
}

func everything(ctx context.Context, from storage.Queryable) (storage.SeriesSet, func() error, error) {
	querier, err := from.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		return nil, nil, err
	}
	return querier.Select(ctx, true, nil,
		labels.MustNewMatcher(labels.MatchRegexp, labels.MetricName, ".+")), querier.Close, nil
}

// series compares two series with the same labels.
func (d *Difference) series(old, new iterator) error {
	old.next()
	new.next()
	for old.more || new.more {
		switch {
		case !new.more || old.more && old.at < new.at:
			d.Lost++
			d.firstLost, d.lastLost = min(d.firstLost, old.at), max(d.lastLost, old.at)
			old.next()
		case !old.more || new.at < old.at:
			d.Invented++
			new.next()
		default:
			// The bits are compared because several distinct values are NaN.
			if math.Float64bits(old.value) == math.Float64bits(new.value) {
				d.Same++
			} else {
				d.Changed++
			}
			old.next()
			new.next()
		}
	}
	return errors.Join(old.err, new.err)
}

// iterator is positioned at a sample of a series. The zero value is the end of an empty series.
type iterator struct {
	chunks chunkenc.Iterator
	at     int64
	value  float64
	more   bool
	err    error
}

func (i *iterator) next() {
	if i.more = false; i.chunks == nil {
		return
	}
	switch kind := i.chunks.Next(); kind {
	case chunkenc.ValFloat:
		i.at, i.value = i.chunks.At()
		i.more = true
	case chunkenc.ValNone:
		i.err = i.chunks.Err()
	default:
		i.err = fmt.Errorf("a sample has the unexpected type %s", kind)
	}
}
