// Package simulated runs Prometheus' own storage with a simulated clock: hours of scrapes take seconds and leave
// the same files on disk as on a server.
package simulated

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

const (
	// Interval is the scrape interval, as on a server.
	Interval = 15 * time.Second
	// targets is the number of targets that a server's Prometheus scrapes. Each has its own offset within the
	// interval, and its samples are one record in the write-ahead log.
	targets = 7
	// blockDuration is both the minimum and the maximum duration of a block on a server.
	blockDuration = 2 * time.Hour
)

// Start returns the time at which the clock begins: at a boundary between blocks, so that hours of the clock are
// hours of the data.
func Start() time.Time { return time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC) }

// Prometheus is the storage of a server's Prometheus, with a source of samples.
type Prometheus struct {
	// Dir is the data directory.
	Dir string
	// Now is the simulated time.
	Now time.Time

	db     *tsdb.DB
	groups [targets][]*series
	random *rand.Rand
}

// New opens a data directory, which may be empty or another server's, to collect count series of values on a
// server. The same arguments result in the same values.
func New(dir, server string, count int, values Values) (*Prometheus, error) {
	db, err := Open(dir)
	if err != nil {
		return nil, err
	}
	p := &Prometheus{Dir: dir, Now: Start(), db: db, random: rand.New(rand.NewPCG(1, 1))}
	for i := range count {
		// The first target, the node exporter, has half of the series.
		group := max(0, i%(2*targets-2)-targets+2)
		p.groups[group] = append(p.groups[group], newSeries(server, i, group, i*100/count, values, p.random))
	}
	return p, nil
}

// Open opens a data directory as a server's Prometheus does at its start, which repairs a torn end of the log.
// Blocks are cut only by Compact.
func Open(dir string) (*tsdb.DB, error) {
	options := tsdb.DefaultOptions()
	options.MinBlockDuration = blockDuration.Milliseconds()
	options.MaxBlockDuration = blockDuration.Milliseconds()
	// This is the program's default, but not the library's.
	options.WALCompression = wlog.CompressionSnappy
	db, err := tsdb.Open(dir, nil, nil, options, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s as Prometheus does: %w", filepath.Base(dir), err)
	}
	db.DisableCompactions()
	return db, nil
}

// Advance scrapes for some time, and does each minute what Prometheus does: every two hours, it cuts a block of the
// oldest two hours and replaces the log's older segments with a checkpoint.
func (p *Prometheus) Advance(ctx context.Context, by time.Duration) error {
	for end := p.Now.Add(by); p.Now.Before(end); {
		if err := p.Scrape(ctx); err != nil {
			return err
		}
		if p.Now.Sub(Start())%time.Minute == 0 {
			if err := p.Compact(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// Scrape scrapes each target once and advances the clock by one interval.
func (p *Prometheus) Scrape(ctx context.Context) error {
	for group, members := range p.groups {
		at := p.Now.Add(time.Duration(group) * Interval / targets).UnixMilli()
		if err := p.commit(ctx, at, members); err != nil {
			return fmt.Errorf("cannot scrape target %d at %s: %w", group, p.Now.Format(time.RFC3339), err)
		}
	}
	p.Now = p.Now.Add(Interval)
	return nil
}

func (p *Prometheus) commit(ctx context.Context, at int64, members []*series) (err error) {
	appender := p.db.Appender(ctx)
	for _, series := range members {
		series.ref, err = appender.Append(series.ref, series.labels, at, series.next(p.random))
		if err != nil {
			return errors.Join(err, appender.Rollback())
		}
	}
	return appender.Commit()
}

// Compact cuts the blocks that are due.
func (p *Prometheus) Compact(ctx context.Context) error {
	p.db.ForceHeadMMap()
	if err := p.db.Compact(ctx); err != nil {
		return fmt.Errorf("cannot compact at %s: %w", p.Now.Format(time.RFC3339), err)
	}
	return nil
}

func (p *Prometheus) Blocks() int { return len(p.db.Blocks()) }

// Querier implements storage.Queryable.
func (p *Prometheus) Querier(from, to int64) (storage.Querier, error) { return p.db.Querier(from, to) }

// Close closes the storage.
func (p *Prometheus) Close() error { return p.db.Close() }

type series struct {
	labels labels.Labels
	ref    storage.SeriesRef
	next   func(random *rand.Rand) float64
}
