package simulated

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/prometheus/prometheus/model/labels"
)

// Values is what series are like.
type Values int

const (
	// Realistic are values as programs of a small server have them: constants, counters
	// and gauges.
	Realistic Values = iota
	// Noise are values of which each is as good as any other: the worst for every
	// compression.
	Noise
)

// kind is what one sort of series measures.
type kind struct {
	name string
	// of a hundred series, how many are of this kind.
	percent int
	// start makes the function that tells the value at each scrape.
	start func(random *rand.Rand) func(random *rand.Rand) float64
}

// kinds are those of realistic values. On an idle server more of them are constant.
func kinds() []kind {
	return []kind{
		{"limit_bytes", 30, func(random *rand.Rand) func(*rand.Rand) float64 {
			value := float64(random.Uint64N(1 << 20))
			return func(*rand.Rand) float64 { return value }
		}},
		{"requests_total", 25, func(random *rand.Rand) func(*rand.Rand) float64 {
			value, busy := float64(random.Uint64N(1<<16)), 1+random.Uint64N(50)
			return func(random *rand.Rand) float64 {
				value += float64(random.Uint64N(busy))
				return value
			}
		}},
		{"transferred_bytes_total", 10, func(random *rand.Rand) func(*rand.Rand) float64 {
			value := float64(random.Uint64N(1 << 30))
			return func(random *rand.Rand) float64 {
				value += float64(random.Uint64N(1 << 18))
				return value
			}
		}},
		{"cpu_seconds_total", 10, func(random *rand.Rand) func(*rand.Rand) float64 {
			ticks := random.Uint64N(1 << 20)
			return func(random *rand.Rand) float64 {
				ticks += random.Uint64N(300)
				return float64(ticks) / 100
			}
		}},
		{"resident_memory_bytes", 10, func(random *rand.Rand) func(*rand.Rand) float64 {
			pages := 1<<14 + int64(random.Uint64N(1<<12))
			return func(random *rand.Rand) float64 {
				pages += random.Int64N(65) - 32
				return float64(max(pages, 0) * 4096)
			}
		}},
		{"duration_seconds", 15, func(random *rand.Rand) func(*rand.Rand) float64 {
			scale := math.Exp(-6 * random.Float64())
			return func(random *rand.Rand) float64 { return scale * random.ExpFloat64() }
		}},
	}
}

// newSeries makes the i-th series, which belongs to a target.
func newSeries(i, target int, values Values, random *rand.Rand) *series {
	chosen := kind{"noise", 100, func(*rand.Rand) func(*rand.Rand) float64 {
		return func(random *rand.Rand) float64 { return random.NormFloat64() }
	}}
	if values == Realistic {
		chosen = kindOf(i)
	}
	return &series{
		labels: labels.FromStrings(
			labels.MetricName, fmt.Sprintf("target%d_%s", target, chosen.name),
			"job", fmt.Sprintf("target%d", target),
			"instance", fmt.Sprintf("target%d:9100", target),
			"server", "i-0123456789abcdef0",
			"path", fmt.Sprintf("/part/%04d", i),
		),
		next: chosen.start(random),
	}
}

// kindOf is the kind of the i-th series. Each hundred in a row have all kinds, in
// every target.
func kindOf(i int) kind {
	// 37 and 100 have no common factor, so that this visits each number once.
	place := i * 37 % 100
	for _, kind := range kinds() {
		if place < kind.percent {
			return kind
		}
		place -= kind.percent
	}
	panic("the kinds are not a hundred percent")
}
