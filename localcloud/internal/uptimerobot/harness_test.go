package uptimerobot_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/uptimerobot"
	"immutable-infra/localcloud/internal/victorops"
)

const (
	key          = "u1234567-0123456789abcdef01234567"
	victorOpsKey = "b0d7a4c2-5e0f-4c57-9c63-10ca1c10bd00"
)

// double is an account and the server of its API.
type double struct {
	*uptimerobot.Server
	*faultyAPI
	url     string
	webhook string
	alerts  *victorops.Server
}

// second is the duration of one second of monitor time.
const second = 10 * time.Millisecond

// serve serves an account, and a VictorOps double that it can notify.
func serve(t *testing.T, change ...func(*uptimerobot.Settings)) *double {
	t.Helper()
	alerts := victorops.New(victorOpsKey)
	alertServer := httptest.NewServer(alerts)
	t.Cleanup(alertServer.Close)
	settings := uptimerobot.Settings{
		Key: key, RequestsPerMinute: 100, PageSize: 2, Client: &http.Client{}, Second: second,
		File: filepath.Join(t.TempDir(), "account.json"),
		Log:  func(message string) { t.Log(message) },
	}
	for _, c := range change {
		c(&settings)
	}
	server, err := uptimerobot.New(settings)
	require.NoError(t, err)
	api := &faultyAPI{api: server, before: map[string]*httptest.ResponseRecorder{}}
	endpoint := httptest.NewServer(api)
	t.Cleanup(endpoint.Close)
	return &double{
		Server: server, faultyAPI: api, url: endpoint.URL, alerts: alerts,
		webhook: alertServer.URL + "/integrations/uptimerobot/20131114/alert/" + victorOpsKey + "/site?",
	}
}

// start runs the monitors until the test ends.
func (d *double) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() { d.Run(ctx); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
}

// request sends a request with an API key and returns the status and the body.
func (d *double) request(t *testing.T, method, path, key, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, d.url+path, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+key)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(text)
}

// create creates a resource and returns its ID.
func (d *double) create(t *testing.T, path, body string) int64 {
	t.Helper()
	status, text := d.request(t, http.MethodPost, path, key, body)
	require.Equal(t, http.StatusCreated, status, text)
	var created struct{ ID int64 }
	require.NoError(t, json.Unmarshal([]byte(text), &created))
	return created.ID
}

// program is this repository's UptimeRobot client, as Pulumi's commands run it.
type program struct{ path string }

func buildProgram(t *testing.T) program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "uptime")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", path, "./uptime/cmd")
	build.Dir = filepath.Join("..", "..", "..")
	output, err := build.CombinedOutput()
	require.NoError(t, err, string(output))
	return program{path}
}

// runResult is the result of a run of the program.
type runResult struct {
	stdout, stderr string
	err            error
}

// run runs a verb. before is the output of the previous run.
func (p program) run(t *testing.T, d *double, verb string, desired any, before string) runResult {
	t.Helper()
	return p.runWith(t, d.url+"/v3", key, d.webhook, verb, desired, before)
}

func (p program) runWith(t *testing.T, api, apiKey, webhook, verb string, desired any, before string) runResult {
	t.Helper()
	document, err := json.Marshal(desired)
	require.NoError(t, err)
	secrets, err := json.Marshal(map[string]string{"key": apiKey, "webhook": webhook})
	require.NoError(t, err)
	command := exec.CommandContext(t.Context(), p.path, verb)
	command.Env = []string{"UPTIMEROBOT_API=" + api, "UPTIMEROBOT_DESIRED=" + string(document),
		"PULUMI_COMMAND_STDOUT=" + before}
	command.Stdin = bytes.NewReader(secrets)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err = command.Run()
	r := runResult{strings.TrimSpace(stdout.String()), stderr.String(), err}
	// Pulumi displays and stores this output.
	for _, secret := range []string{apiKey, victorOpsKey, webhook} {
		require.NotContains(t, r.stdout+r.stderr, secret, "a secret is printed")
	}
	return r
}

type object = map[string]any

// site returns the desired resources of a stack that monitors a page.
func site(page string) object {
	return object{
		"contact": "VictorOps: example.org",
		"monitors": []any{object{
			"key": "site", "name": "example.org", "url": page, "keyword": `"release"`, "interval": 30, "timeout": 30,
		}},
		"page": object{"name": "example.org", "domain": "status.example.org"},
	}
}

func eventually(t *testing.T, condition func() bool, what string) {
	t.Helper()
	require.Eventually(t, condition, 20*time.Second, 5*time.Millisecond, what)
}
