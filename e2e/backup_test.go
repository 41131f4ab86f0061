package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/e2e/internal/backupbench"
	"immutable-infra/e2e/internal/compare"
	"immutable-infra/e2e/internal/s3cmd"
	"immutable-infra/e2e/internal/s3server"
	"immutable-infra/e2e/internal/serveragent"
	"immutable-infra/e2e/internal/simulated"
)

const (
	// benchSeries is the number of scraped series.
	benchSeries = 1000
	// largeSeries and largeHours result in blocks of a few hundred megabytes.
	largeSeries, largeHours = 5000, 24
	// originalBucket receives the backups of the original system.
	originalBucket = "original"
)

// TestBackup measures the cost of backups of a growing history, and of restores, for the project and for the
// system that it is modeled on.
func TestBackup(t *testing.T) {
	if os.Getenv("E2E") != "backup" {
		t.Skip("takes some minutes: make bench-backup")
	}
	measured := backupbench.Measured{Series: benchSeries, Interval: simulated.Interval}
	agent := serveragent.Build(t, root(t).dir)

	bench := newBackupBench(t, agent, benchSeries, simulated.Realistic)
	for hour := range number(t, "HOURS", 12) {
		for range 60 {
			bench.advance(time.Minute)
			measured.Ours = append(measured.Ours, bench.backup())
			measured.Original = append(measured.Original, bench.original())
		}
		t.Logf("hour %d is over; blocks: %d", hour+1, bench.prometheus.Blocks())
		switch hour + 1 {
		case 1, 4, 12:
			measured.Restores = append(measured.Restores, bench.restore(fmt.Sprintf("hour %d", hour+1)))
		}
	}
	for range 2 {
		bench.advance(30 * time.Second)
		measured.Killed = append(measured.Killed, bench.killed())
	}

	noise := newBackupBench(t, agent, benchSeries, simulated.Noise)
	for range 4 * 60 {
		noise.advance(time.Minute)
		measured.Noise = append(measured.Noise, noise.backup())
	}

	large := newBackupBench(t, agent, largeSeries, simulated.Noise)
	large.advance(largeHours * time.Hour)
	large.backup()
	large.original()
	measured.Restores = append(measured.Restores, large.restore("a large one"))

	report := backupbench.NewReport(measured)
	file := filepath.Join(root(t).dir, ".build", "backup.json")
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	encoded, err := json.MarshalIndent(report, "", "  ")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, append(encoded, '\n'), 0o644))
	t.Logf("%s has all figures:\n%s", file, report)
	require.Empty(t, report.Problems)
}

// backupBench is a server with a simulated Prometheus and a bucket for each of the two systems.
type backupBench struct {
	t          *testing.T
	store      *s3server.Server
	server     *serveragent.Server
	prometheus *simulated.Prometheus
	sync       s3cmd.Sync
	// minute is the current simulated minute, and backedUp the simulated time of the last backup.
	minute   int
	backedUp time.Time
}

func newBackupBench(t *testing.T, agent serveragent.Program, series int, values simulated.Values) *backupBench {
	t.Helper()
	store := s3server.Start(t, serveragent.Bucket, originalBucket)
	server := agent.Server(t, store, "i-0123456789abcdef0")
	server.TakeVIP(t)
	prometheus, err := simulated.New(server.Data(), server.Name, series, values)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, prometheus.Close()) })
	return &backupBench{
		t: t, store: store, server: server, prometheus: prometheus, sync: s3cmd.New(t, store, originalBucket),
	}
}

// advance advances the clocks of Prometheus and of the bucket.
func (b *backupBench) advance(by time.Duration) {
	b.t.Helper()
	require.NoError(b.t, b.prometheus.Advance(b.t.Context(), by))
	b.store.Age(b.t, serveragent.Bucket, by)
	b.minute = int(b.prometheus.Now.Sub(simulated.Start()) / time.Minute)
}

// backup runs the agent's backup and returns its cost.
func (b *backupBench) backup() backupbench.Run {
	b.t.Helper()
	b.store.Take()
	done := b.server.Backup(b.t.Context())
	require.NoError(b.t, done.Err, done.String())
	run := b.run(done.Took)
	reported, err := b.server.Metric("agent_backup_bytes")
	require.NoError(b.t, err)
	run.Told = int64(reported)
	b.backedUp = b.prometheus.Now
	return run
}

func (b *backupBench) original() backupbench.Run {
	b.t.Helper()
	b.store.Take()
	took, err := b.sync.Up(b.t.Context(), b.server.Data())
	require.NoError(b.t, err)
	return b.run(took)
}

// run returns the cost of the last run.
func (b *backupBench) run(took time.Duration) backupbench.Run {
	traffic := b.store.Take()
	return backupbench.Run{
		Minute: b.minute, Sent: traffic.Sent, Received: traffic.Received, Requests: traffic.Total(), Seconds: took.Seconds(),
	}
}

// restore restores the backups of both systems.
func (b *backupBench) restore(after string) backupbench.Restore {
	b.t.Helper()
	restore := backupbench.Restore{After: after, Blocks: b.prometheus.Blocks(), Bytes: size(b.t, b.server.Data())}
	restore.Ours, restore.Original = b.transfers()
	b.t.Logf("restored %s: %s; original: %s", after, restore.Ours, restore.Original)
	return restore
}

// killed restores the backups of both systems as after a kill of the server.
func (b *backupBench) killed() backupbench.Killed {
	b.t.Helper()
	killed := backupbench.Killed{
		AfterBackup: b.prometheus.Now.Sub(b.backedUp).Seconds(),
		Interval:    int64(benchSeries * time.Minute / simulated.Interval),
	}
	killed.Ours, killed.Original = b.transfers()
	return killed
}

func (b *backupBench) transfers() (ours, original backupbench.Transfer) {
	b.t.Helper()
	ours = b.transfer(func(dir string) (time.Duration, error) {
		_, done, err := b.server.Verify(b.t.Context(), dir)
		return done.Took, err
	})
	require.Empty(b.t, ours.Failed)
	original = b.transfer(func(dir string) (time.Duration, error) {
		return b.sync.Down(b.t.Context(), filepath.Join(dir, "data"))
	})
	return ours, original
}

// transfer measures a restore by one of the systems, and compares the restored samples with the current ones. restore
// creates Prometheus' directory data below dir.
func (b *backupBench) transfer(restore func(dir string) (time.Duration, error)) backupbench.Transfer {
	b.t.Helper()
	dir, err := os.MkdirTemp("", "restored-")
	require.NoError(b.t, err)
	// It may have several hundred megabytes, so it is removed before the test ends.
	defer func() { require.NoError(b.t, os.RemoveAll(dir)) }()
	b.store.Take()
	took, err := restore(dir)
	traffic := b.store.Take()
	transfer := backupbench.Transfer{Received: traffic.Received, Requests: traffic.Total(), Seconds: took.Seconds()}
	if err != nil {
		transfer.Failed = err.Error()
		return transfer
	}
	begin := time.Now()
	restored, err := simulated.Open(filepath.Join(dir, "data"))
	transfer.OpenSeconds = time.Since(begin).Seconds()
	if err != nil {
		transfer.Failed = err.Error()
		return transfer
	}
	transfer.Samples, err = compare.Samples(b.t.Context(), b.prometheus, restored)
	require.NoError(b.t, err)
	require.NoError(b.t, restored.Close())
	return transfer
}

// size returns the size of a directory's files in bytes.
func size(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	}))
	return bytes
}
