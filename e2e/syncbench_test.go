package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/e2e/internal/latency"
	"immutable-infra/e2e/internal/publisher"
	"immutable-infra/e2e/internal/s3cmd"
	"immutable-infra/e2e/internal/s3server"
)

// syncRounds is how many times each step is measured; the median counts. A first upload that latency makes slow is
// measured once.
const syncRounds = 3

// syncTool is a tool that uploads a directory to a bucket.
type syncTool struct {
	name string
	sync func(ctx context.Context) (time.Duration, error)
}

// TestSyncBench compares the project's sync with other tools, each with its defaults.
func TestSyncBench(t *testing.T) {
	if os.Getenv("E2E") != "sync" {
		t.Skip("takes some minutes: make bench-sync")
	}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(cells ...string) { fmt.Fprintln(w, strings.Join(cells, "\t")+"\t") }
	line("added latency", "files", "", "ours", "rclone", "s3cmd", "aws", "ratio to the best")
	for _, c := range []struct {
		late  time.Duration
		files int
	}{
		{0, number(t, "FILES", 10_000)},
		// The slower tools send one or four requests at a time.
		{40 * time.Millisecond, number(t, "DISTANT_FILES", 2_000)},
	} {
		for _, row := range compareSyncs(t, c.files, c.late) {
			cells := []string{c.late.String(), fmt.Sprint(c.files), row.what}
			for _, took := range row.took {
				cells = append(cells, fmt.Sprintf("%.2f s", took.Seconds()))
			}
			ratio := slices.Min(row.took[1:]).Seconds() / row.took[0].Seconds()
			line(append(cells, fmt.Sprintf("%.1f", ratio))...)
			if ratio < 2 {
				t.Errorf("%s with %s of latency: %.1f times as fast as the best other tool, not twice", row.what, c.late, ratio)
			}
		}
	}
	require.NoError(t, w.Flush())
	t.Logf("\n%s", &table)
}

// syncRow holds each tool's time for one step; ours is first.
type syncRow struct {
	what string
	took []time.Duration
}

// compareSyncs measures all tools one after another in each step, so that a busy machine slows all of them.
func compareSyncs(t *testing.T, files int, late time.Duration) []syncRow {
	t.Helper()
	// S3 also keeps connections alive. Without this, each request would open a connection.
	t.Setenv("VGW_KEEP_ALIVE", "true")
	buckets := []string{"ours", "rclone", "s3cmd", "aws"}
	server := s3server.Start(t, buckets...)
	// The counting proxy would use CPU time.
	server.URL = server.Direct
	if late > 0 {
		direct, err := url.Parse(server.Direct)
		require.NoError(t, err)
		server.URL = "http://" + latency.Proxy(t, direct.Host, late)
	}
	ours := publisher.New(t, root(t).dir, server, "ours")
	random := rand.New(rand.NewSource(1))
	page := func(i int) {
		content := make([]byte, 500+random.Intn(7500))
		_, _ = random.Read(content) // never fails
		ours.Write(t, fmt.Sprintf("%02d/%d/page-%d.html", i%100, i/100%10, i), string(content))
	}
	for i := range files - 1 {
		page(i)
	}
	ours.Write(t, "index.html", "front")

	tools := []syncTool{
		{"ours", func(context.Context) (time.Duration, error) {
			_, took, err := ours.Run(t, "sync")
			return took, err
		}},
		{"rclone",
			command(server, "rclone", "sync", ours.Site,
				":s3,env_auth=true,provider=Other,force_path_style=true,endpoint='"+server.URL+"',region="+s3server.Region+
					":rclone/site")},
		{"s3cmd", func(ctx context.Context) (time.Duration, error) {
			return s3cmd.New(t, server, "s3cmd").Up(ctx, ours.Site)
		}},
		// This is Debian's aws, even if the PATH has another one first.
		{"aws", command(server, "/usr/bin/aws", "--endpoint-url", server.URL, "s3", "sync", ours.Site, "s3://aws/site")},
	}
	measure := func(what string, rounds int, change func()) syncRow {
		took := make([][]time.Duration, len(tools))
		for range rounds {
			change()
			// A build copies the site whenever it changes. It is not measured because the other tools have no build.
			_, _, err := ours.Run(t, "build")
			require.NoError(t, err)
			require.NoError(t, os.RemoveAll(filepath.Join(ours.Site, "_site")))
			for i, tool := range tools {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				one, err := tool.sync(ctx)
				cancel()
				require.NoError(t, err, "%s, %s", tool.name, what)
				t.Logf("%s, %s of latency: %s took %.2f s", what, late, tool.name, one.Seconds())
				took[i] = append(took[i], one)
			}
			for _, bucket := range buckets {
				require.GreaterOrEqual(t, len(server.Objects(t, bucket, "")), files, bucket)
			}
		}
		row := syncRow{what: what}
		for _, all := range took {
			slices.Sort(all)
			row.took = append(row.took, all[len(all)/2])
		}
		return row
	}
	first := syncRounds
	if late > 0 {
		first = 1
	}
	return []syncRow{
		measure("first upload", first, func() {
			for _, bucket := range buckets {
				for object := range server.Objects(t, bucket, "") {
					top, _, _ := strings.Cut(object, "/")
					require.NoError(t, os.RemoveAll(server.Path(bucket, top)))
				}
			}
		}),
		measure("no change", syncRounds, func() {}),
		measure("one change", syncRounds, func() { page(random.Intn(files - 1)) }),
	}
}

// command returns a function that runs another tool and measures it.
func command(server *s3server.Server, name string, args ...string) func(ctx context.Context) (time.Duration, error) {
	return func(ctx context.Context) (time.Duration, error) {
		command := exec.CommandContext(ctx, name, args...)
		command.Env = append(server.Environment(), "PATH="+os.Getenv("PATH"), "HOME=/nonexistent", "RCLONE_CONFIG=")
		begin := time.Now()
		output, err := command.CombinedOutput()
		if err != nil {
			return 0, errors.Join(fmt.Errorf("%s: %w: %.1000s", name, err, output), ctx.Err())
		}
		return time.Since(begin), nil
	}
}
