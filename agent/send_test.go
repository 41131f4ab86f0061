package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/engine"
	"immutable-infra/agent/internal/readiness"
	"immutable-infra/agent/internal/release"
	"immutable-infra/server/report"
)

// figures is a fake of Docker, whose Prometheus has figures of two servers.
type figures struct{ broken bool }

func (f figures) Get(_ context.Context, _, service string, port int, path string) ([]byte, error) {
	if f.broken {
		return nil, errors.New("service prometheus is not running")
	}
	if service != "prometheus" || port != 9090 || !strings.HasPrefix(path, "/api/v1/query?query=label_replace") {
		return nil, fmt.Errorf("unexpected request: %s %d %s", service, port, path)
	}
	sample := func(server, figure, value string) string {
		return fmt.Sprintf(`{"metric":{"server":%q,"figure":%q},"value":[1700000000.1,%q]}`, server, figure, value)
	}
	return []byte(`{"status":"success","data":{"resultType":"vector","result":[` + strings.Join([]string{
		sample("i-new", "errors", "0.25"), sample("i-new", "latency", "NaN"), sample("i-new", "memory", "0.5"),
		sample("i-new", "disk", "0.75"), sample("i-old", "errors", "0"), sample("i-old", "latency", "0.021"),
	}, ",") + `]}}`), nil
}

func (f figures) Containers(context.Context, string) ([]engine.Container, error) {
	return []engine.Container{{Service: "web"}, {Service: "php", Restarts: 2}, {Service: "traefik", Restarts: 1}}, nil
}

// outbox records the reports that are sent, and when.
type outbox struct {
	sent []report.Report
	at   []time.Time
}

func (o *outbox) Put(_ context.Context, key string, content []byte, _ string) error {
	if key != report.Key {
		return errors.New(key)
	}
	var r report.Report
	if err := json.Unmarshal(content, &r); err != nil {
		return err
	}
	o.sent, o.at = append(o.sent, r), append(o.at, time.Now())
	return nil
}

type failing struct{}

func (failing) Name() string { return "php" }

func (failing) Check(context.Context) readiness.Result { return readiness.Result{Detail: "no answer"} }

func newSender(t *testing.T, docker figures) (sender, *outbox) {
	t.Helper()
	dir, box := t.TempDir(), &outbox{}
	holder := filepath.Join(dir, "holder")
	require.NoError(t, os.WriteFile(holder, nil, 0o644))
	return sender{
		readiness: readiness.Readiness{
			Server: "i-new", Releases: release.ReadReleases(dir), Checks: []readiness.Check{failing{}},
			Memory: readiness.Memory{Path: filepath.Join(dir, "state")}, Log: slog.New(slog.DiscardHandler),
		},
		bucket: box, project: dir, holderFile: holder, docker: docker, log: slog.New(slog.DiscardHandler),
	}, box
}

func TestReportsContainFiguresOfBothServers(t *testing.T) {
	s, box := newSender(t, figures{})
	require.NoError(t, s.send(t.Context(), false))
	sent := box.sent[0]
	require.Equal(t, "i-new", sent.Server)
	require.Empty(t, sent.Missing)
	require.Equal(t, "php", sent.Checks[0].Name)
	require.False(t, sent.Checks[0].OK)
	require.InDelta(t, 0.25, *sent.Figures["i-new"].Errors, 0)
	require.Nil(t, sent.Figures["i-new"].Latency, "there were no requests")
	require.InDelta(t, 0.5, *sent.Figures["i-new"].Memory, 0)
	require.InDelta(t, 0.75, *sent.Figures["i-new"].Disk, 0)
	require.InDelta(t, 3, *sent.Figures["i-new"].Restarts, 0)
	require.InDelta(t, 0, *sent.Figures["i-old"].Errors, 0)
	require.InDelta(t, 0.021, *sent.Figures["i-old"].Latency, 0)
}

func TestReportContainsReasonForMissingFigures(t *testing.T) {
	s, box := newSender(t, figures{broken: true})
	require.NoError(t, s.send(t.Context(), false))
	require.Equal(t, "service prometheus is not running", box.sent[0].Missing)
}

func TestReportsEndWithoutTheVIPOrAtTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, box := newSender(t, figures{})
		require.NoError(t, s.run(t.Context(), 58*time.Second))
		require.Len(t, box.sent, 13)
		require.Equal(t, 5*time.Second, box.at[1].Sub(box.at[0]))
		require.False(t, box.sent[11].Last)
		require.True(t, box.sent[12].Last)

		require.NoError(t, os.Remove(s.holderFile))
		require.NoError(t, s.run(t.Context(), time.Minute))
		require.Len(t, box.sent, 13)
	})
}
