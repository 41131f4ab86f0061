package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/e2e/internal/load"
	"immutable-infra/e2e/internal/switchover"
)

// way is a way to replace a server.
type way struct {
	name string
	// replacements is the default number of replacements; the environment variable overrides it.
	variable     string
	replacements int
	// change makes a copy of the project replace servers in this way.
	change func(t *testing.T, p *project)
	// strict makes the test fail for every problem that visitors or admins had.
	strict bool
}

func ways() []way {
	return []way{
		{name: "project", variable: "REPLACEMENTS", replacements: 10, change: func(*testing.T, *project) {}, strict: true},
		{name: "original", variable: "ORIGINAL_REPLACEMENTS", replacements: 3, change: inTheOriginalWay},
	}
}

// TestSwitchover replaces the server repeatedly while visitors request pages and an admin logs in, and measures the
// effect on them. It compares the project with the system that it is modeled on.
func TestSwitchover(t *testing.T) {
	if os.Getenv("E2E") != "bench" {
		t.Skip("needs a local cloud that is up and takes half an hour: make bench")
	}
	chosen := os.Getenv("WAY")
	known := slices.IndexFunc(ways(), func(w way) bool { return w.name == chosen }) >= 0
	require.True(t, chosen == "" || known, "WAY must be project or original, or unset for both")
	p := root(t)
	p.loadEnv(t)
	p.startClean(t)
	if flags := os.Getenv("MOVE"); flags != "" {
		settings, err := switchover.ParseMove(flags)
		require.NoError(t, err, "MOVE")
		p.moveAs(t, settings)
	} else {
		p.moveAs(t, gentlestMove())
	}

	reports := []switchover.Report{}
	for _, way := range ways() {
		if chosen != "" && chosen != way.name {
			continue
		}
		t.Run(way.name, func(t *testing.T) {
			var replacements []switchover.Replacement
			// The measurements are reported even after a failure.
			defer func() { reports = append(reports, switchover.NewReport(way.name, replacements)) }()
			changed := p.copy(t)
			way.change(t, changed)
			// This builds the program, which is not part of a replacement.
			changed.must(t, 10*time.Minute, "pulumi", "preview", "--stack", "local", "--non-interactive")
			incidents := p.incidents(t)
			replaceServers(t, changed, 200, number(t, way.variable, way.replacements), way.strict, &replacements)
			if way.strict {
				require.Equal(t, incidents, p.incidents(t), "UptimeRobot noticed")
			}
		})
	}
	t.Run("the unchanged project converges", func(t *testing.T) {
		p.converges(t)
	})

	file := writeReports(t, p, "switchover.json", reports)
	for i := range reports {
		reports[i].Each = nil
	}
	t.Logf("%s has each replacement; together they are:\n%s", file, inJSON(t, reports))
}

// gentlestMove returns the least disruptive move: fresh packets reach the new server at once, and no old connection
// lives on.
func gentlestMove() switchover.Move { return switchover.Move{Arrive: "old", Connections: "none"} }

// TestMoves replaces the server repeatedly under load, with each of the ways in which AWS may move the VIP. Only
// requests that the move itself loses may fail.
func TestMoves(t *testing.T) {
	if os.Getenv("E2E") != "moves" {
		t.Skip("needs a local cloud that is up and takes three hours: make test-moves")
	}
	p := root(t)
	p.loadEnv(t)
	p.startClean(t)
	changed := p.copy(t)
	changed.must(t, 10*time.Minute, "pulumi", "preview", "--stack", "local", "--non-interactive")
	each := number(t, "EACH", 10)
	var reports []switchover.Report
	for _, way := range []struct {
		settings            switchover.Move
		fresh, replacements int
	}{
		// With 200 visitors per second, a replacement would take much longer.
		{gentlestMove(), 100, number(t, "REPLACEMENTS", 60)},
		{switchover.Move{Window: time.Second, Arrive: "old", Connections: "end"}, 100, each},
		{switchover.Move{Window: 6 * time.Second, Arrive: "old", Connections: "1m0s"}, 100, each},
		{switchover.Move{Window: 30 * time.Second, Arrive: "old", Connections: "end"}, 100, each},
		// TCP retransmits the first packet after 1, 3 and 7 s. In the two seconds after the window, three times as many
		// visitors therefore arrive, and this machine must be able to serve them.
		{switchover.Move{Window: 6 * time.Second, Arrive: "nothing", Connections: "1m0s"}, 50, each},
	} {
		t.Run(way.settings.String(), func(t *testing.T) {
			p.moveAs(t, way.settings)
			var replacements []switchover.Replacement
			defer func() { reports = append(reports, switchover.NewReport("project", replacements)) }()
			replaceServers(t, changed, way.fresh, way.replacements, true, &replacements)
		})
	}
	t.Run("the unchanged project converges", func(t *testing.T) { p.converges(t) })

	requests := 0
	for _, report := range reports {
		requests += report.Fresh.Requests + report.KeepAlive.Requests
	}
	t.Logf("%d requests; %s has each replacement; together they are:\n%s", requests,
		writeReports(t, p, "moves.json", reports), switchover.Table(reports))
}

// replaceServers replaces the server several times while new visitors arrive at the rate fresh, per second, and appends
// the results. With strict, each problem that visitors or admins had is a failure.
func replaceServers(t *testing.T, p *project, fresh, count int, strict bool,
	replacements *[]switchover.Replacement,
) {
	t.Helper()
	for i := range count {
		t.Run(strconv.Itoa(i+1), func(t *testing.T) {
			r := replaceServer(t, p, fresh)
			*replacements = append(*replacements, r)
			if strict {
				problems := r.Problems()
				// A test report omits texts that are too long.
				require.Empty(t, problems[:min(len(problems), 10)], "visitors or admins noticed, %d times", len(problems))
			}
		})
	}
}

// writeReports writes reports to a file in .build and returns its path.
func writeReports(t *testing.T, p *project, name string, reports []switchover.Report) string {
	t.Helper()
	file := filepath.Join(p.dir, ".build", name)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, inJSON(t, reports), 0o644))
	return file
}

func inJSON(t *testing.T, reports []switchover.Report) []byte {
	t.Helper()
	encoded, err := json.MarshalIndent(reports, "", "  ")
	require.NoError(t, err)
	return append(encoded, '\n')
}

// inTheOriginalWay disables the readiness check, the handover and the probes through the program's seam for that
// (components/safeguards.go): the VIP moves as soon as the instance runs, and the server is provisioned through it.
func inTheOriginalWay(_ *testing.T, p *project) {
	p.env = append(slices.Clone(p.env), strings.TrimSpace("GOFLAGS="+os.Getenv("GOFLAGS")+" -tags=original"))
}

// replaceServer replaces the server while new visitors arrive at the rate fresh, per second, on new connections, and
// others keep theirs.
func replaceServer(t *testing.T, p *project, fresh int) switchover.Replacement {
	t.Helper()
	before := p.outputs(t)
	// No earlier server had this generation.
	generation := int(time.Now().Unix())
	p.set(t, "generation", generation)

	visitors, err := load.Start(t.Context(), load.Visitors{
		URL: siteURL, Roots: p.roots(t), Pages: pages(t), Fresh: fresh, KeepAlive: 50, KeepAliveRate: 2,
	})
	require.NoError(t, err)
	admin := newAdmin(t, p, before)
	stop := admin.keepLoggingIn()

	r := switchover.Replacement{Generation: generation, Move: p.moveSettings(t), Began: time.Now()}
	up, log := p.pulumiUpFollowed(t)
	r.Ended, r.Engine = time.Now(), log
	// The new server must accept logins at once.
	last := admin.logIn()
	r.Logins = append(stop(), last)
	r.Load = visitors.Stop()
	require.NoError(t, up.err, up.String())

	after := p.outputs(t)
	require.NotEqual(t, before.ServerID, after.ServerID)
	eventually(t, time.Minute, func() (bool, string) {
		server, release := p.served(t)
		return server == after.ServerID && release == after.Release, server + " " + release
	})
	t.Logf("generation %d took %.1f s; the longest gap was %d ms; %d of %d requests failed", generation, up.took.Seconds(),
		r.Load.Fresh.LongestGap.Milliseconds(), len(r.Load.Fresh.Failures)+len(r.Load.KeepAlive.Failures),
		r.Load.Fresh.Requests+r.Load.KeepAlive.Requests)
	return r
}

// pages returns one page or file of each kind from the site, with its SHA-256.
func pages(t *testing.T) map[string]string {
	t.Helper()
	site := builtSite(root(t))
	digests := map[string]string{}
	for _, pattern := range []string{
		"index.html", "assets/css/*.css", "2026/*/index.html", "assets/images/*.jpg", "assets/images/*.svg",
	} {
		files, err := filepath.Glob(filepath.Join(site, pattern))
		require.NoError(t, err)
		require.NotEmpty(t, files, "no %s in %s, where the site is built", pattern, site)
		content, err := os.ReadFile(files[0])
		require.NoError(t, err)
		name, err := filepath.Rel(site, files[0])
		require.NoError(t, err)
		digests["/"+strings.TrimSuffix(filepath.ToSlash(name), "index.html")] = fmt.Sprintf("%x", sha256.Sum256(content))
	}
	return digests
}

// admin logs in with OpenSSH's client, which verifies the host certificate and must not prompt.
type admin struct {
	t    *testing.T
	p    *project
	args []string
}

func newAdmin(t *testing.T, p *project, out outputs) admin {
	t.Helper()
	// Without these options, the client would not notice that its connection was cut.
	alive := []string{"-o", "ServerAliveInterval=2", "-o", "ServerAliveCountMax=2"}
	return admin{t: t, p: p, args: append(p.sshArgs(t, out, alive, "admin"), "true")}
}

func (a admin) logIn() switchover.Login {
	start := time.Now()
	// Until it has logged in, the client would wait forever without this limit.
	done := a.p.run(a.t, 20*time.Second, "ssh", a.args...)
	return switchover.Login{At: start, Took: done.took, Status: done.status(), Stderr: strings.TrimSpace(done.stderr)}
}

// keepLoggingIn logs in once a second until it is stopped, even if the previous login has not ended.
func (a admin) keepLoggingIn() (stop func() []switchover.Login) {
	var mutex sync.Mutex
	var logins []switchover.Login
	var running sync.WaitGroup
	end := make(chan struct{})
	running.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-a.t.Context().Done():
				return
			case <-tick.C:
				running.Go(func() {
					login := a.logIn()
					mutex.Lock()
					defer mutex.Unlock()
					logins = append(logins, login)
				})
			}
		}
	})
	return func() []switchover.Login {
		close(end)
		running.Wait()
		slices.SortFunc(logins, func(x, y switchover.Login) int { return x.At.Compare(y.At) })
		return logins
	}
}

// number returns the value of an environment variable, or a default.
func number(t *testing.T, variable string, fallback int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return fallback
	}
	value, err := strconv.Atoi(text)
	require.NoError(t, err, variable)
	require.Positive(t, value, variable)
	return value
}
