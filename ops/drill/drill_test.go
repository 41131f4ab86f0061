package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"immutable-infra/internal/testtool"
)

// site is a stack whose Pulumi and agent are scripts. The agent restores a directory and prints the test's report.
type site struct {
	t   *testing.T
	dir string
	// saved is the data directory of Prometheus that the backup contains.
	saved string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir()}
	s.saved = filepath.Join(s.dir, "saved")
	s.program("pulumi", `case "$*" in
"stack output backupBucket --stack production --non-interactive") echo the-bucket;;
"config get aws:region --stack production --non-interactive") echo eu-central-1;;
*) echo "no stack named so: $*" >&2; exit 1;;
esac`)
	t.Setenv("PATH", s.dir+":"+os.Getenv("PATH"))
	t.Setenv("TMPDIR", t.TempDir())
	return s
}

// program creates a script.
func (s *site) program(name, script string) {
	s.t.Helper()
	testtool.WriteProgram(s.t, filepath.Join(s.dir, name), "#!/bin/sh\nset -e\n"+script+"\n")
}

// agent creates an agent that restores a good backup with the given properties.
func (s *site) agent(age float64, blocks, fallbacks int) {
	s.t.Helper()
	s.program("agent", fmt.Sprintf(`[ "$*" = "verify --env-file $3 --dir $5" ]
[ "$(cat "$3")" = "$(printf 'BACKUP_BUCKET=the-bucket\nAWS_REGION=eu-central-1\nSTACK=production')" ]
cp -r %s "$5/data"
echo '{"found":true,"server":"i-1","epoch":7,"sequence":42,"ageSeconds":%f,"bytes":1000,"blocks":%d,'
echo '"seconds":0.5,"fallbacks":%d}'`, s.saved, age, blocks, fallbacks))
}

// drill runs the command.
func (s *site) drill(args ...string) (code int, found report, stderr string) {
	s.t.Helper()
	var stdout, errors bytes.Buffer
	code = run(s.t.Context(), append([]string{"--stack", "production"}, args...), &stdout, &errors)
	if stdout.Len() > 0 {
		if err := json.Unmarshal(stdout.Bytes(), &found); err != nil {
			s.t.Fatalf("%v: %s", err, &stdout)
		}
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil || len(left) > 0 {
		s.t.Errorf("files were left behind: %v %v", left, err)
	}
	return code, found, errors.String()
}

// measure runs a real Prometheus for a few scrapes. It returns the minimum and maximum number of stored scrapes.
func (s *site) measure() (least, most int64) {
	s.t.Helper()
	program := testtool.Path(s.t, "prometheus")
	const wanted = 3
	var scrapes atomic.Int64
	enough := make(chan struct{})
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "one 1\ntwo{a=\"b\"} 2\ntwo{a=\"c\"} 3")
		// When this scrape arrives, the previous one is stored.
		if scrapes.Add(1) == wanted+1 {
			close(enough)
		}
	}))
	defer target.Close()
	config := filepath.Join(s.dir, "measuring.yaml")
	text := fmt.Sprintf("scrape_configs: [{job_name: test, scrape_interval: 100ms, scrape_timeout: 100ms, "+
		"static_configs: [{targets: [%q]}]}]\n", strings.TrimPrefix(target.URL, "http://"))
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
	address, err := freeAddress()
	if err != nil {
		s.t.Fatal(err)
	}
	command := exec.Command(program, "--config.file="+config, "--storage.tsdb.path="+s.saved,
		"--web.listen-address="+address, "--log.level=error")
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		s.t.Fatal(err)
	}
	select {
	case <-enough:
	case <-time.After(30 * time.Second):
		s.t.Error("Prometheus does not scrape")
	}
	// It is killed, as on a server that is lost.
	_, _ = command.Process.Kill(), command.Wait()
	return wanted, scrapes.Load()
}

func TestPrometheusLoadsTheBackup(t *testing.T) {
	s := newSite(t)
	least, most := s.measure()
	s.agent(30, 0, 0)
	code, found, stderr := s.drill()
	if code != exitGood {
		t.Fatal(code, stderr, found)
	}
	// Each scrape adds the series up and four series whose names begin with scrape_.
	const series = 3 + 5
	if found.Series != series || found.Metrics != 7 || found.Samples < series*least || found.Samples > series*most {
		t.Errorf("%d scrapes or %d, and the report is %+v", least, most, found)
	}
	if found.Bucket != "the-bucket" || found.Server != "i-1" || found.Epoch != 7 || found.Sequence != 42 ||
		found.AgeSeconds != 30 || found.Bytes != 1000 || found.RestoreSeconds != 0.5 {
		t.Errorf("this is not what the agent reported: %+v", found)
	}
	age := time.Since(found.NewestSample)
	if age < 0 || age > time.Minute || found.OldestSample.After(found.NewestSample) || len(found.Problems) > 0 {
		t.Errorf("%+v", found)
	}

	for problem, agent := range map[string]func(){
		"it is 16m0s old, more than 15m0s":           func() { s.agent(16*60, 0, 0) },
		"2 newer backups are unusable":               func() { s.agent(30, 0, 2) },
		"it names 1 blocks, but Prometheus loaded 0": func() { s.agent(30, 1, 0) },
	} {
		t.Run(problem, func(t *testing.T) {
			agent()
			code, found, stderr := s.drill()
			if code != exitFailed || len(found.Problems) != 1 || !strings.Contains(stderr, problem) {
				t.Error(code, stderr, found.Problems)
			}
		})
	}
}

func TestBackupWithoutSamplesFails(t *testing.T) {
	testtool.Path(t, "prometheus")
	s := newSite(t)
	if err := os.Mkdir(s.saved, 0o755); err != nil {
		t.Fatal(err)
	}
	s.agent(30, 0, 0)
	if code, _, stderr := s.drill(); code != exitFailed || !strings.Contains(stderr, "it has no samples") {
		t.Error(code, stderr)
	}
}

func TestDrillThatCannotRunFails(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(s *site)
		args    []string
		message string
	}{
		"no such stack": {func(s *site) { s.agent(30, 0, 0) }, []string{"--stack", "other"},
			"the restore drill of stack other failed: cannot look up the backup bucket: pulumi stack"},
		"no usable backup": {func(s *site) { s.program("agent", "exit 1") }, nil,
			"cannot restore the newest backup: agent verify: exit status 1"},
		"no agent":              {func(*site) {}, []string{"--agent", "/nowhere/agent"}, "cannot restore the newest backup"},
		"an agent without JSON": {func(s *site) { s.program("agent", "echo good") }, nil, "cannot parse the agent's report"},
		"no Prometheus": {func(s *site) {
			if err := os.Mkdir(s.saved, 0o755); err != nil {
				s.t.Fatal(err)
			}
			s.agent(30, 0, 0)
		}, []string{"--prometheus", "/nowhere/prometheus"}, "cannot start Prometheus"},
		"a Prometheus that exits": {func(s *site) {
			if err := os.Mkdir(s.saved, 0o755); err != nil {
				s.t.Fatal(err)
			}
			s.agent(30, 0, 0)
			s.program("broken", "exit 3")
		}, []string{"--prometheus", "broken"}, "cannot load the restored data into Prometheus: it exited; see its " +
			"log above: exit status 3"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			test.prepare(s)
			if code, _, stderr := s.drill(test.args...); code != exitFailed || !strings.Contains(stderr, test.message) {
				t.Error(code, stderr)
			}
		})
	}
}

func TestInvalidCommandLineErrorSaysWhatToWrite(t *testing.T) {
	for message, args := range map[string][]string{
		"--stack is missing":           {},
		"--max-age is -1s":             {"--stack", "production", "--max-age", "-1s"},
		`unexpected argument "local"`:  {"--stack", "production", "local"},
		"flag provided but not define": {"--stck", "production"},
		`invalid value "soon" for fla`: {"--stack", "production", "--max-age", "soon"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), args, &stdout, &stderr)
		if code != exitUsage || !strings.Contains(stderr.String(), message) {
			t.Error(code, &stderr)
		}
	}
}

func TestOldSamplesInANewBackupAreAProblem(t *testing.T) {
	found := report{AgeSeconds: 30, Samples: 1, NewestSampleAgeSeconds: 3600}
	problems := found.judge(15*time.Minute, 0)
	const old = "its newest sample is 1h0m0s old: backups continue, but Prometheus on the server collects nothing"
	if len(problems) != 1 || problems[0] != old {
		t.Error(problems)
	}
}
