package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// scrapeInterval is Prometheus' scrape interval: see server/files/prometheus/prometheus.yaml.
	scrapeInterval = 15 * time.Second
	// holeLimit is the longest allowed gap between samples, minus the scrape interval.
	holeLimit = 15 * time.Second
	// backupInterval bounds the samples lost in a crash: see Pulumi.yaml.
	backupInterval = time.Minute
	// history is the period of the queried samples, which is longer than the test.
	history = 3 * time.Hour
)

// samples holds the values of each series by time, in milliseconds since 1970.
type samples map[string]map[int64]string

// add adds samples and returns the number of new ones.
func (s samples) add(others samples) (added int) {
	for series, values := range others {
		if s[series] == nil {
			s[series] = map[int64]string{}
		}
		for at, value := range values {
			if _, known := s[series][at]; !known {
				s[series][at] = value
				added++
			}
		}
	}
	return added
}

func (s samples) count() (count int) {
	for _, values := range s {
		count += len(values)
	}
	return count
}

// missing returns the samples that others lacks or has with another value.
func (s samples) missing(others samples) samples {
	missing := samples{}
	for series, values := range s {
		for at, value := range values {
			if other, found := others[series][at]; !found || other != value {
				missing.add(samples{series: {at: value}})
			}
		}
	}
	return missing
}

// span returns the times of the earliest and the latest sample.
func (s samples) span() (first, last time.Time) {
	var low, high int64
	for _, values := range s {
		for at := range values {
			if low == 0 || at < low {
				low = at
			}
			high = max(high, at)
		}
	}
	return time.UnixMilli(low), time.UnixMilli(high)
}

// samples queries all raw samples of a past period.
func (p prometheus) samples(past time.Duration) (samples, error) {
	values := url.Values{"query": {fmt.Sprintf(`{__name__=~".+"}[%.0fs]`, past.Seconds())}}
	var data struct {
		Result []struct {
			Metric map[string]string
			Values [][2]any
		}
	}
	if err := p.ask("query", values, &data); err != nil {
		return nil, err
	}
	found := samples{}
	for _, series := range data.Result {
		var name strings.Builder
		for _, label := range slices.Sorted(maps.Keys(series.Metric)) {
			fmt.Fprintf(&name, "%s=%q,", label, series.Metric[label])
		}
		values := map[int64]string{}
		for _, pair := range series.Values {
			at, ok := pair[0].(float64)
			if !ok {
				return nil, fmt.Errorf("a time is %v", pair[0])
			}
			values[int64(at*1000+0.5)] = fmt.Sprint(pair[1])
		}
		found[name.String()] = values
	}
	return found, nil
}

// follow adds the samples of a Prometheus to seen until Prometheus no longer responds or stop is called.
func (p prometheus) follow(seen samples) (stop func()) {
	ended := make(chan struct{})
	var following sync.WaitGroup
	following.Go(func() {
		ticker := time.NewTicker(500 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ended:
				return
			case <-ticker.C:
			}
			latest, err := p.samples(2 * scrapeInterval)
			if err != nil {
				return
			}
			seen.add(latest)
		}
	})
	return func() {
		close(ended)
		following.Wait()
	}
}

// longestHole returns the longest time between two samples of a job, on any server, minus the scrape interval.
// Only gaps that end after a time count.
func longestHole(found samples, after time.Time) (hole time.Duration, job string) {
	times := map[string][]int64{}
	for series, values := range found {
		if !strings.Contains(series, `__name__="up",`) {
			continue
		}
		_, name, _ := strings.Cut(series, `job="`)
		name, _, _ = strings.Cut(name, `"`)
		times[name] = slices.AppendSeq(times[name], maps.Keys(values))
	}
	for name, all := range times {
		slices.Sort(all)
		for i := 1; i < len(all); i++ {
			if time.UnixMilli(all[i]).Before(after) {
				continue
			}
			if distance := time.Duration(all[i]-all[i-1])*time.Millisecond - scrapeInterval; distance > hole {
				hole, job = distance, name
			}
		}
	}
	return hole, job
}

// issued returns the number of certificates that the local cloud's CA has issued.
func (p *project) issued(t *testing.T) int {
	t.Helper()
	log := p.must(t, time.Minute, "docker", "logs", "localcloud-acme")
	return strings.Count(log, "Issued certificate serial")
}

// replacement is the effect of one replacement on the monitoring history.
type replacement struct {
	Took         float64 `json:"upSeconds"`
	Samples      int     `json:"samples"`
	Lost         int     `json:"lostSamples"`
	LostSeconds  float64 `json:"lostSeconds"`
	HoleSeconds  float64 `json:"holeSeconds"`
	Certificates int     `json:"certificatesIssued"`
}

// TestHistory replaces the server repeatedly, then kills one, and compares all earlier samples one by one with those of
// the newest server.
func TestHistory(t *testing.T) {
	if os.Getenv("E2E") != "history" {
		t.Skip("needs a local cloud that is up and takes 15 to 40 minutes: make test-history")
	}
	p := root(t)
	p.loadEnv(t)
	p.startClean(t)
	changed := p.copy(t)
	known := samples{}
	report := map[string][]replacement{"planned": {}, "killed": {}}
	incidents := p.incidents(t)
	// On a new stack, the certificates for the other names arrive after the end of the update.
	for _, name := range []string{siteName, aliasName} {
		eventually(t, time.Minute, func() (bool, string) {
			_, err := p.handshake(t, name, func(*tls.Config) {})
			return err == nil, fmt.Sprint(err)
		})
	}

	for i := range number(t, "REPLACEMENTS", 10) {
		t.Run(fmt.Sprintf("replacement %d loses nothing", i+1), func(t *testing.T) {
			certificate, issued := p.certificate(t, siteName), p.issued(t)
			old := p.known(t, known)
			stop := old.follow(known)
			changed.set(t, "generation", int(time.Now().Unix()))
			began := time.Now()
			up := changed.pulumiUp(t)
			stop()
			require.NoError(t, up.err, up.String())

			r := p.compare(t, known, began)
			r.Took, r.Certificates = up.took.Seconds(), p.issued(t)-issued
			report["planned"] = append(report["planned"], r)
			require.Zero(t, r.Lost, "samples that the old server had and the new one lacks")
			require.LessOrEqual(t, r.HoleSeconds, holeLimit.Seconds())
			sameCertificate(t, certificate, p.certificate(t, siteName))
			require.Zero(t, r.Certificates, "certificates were issued again")
		})
	}
	require.Equal(t, incidents, p.incidents(t), "a planned replacement is no outage for UptimeRobot")
	t.Run("a server that is killed loses a backup interval at most", func(t *testing.T) {
		certificate := p.certificate(t, siteName)
		old := p.known(t, known)
		stop := old.follow(known)
		out := p.outputs(t)
		// The kill is late in the interval between two backups, so that samples can be lost.
		eventually(t, 3*backupInterval, func() (bool, string) {
			age := p.ssh(t,
				`echo $(($(date +%s) - $(sed -n 's/^agent_last_backup_timestamp_seconds //p' /srv/metrics/backup.prom)))`)
			seconds, err := strconv.Atoi(strings.TrimSpace(age.stdout))
			return err == nil && seconds >= 40 && seconds <= 55, age.String()
		})
		id := p.container(t, out.ServerID)
		killed := time.Now()
		p.must(t, time.Minute, "docker", "kill", "--signal", "KILL", id)
		stop()
		up := changed.pulumiUp(t)
		require.NoError(t, up.err, up.String())
		back := time.Since(killed)
		require.NotEqual(t, out.ServerID, p.outputs(t).ServerID)

		r := p.compare(t, known, killed.Add(-2*backupInterval))
		r.Took = up.took.Seconds()
		report["killed"] = append(report["killed"], r)
		// A backup takes some time, and a sample is known only after a query.
		require.LessOrEqual(t, r.LostSeconds, backupInterval.Seconds()+5)
		sameCertificate(t, certificate, p.certificate(t, siteName))
		t.Logf("site and history were back %.1f s after the kill", back.Seconds())
	})

	file := filepath.Join(p.dir, ".build", "history.json")
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	encoded, err := json.MarshalIndent(report, "", "  ")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, append(encoded, '\n'), 0o644))
	t.Logf("%s:\n%s", file, encoded)
}

// known adds all samples of the server's Prometheus to known.
func (p *project) known(t *testing.T, known samples) prometheus {
	t.Helper()
	prometheus := prometheus{p.forward(t, "prometheus", 9090)}
	all, err := prometheus.samples(history)
	require.NoError(t, err)
	known.add(all)
	return prometheus
}

// compare compares the known samples with those of the server's Prometheus.
func (p *project) compare(t *testing.T, known samples, began time.Time) replacement {
	t.Helper()
	prometheus := prometheus{p.forward(t, "prometheus", 9090)}
	server := p.outputs(t).ServerID
	// The gap ends when every job has been scraped again.
	eventually(t, time.Minute, func() (bool, string) {
		jobs := len(prometheus.query(t, fmt.Sprintf(`up{server=%q}`, server)))
		return jobs == 7, fmt.Sprintf("%d of 7 jobs", jobs)
	})
	found, err := prometheus.samples(history)
	require.NoError(t, err)
	missing := known.missing(found)
	hole, job := longestHole(found, began)
	r := replacement{Samples: known.count(), Lost: missing.count(), HoleSeconds: hole.Seconds()}
	if r.Lost > 0 {
		first, last := missing.span()
		// The last sample that was kept precedes the first lost one by an interval.
		r.LostSeconds = last.Sub(first).Seconds() + scrapeInterval.Seconds()
		t.Logf("lost: %d samples from %s to %s", r.Lost, first.Format(time.TimeOnly), last.Format(time.TimeOnly))
	}
	t.Logf("%d samples of %d series are known, %d are lost; the longest hole is %.1f s (%s)", r.Samples, len(known),
		r.Lost, r.HoleSeconds, job)
	return r
}
