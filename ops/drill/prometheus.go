package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// startTimeout bounds the start of Prometheus with the restored data, stopTimeout its shutdown.
	startTimeout = 10 * time.Minute
	stopTimeout  = time.Minute
	// queryTimeout bounds one query.
	queryTimeout = 5 * time.Minute
)

// contents summarizes the data in Prometheus.
type contents struct {
	start           time.Duration
	blocks, metrics int
	series, samples int64
	oldest, newest  time.Time
	repaired        bool
}

// inspect starts Prometheus on a data directory, without targets, and counts its content. It writes the
// configuration to dir.
func inspect(ctx context.Context, program, data, dir string) (found contents, err error) {
	config := filepath.Join(dir, "prometheus.yaml")
	if err := os.WriteFile(config, []byte("scrape_configs: []\n"), 0o644); err != nil {
		return contents{}, fmt.Errorf("cannot configure Prometheus: %w", err)
	}
	address, err := freeAddress()
	if err != nil {
		return contents{}, err
	}
	begin := time.Now()
	command := exec.Command(program, "--config.file="+config, "--storage.tsdb.path="+data, "--web.listen-address="+address,
		"--storage.tsdb.min-block-duration=2h", "--storage.tsdb.max-block-duration=2h",
		// Retention must not delete old samples.
		"--storage.tsdb.retention.time=100y", "--query.timeout="+queryTimeout.String(), "--log.level=warn")
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	if err := command.Start(); err != nil {
		return contents{}, fmt.Errorf("cannot start Prometheus: %w", err)
	}
	running, exited := context.WithCancelCause(context.Background())
	go func() {
		exited(fmt.Errorf("it exited; see its log above: %w", cmp.Or(command.Wait(), errStopped)))
	}()
	defer func() { err = errors.Join(err, stop(running, command.Process)) }()

	server := prometheus{"http://" + address}
	if err := server.ready(ctx, running); err != nil {
		return contents{}, fmt.Errorf("cannot load the restored data into Prometheus: %w", err)
	}
	start := time.Since(begin)
	found, err = server.count(ctx)
	if err != nil {
		return contents{}, fmt.Errorf("cannot query Prometheus for the restored data: %w", err)
	}
	found.start = start
	return found, nil
}

// freeAddress returns an address with an unused port.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("cannot find a port for Prometheus: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}

// errStopped is the cause when a process exits successfully, as it does when it was asked to stop.
var errStopped = errors.New("without an error")

// stop terminates a process, and kills it after stopTimeout.
func stop(running context.Context, process *os.Process) error {
	// An error means that it has already exited.
	_ = process.Signal(syscall.SIGTERM)
	select {
	case <-running.Done():
		return nil
	case <-time.After(stopTimeout):
		return errors.Join(fmt.Errorf("cannot stop Prometheus within %s", stopTimeout), process.Kill())
	}
}

// prometheus is a client of the Prometheus at a URL.
type prometheus struct{ url string }

// ready waits until Prometheus is ready for queries.
func (p prometheus) ready(ctx, running context.Context) error {
	deadline := time.After(startTimeout)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := p.get(ctx, "/-/ready", nil); err == nil {
			return nil
		}
		select {
		case <-running.Done():
			return context.Cause(running)
		case <-deadline:
			return fmt.Errorf("it is not ready after %s", startTimeout)
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// count counts all metrics, series and samples.
func (p prometheus) count(ctx context.Context) (contents, error) {
	text, err := p.get(ctx, "/metrics", nil)
	if err != nil {
		return contents{}, err
	}
	metrics := metricValues(string(text))
	found := contents{blocks: int(metrics["prometheus_tsdb_blocks_loaded"]),
		repaired: metrics["prometheus_tsdb_wal_corruptions_total"] > 0}
	// These are in milliseconds, and out of range if there are no samples.
	from, to := int64(metrics["prometheus_tsdb_lowest_timestamp"]), int64(metrics["prometheus_tsdb_head_max_time"])
	if to <= 0 || from > to {
		return found, nil
	}
	found.oldest, found.newest = time.UnixMilli(from).UTC(), time.UnixMilli(to).UTC()
	var names []string
	interval := url.Values{"start": {unix(from)}, "end": {unix(to)}}
	if err := p.ask(ctx, "label/__name__/values", interval, &names); err != nil {
		return contents{}, err
	}
	found.metrics = len(names)
	// Query each name separately: count_over_time drops the name, and the remaining labels may not be unique.
	for _, name := range names {
		all := fmt.Sprintf("count_over_time({__name__=%q}[%dms])", name, to-from+1)
		series, err := p.number(ctx, "count("+all+")", to)
		if err != nil {
			return contents{}, err
		}
		samples, err := p.number(ctx, "sum("+all+")", to)
		if err != nil {
			return contents{}, err
		}
		found.series, found.samples = found.series+series, found.samples+samples
	}
	return found, nil
}

// number evaluates an expression that has at most one value. No value counts as 0.
func (p prometheus) number(ctx context.Context, expression string, at int64) (int64, error) {
	var data struct{ Result []struct{ Value [2]any } }
	if err := p.ask(ctx, "query", url.Values{"query": {expression}, "time": {unix(at)}}, &data); err != nil {
		return 0, err
	}
	if len(data.Result) == 0 {
		return 0, nil
	}
	value, err := strconv.ParseFloat(fmt.Sprint(data.Result[0].Value[1]), 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", expression, err)
	}
	return int64(value), nil
}

// ask sends a request to the API and decodes the data of the response.
func (p prometheus) ask(ctx context.Context, path string, values url.Values, into any) error {
	text, err := p.get(ctx, "/api/v1/"+path, values)
	if err != nil {
		return err
	}
	response := struct{ Data any }{into}
	if err := json.Unmarshal(text, &response); err != nil {
		return fmt.Errorf("cannot parse the response to %s: %w", path, err)
	}
	return nil
}

// get sends a GET request and returns the body of the response.
func (p prometheus) get(ctx context.Context, path string, values url.Values) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path+"?"+values.Encode(), nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("cannot read the response to %s: %w", path, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %s", path, response.Status, text)
	}
	return text, nil
}

// unix converts a Unix time in milliseconds to seconds, as text.
func unix(milliseconds int64) string {
	return strconv.FormatFloat(float64(milliseconds)/1000, 'f', 3, 64)
}

// metricValues parses the metrics without labels in Prometheus' text format.
func metricValues(text string) map[string]float64 {
	values := map[string]float64{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if number, err := strconv.ParseFloat(value, 64); err == nil {
			values[name] = number
		}
	}
	return values
}
