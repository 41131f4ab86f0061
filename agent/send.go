package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"strconv"
	"time"

	"immutable-infra/agent/internal/readiness"
	"immutable-infra/server/report"
)

const (
	// sendPause is the time between two reports.
	sendPause = 5 * time.Second
	// sendTimeout bounds one report.
	sendTimeout = 20 * time.Second
	// filesPause is the time between two requests for all files of the site.
	filesPause = time.Minute
	// prometheusPort is where Prometheus listens in its container.
	prometheusPort = 9090
)

// sender uploads reports to the backup bucket after this server got the VIP, for the deployment that watches it.
type sender struct {
	readiness readiness.Readiness
	bucket    interface {
		Put(ctx context.Context, key string, content []byte, contentType string) error
	}
	project    string
	holderFile string
	docker     readiness.Docker
	log        *slog.Logger
}

// run sends reports while this server holds the VIP, until limit has passed; then it sends the last one. If a
// report cannot be sent, run logs the error and sends another one at the next tick.
func (s sender) run(ctx context.Context, limit time.Duration) error {
	end := time.Now().Add(limit)
	tick := time.NewTicker(sendPause)
	defer tick.Stop()
	for {
		if held, err := exists(s.holderFile); err != nil || !held {
			return err
		}
		last := !time.Now().Before(end)
		if err := s.send(ctx, last); err != nil && ctx.Err() == nil {
			s.log.Warn("cannot send a report: " + err.Error())
		} else if last {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s sender) send(ctx context.Context, last bool) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	checked, err := s.readiness.Await(ctx, 0)
	if err != nil {
		return err
	}
	sent := report.Report{
		Server: checked.Server, Time: time.Now().UTC(), Last: last, Checks: checked.Checks, Logs: checked.Logs,
	}
	if sent.Figures, err = s.figures(ctx, checked.Server); err != nil {
		sent.Missing = err.Error()
	}
	content, err := json.Marshal(sent)
	if err != nil {
		return fmt.Errorf("cannot encode the report: %w", err)
	}
	return s.bucket.Put(ctx, report.Key, content, "application/json")
}

// figuresQuery selects the latest figures of each server; those of earlier servers are in the history that this
// server restored. The recording rules are in server/files/prometheus/rules/recording.yaml.
const figuresQuery = `label_replace(last_over_time(server:site_errors:ratio_rate5m[1h]), "figure", "errors", "", "")
or label_replace(last_over_time(server:site_latency_seconds:quantile_rate5m{quantile="0.95"}[1h]),
  "figure", "latency", "", "")
or label_replace(last_over_time(server:memory_available:ratio[1h]), "figure", "memory", "", "")
or label_replace(last_over_time(server:disk_available:ratio[1h]), "figure", "disk", "", "")`

// figures returns the figures of each server in the history, and the restarts of this server's containers.
func (s sender) figures(ctx context.Context, server string) (map[string]report.Figures, error) {
	output, err := s.docker.Get(ctx, s.project, prometheusService, prometheusPort,
		"/api/v1/query?query="+url.QueryEscape(figuresQuery))
	if err != nil {
		return nil, err
	}
	found, err := parseFigures(output)
	if err != nil {
		return nil, err
	}
	containers, err := s.docker.Containers(ctx, s.project)
	if err != nil {
		return nil, err
	}
	restarts := 0.0
	for _, container := range containers {
		restarts += float64(container.Restarts)
	}
	own := found[server]
	own.Restarts = &restarts
	found[server] = own
	return found, nil
}

// parseFigures parses a response of Prometheus' HTTP API.
func parseFigures(response []byte) (map[string]report.Figures, error) {
	var parsed struct {
		Data struct {
			Result []struct {
				Metric struct{ Server, Figure string }
				Value  [2]any
			}
		}
	}
	if err := json.Unmarshal(response, &parsed); err != nil {
		return nil, fmt.Errorf("cannot parse the response of Prometheus: %w", err)
	}
	found := map[string]report.Figures{}
	for _, sample := range parsed.Data.Result {
		text, _ := sample.Value[1].(string)
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("cannot parse the response of Prometheus: value %q", text)
		}
		// Without requests, a quantile is not a number, which JSON cannot hold.
		if math.IsNaN(value) {
			continue
		}
		f := found[sample.Metric.Server]
		switch sample.Metric.Figure {
		case "errors":
			f.Errors = &value
		case "latency":
			f.Latency = &value
		case "memory":
			f.Memory = &value
		case "disk":
			f.Disk = &value
		}
		found[sample.Metric.Server] = f
	}
	return found, nil
}
