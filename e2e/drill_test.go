package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/e2e/internal/s3server"
	"immutable-infra/e2e/internal/serveragent"
	"immutable-infra/internal/testtool"
)

// TestRestoreDrill runs the drill on a backup with known content.
func TestRestoreDrill(t *testing.T) {
	testtool.Path(t, "prometheus")
	agent := serveragent.Build(t, root(t).dir)
	w := faultWorld{s3server.Start(t, serveragent.Bucket), t, agent}
	server := w.first()
	server.advance(7*time.Hour + time.Minute)
	server.backup()

	tools := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(tools, "drill"), ".")
	build.Dir = filepath.Join(root(t).dir, "ops", "drill")
	output, err := build.CombinedOutput()
	require.NoError(t, err, string(output))
	// The script stands in for Pulumi, which prints the names of the bucket and its region.
	script := fmt.Sprintf("#!/bin/sh\ncase $1 in stack) echo %s;; config) echo %s;; esac\n", serveragent.Bucket,
		s3server.Region)
	testtool.WriteProgram(t, filepath.Join(tools, "pulumi"), script)

	var report struct {
		Server       string
		Blocks       int
		Series       int64
		Samples      int64
		AgeSeconds   float64
		NewestSample time.Time
		Problems     []string
	}
	// The samples are as old as the simulation.
	drill := exec.Command(filepath.Join(tools, "drill"), "--stack", serveragent.Stack, "--agent", agent.Path, "--max-age",
		"200000h")
	drill.Env = append(append(os.Environ(), w.Environment()...), "PATH="+tools+":"+os.Getenv("PATH"))
	drill.Stderr = os.Stderr
	text, err := drill.Output()
	require.NoError(t, err, string(text))
	require.NoError(t, json.Unmarshal(text, &report))
	t.Logf("%s", text)
	require.Equal(t, server.Name, report.Server)
	require.Equal(t, server.Blocks(), report.Blocks)
	require.EqualValues(t, faultSeries, report.Series)
	require.EqualValues(t, (7*60+1)*4*faultSeries, report.Samples)
	require.Less(t, report.AgeSeconds, 60.0)
	require.WithinDuration(t, server.Now, report.NewestSample, 15*time.Second)
	require.Empty(t, report.Problems)
}
