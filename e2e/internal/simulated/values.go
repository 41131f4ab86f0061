package simulated

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/prometheus/prometheus/model/labels"
)

// Values is the kind of values that the series have.
type Values int

const (
	// Realistic means values like those of the programs on a small server: constants, counters and gauges.
	Realistic Values = iota
	// Noise means random values: the worst case for compression.
	Noise
)

// kind is a kind of series.
type kind struct {
	name string
	// percent is the share of series of this kind.
	percent int
	// start returns a function that returns the value of each scrape.
	start func(random *rand.Rand) func(random *rand.Rand) float64
}

// kinds returns the kinds of series with realistic values, in the order of a target's metrics. The shares are
// those of the node exporter's and Prometheus' own metrics on an idle server (four out of five values equal the
// previous one, and nearly half are 0), adjusted slightly toward a busy server.
func kinds() []kind {
	constant := func(value func(random *rand.Rand) float64) func(*rand.Rand) func(*rand.Rand) float64 {
		return func(random *rand.Rand) func(*rand.Rand) float64 {
			same := value(random)
			return func(*rand.Rand) float64 { return same }
		}
	}
	counter := func(most uint64) func(*rand.Rand) func(*rand.Rand) float64 {
		return func(random *rand.Rand) func(*rand.Rand) float64 {
			value, busy := float64(random.Uint64N(1<<16)), 1+random.Uint64N(most)
			return func(random *rand.Rand) float64 {
				value += float64(random.Uint64N(busy))
				return value
			}
		}
	}
	return []kind{
		{"errors_total", 42, constant(func(*rand.Rand) float64 { return 0 })},
		{"state", 22, constant(func(random *rand.Rand) float64 { return float64(1 + random.Uint64N(100)) })},
		{"limit_bytes", 9, constant(func(random *rand.Rand) float64 { return float64(4096 * random.Uint64N(1<<24)) })},
		{"requests_total", 12, counter(50)},
		{"transferred_bytes_total", 4, counter(1 << 18)},
		{"cpu_seconds_total", 4, func(random *rand.Rand) func(*rand.Rand) float64 {
			ticks := random.Uint64N(1 << 20)
			return func(random *rand.Rand) float64 {
				ticks += random.Uint64N(300)
				return float64(ticks) / 100
			}
		}},
		{"resident_memory_bytes", 3, func(random *rand.Rand) func(*rand.Rand) float64 {
			pages := 1<<14 + int64(random.Uint64N(1<<12))
			return func(random *rand.Rand) float64 {
				pages += random.Int64N(65) - 32
				return float64(max(pages, 0) * 4096)
			}
		}},
		{"duration_seconds", 4, func(random *rand.Rand) func(*rand.Rand) float64 {
			scale := math.Exp(-6 * random.Float64())
			return func(random *rand.Rand) float64 { return scale * random.ExpFloat64() }
		}},
	}
}

// newSeries creates a server's i-th series, which belongs to a target. place, from 0 to 99, determines its kind.
func newSeries(server string, i, target, place int, values Values, random *rand.Rand) *series {
	chosen := kind{"noise", 100, func(*rand.Rand) func(*rand.Rand) float64 {
		return func(random *rand.Rand) float64 { return random.NormFloat64() }
	}}
	if values == Realistic {
		chosen = kindAt(place)
	}
	return &series{
		labels: labels.FromStrings(
			labels.MetricName, fmt.Sprintf("target%d_%s", target, chosen.name),
			"job", fmt.Sprintf("target%d", target),
			"instance", fmt.Sprintf("target%d:9100", target),
			"server", server,
			"path", fmt.Sprintf("/part/%04d", i),
		),
		next: chosen.start(random),
	}
}

// kindAt returns the kind of the series at a place from 0 to 99.
func kindAt(place int) (found kind) {
	for _, found = range kinds() {
		if place -= found.percent; place < 0 {
			break
		}
	}
	return found
}
