package uptimerobot_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/uptimerobot"
)

const monitoredURL = "https://example.org/.well-known/release"

// requireCreatedOnce requires that each resource exists and was created exactly once, and returns the state.
func requireCreatedOnce(t *testing.T, d *double) uptimerobot.State {
	t.Helper()
	state := d.State()
	require.Len(t, state.Monitors, 1)
	require.Len(t, state.Integrations, 1)
	require.Len(t, state.Pages, 1)
	require.Equal(t, []int64{state.Monitors[0].ID}, state.Pages[0].Monitors)
	require.Equal(t, map[string]int{"/monitors": 1, "/integrations": 1, "/psps": 1}, state.Created)
	return state
}

func TestResourcesAreCreatedOnceAndDeleted(t *testing.T) {
	t.Parallel()
	program := buildProgram(t)
	d := serve(t)
	before := program.run(t, d, "read", site(monitoredURL), "")
	require.NoError(t, before.err, before.stderr)
	require.Equal(t, "there is no web-hook \"VictorOps: example.org\"\nthere is no monitor \"example.org\"\nthere is "+
		"no status page \"example.org\"", before.stdout)

	first := program.run(t, d, "create", site(monitoredURL), "")
	require.NoError(t, first.err, first.stderr)
	state := requireCreatedOnce(t, d)
	require.Equal(t, "status.example.org", state.Pages[0].Domain)

	for _, before := range []string{"", first.stdout} {
		again := program.run(t, d, "create", site(monitoredURL), before)
		require.NoError(t, again.err, again.stderr)
		require.JSONEq(t, first.stdout, again.stdout)
	}
	update := program.run(t, d, "update", site(monitoredURL), first.stdout)
	require.NoError(t, update.err, update.stderr)
	require.Empty(t, requireCreatedOnce(t, d).Changed, "nothing changed")
	read := program.run(t, d, "read", site(monitoredURL), "")
	require.NoError(t, read.err, read.stderr)
	require.Empty(t, read.stdout, "a later read finds no drift")

	for range 2 {
		deleted := program.run(t, d, "delete", site(monitoredURL), first.stdout)
		require.NoError(t, deleted.err, deleted.stderr)
		state := d.State()
		require.Empty(t, state.Monitors)
		require.Empty(t, state.Integrations)
		require.Empty(t, state.Pages)
	}
}

func TestRenameUpdatesInPlace(t *testing.T) {
	t.Parallel()
	program := buildProgram(t)
	d := serve(t)
	first := program.run(t, d, "create", site(monitoredURL), "")
	require.NoError(t, first.err, first.stderr)
	before := requireCreatedOnce(t, d)

	renamed := site(monitoredURL)
	renamed["contact"] = "Ada"
	renamed["monitors"].([]any)[0].(object)["name"] = `Ada & Bob's "site" <1>`
	renamed["page"].(object)["name"] = "Ada & Bob"
	// An update that fails, or whose response is lost, is retried.
	d.Fail(
		fault{Method: "PATCH", Path: "/v3/monitors", Times: 1, Status: 503},
		fault{Method: "PATCH", Path: "/v3/psps", Times: 1, Cut: true, CarriedOut: true},
	)
	update := program.run(t, d, "update", renamed, first.stdout)
	require.NoError(t, update.err, update.stderr)
	require.JSONEq(t, first.stdout, update.stdout)
	after := requireCreatedOnce(t, d)
	require.Equal(t, before.Monitors[0].ID, after.Monitors[0].ID)
	require.Equal(t, `Ada & Bob's "site" <1>`, after.Monitors[0].Name)
	require.Equal(t, []string{"Ada"}, after.Integrations)
	require.Equal(t, "Ada & Bob", after.Pages[0].Name)

	// Names that the API returns HTML-escaped are equal to the desired ones.
	again := program.run(t, d, "update", renamed, "")
	require.NoError(t, again.err, again.stderr)
	require.Equal(t, after.Changed, requireCreatedOnce(t, d).Changed)
	read := program.run(t, d, "read", renamed, "")
	require.NoError(t, read.err, read.stderr)
	require.Empty(t, read.stdout)
}

func TestDriftIsDetectedAndCorrected(t *testing.T) {
	t.Parallel()
	program := buildProgram(t)
	d := serve(t)
	first := program.run(t, d, "create", site(monitoredURL), "")
	require.NoError(t, first.err, first.stderr)
	var ids struct {
		Contact, Page int64
		Monitors      map[string]int64
	}
	require.NoError(t, json.Unmarshal([]byte(first.stdout), &ids))

	status, text := d.request(t, http.MethodDelete, fmt.Sprintf("/v3/monitors/%d", ids.Monitors["site"]), key, "")
	require.Equal(t, http.StatusOK, status, text)
	status, text = d.request(t, http.MethodPatch, fmt.Sprintf("/v3/psps/%d", ids.Page), key,
		`{"customDomain": "elsewhere.example.org"}`)
	require.Equal(t, http.StatusOK, status, text)
	read := program.run(t, d, "read", site(monitoredURL), "")
	require.NoError(t, read.err, read.stderr)
	require.Contains(t, read.stdout, `there is no monitor "example.org"`)
	require.Contains(t, read.stdout, "customDomain is elsewhere.example.org and should be status.example.org")

	update := program.run(t, d, "update", site(monitoredURL), first.stdout)
	require.NoError(t, update.err, update.stderr)
	state := d.State()
	require.Len(t, state.Monitors, 1)
	require.Equal(t, []int64{state.Monitors[0].ID}, state.Pages[0].Monitors)
	require.Equal(t, "status.example.org", state.Pages[0].Domain)
	read = program.run(t, d, "read", site(monitoredURL), "")
	require.NoError(t, read.err, read.stderr)
	require.Empty(t, read.stdout)
}

func TestUnwantedResourcesAreDeleted(t *testing.T) {
	t.Parallel()
	program := buildProgram(t)
	d := serve(t)
	more := site(monitoredURL)
	more["monitors"] = append(more["monitors"].([]any), object{
		"key": "monitoring", "name": "monitoring.example.org", "url": "https://monitoring.example.org/api/health",
		"interval": 60, "timeout": 30,
	})
	first := program.run(t, d, "create", more, "")
	require.NoError(t, first.err, first.stderr)
	require.Len(t, d.State().Monitors, 2)
	require.Len(t, d.State().Pages[0].Monitors, 2)

	less := site(monitoredURL)
	delete(less, "page")
	delete(less, "contact")
	update := program.run(t, d, "update", less, first.stdout)
	require.NoError(t, update.err, update.stderr)
	state := d.State()
	require.Len(t, state.Monitors, 1)
	require.Equal(t, "example.org", state.Monitors[0].Name)
	require.Empty(t, state.Integrations)
	require.Empty(t, state.Pages)
}

func TestResourcesOnLaterPagesAreFound(t *testing.T) {
	t.Parallel()
	program := buildProgram(t)
	d := serve(t)
	for i := range 5 {
		d.create(t, "/v3/monitors", fmt.Sprintf(`{"friendlyName": "other %d", "type": "HTTP", "url": "https://example.org/%d", "interval": 60, "timeout": 30}`, i, i))
	}
	first := program.run(t, d, "create", site(monitoredURL), "")
	require.NoError(t, first.err, first.stderr)
	again := program.run(t, d, "create", site(monitoredURL), "")
	require.NoError(t, again.err, again.stderr)
	require.JSONEq(t, first.stdout, again.stdout)
	require.Equal(t, 6, d.State().Created["/monitors"])
	deleted := program.run(t, d, "delete", site(monitoredURL), "")
	require.NoError(t, deleted.err, deleted.stderr)
	require.Len(t, d.State().Monitors, 5, "unrelated monitors are kept")
}

func TestAPIFailures(t *testing.T) {
	t.Parallel()
	const (
		notFound  = `{"message": "Monitor not found", "code": "000-004"}`
		throttled = "ThrottlerException: Too Many Requests"
		monitors  = "/v3/monitors"
		hooks     = "/v3/integrations"
		pages     = "/v3/psps"
	)
	program := buildProgram(t)
	respond := func(method, path string, status int, body string) fault {
		return fault{Method: method, Path: path, Times: 1, Status: status, Body: body}
	}
	// planLimit rejects requests that exceed the account's plan.
	planLimit := func(path, message string) []fault {
		return []fault{{Method: "POST", Path: path, Times: 100, Status: 403,
			Body: fmt.Sprintf(`{"message": %q, "code": "000-003"}`, message)}}
	}
	retrySoon := map[string]string{"X-RateLimit-Reset": "1"}
	for name, test := range map[string]struct {
		faults []fault
		// prepare runs before the program.
		prepare func(t *testing.T, d *double)
		key     string
		stderr  string // expected part of the output
		fails   bool   // until a run without the faults
	}{
		"rate limit while listing": {
			faults: []fault{{Method: "GET", Path: monitors, Times: 2, Status: 429, Header: retrySoon, Body: throttled}},
			stderr: "UptimeRobot's rate limit is exhausted for 1",
		},
		"rate limit while creating": {
			faults: []fault{{Method: "POST", Path: monitors, Times: 1, Status: 429, Header: retrySoon, Body: throttled}},
			stderr: "UptimeRobot's rate limit is exhausted for 1",
		},
		"rate limit longer than the remaining time": {
			faults: []fault{{Method: "POST", Path: pages, Times: 1, Status: 429,
				Header: map[string]string{"X-RateLimit-Reset": "3600"}, Body: throttled}},
			stderr: "which is longer than the time that is left: retry later", fails: true,
		},
		"list fails twice": {
			faults: []fault{{Method: "GET", Path: monitors, Times: 2, Status: 503, Body: "upstream connect error"}},
			stderr: "status 503: upstream connect error; retrying",
		},
		"list keeps failing": {
			faults: []fault{{Method: "GET", Path: hooks, Times: 100, Status: 500,
				Body: `{"message": "Internal server error", "statusCode": 500}`}},
			stderr: "cannot list the web-hooks: 5 attempts failed, the last with: GET /integrations: status 500: Internal " +
				"server error", fails: true,
		},
		"list connection is cut": {
			faults: []fault{{Method: "GET", Path: pages, Times: 1, Cut: true}},
			stderr: `created status page "example.org"`,
		},
		"list is not JSON": {
			faults: []fault{respond("GET", monitors, 200, "<html>")},
			stderr: "the response is not what the API documents",
		},
		"create returns 404 but succeeded": {
			faults: []fault{
				{Method: "POST", Path: monitors, Times: 1, Status: 404, Body: notFound, CarriedOut: true},
			},
			stderr: `monitor "example.org" exists`,
		},
		"create returns 404 but succeeded, and the list is stale": {
			faults: []fault{
				{Method: "POST", Path: monitors, Times: 1, Status: 404, Body: notFound, CarriedOut: true},
				{Method: "GET", Path: monitors, Times: 3, Stale: true},
			},
			stderr: `monitor "example.org" exists`,
		},
		"create returns 500 but succeeded": {
			faults: []fault{{Method: "POST", Path: hooks, Times: 1, Status: 500, Body: "{}", CarriedOut: true}},
			stderr: `web-hook "VictorOps: example.org" exists`,
		},
		"create connection is cut but the request succeeded": {
			faults: []fault{{Method: "POST", Path: pages, Times: 1, Cut: true, CarriedOut: true}},
			stderr: `status page "example.org" exists`,
		},
		"create returns an unexpected response but succeeded": {
			faults: []fault{{Method: "POST", Path: monitors, Times: 1, Status: 200, Body: "{}", CarriedOut: true}},
			stderr: "it has no id",
		},
		"create connection is cut before the request is processed": {
			faults: []fault{{Method: "POST", Path: monitors, Times: 1, Cut: true}},
			stderr: `created monitor "example.org"`,
		},
		"list is stale and the create is a duplicate": {
			prepare: func(t *testing.T, d *double) {
				d.create(t, hooks, fmt.Sprintf(`{"type": "Webhook", "data": {"friendlyName": "VictorOps: example.org", "urlToNotify": %q, "postValue": "{}"}}`, d.webhook))
				d.Fail(fault{Method: "GET", Path: hooks, Times: 2, Stale: true})
			},
			stderr: `web-hook "VictorOps: example.org" exists`,
		},
		"another webhook has the same URL": {
			prepare: func(t *testing.T, d *double) {
				d.create(t, hooks, fmt.Sprintf(`{"type": "Webhook", "data": {"friendlyName": "by hand", "urlToNotify": %q, "postValue": "{}"}}`, d.webhook))
			},
			stderr: "UptimeRobot already has an equal resource under another name", fails: true,
		},
		"API key is rejected": {
			key:    "u7654321-fedcba98765432100123456789",
			stderr: "UptimeRobot rejected the API key: set a main API key of the account", fails: true,
		},
		"plan does not include webhooks": {
			faults: planLimit(hooks, "Your plan does not support Webhook integrations"),
			stderr: `uptimeRobotWebhook`, fails: true,
		},
		"plan does not include custom domains": {
			faults: planLimit(pages, "Your plan does not support custom domains"),
			stderr: `create status page "example.org": POST /psps: status 403, code 000-003: Your plan does not support custom domains`, fails: true,
		},
		"plan only allows longer intervals": {
			faults: planLimit(monitors, "Your plan does not support an interval of less than 300 seconds"),
			stderr: "uptimeRobotInterval", fails: true,
		},
		"plan has no monitors left": {
			faults: planLimit(monitors, "Your plan has 0 monitors"),
			stderr: "Your plan has 0 monitors", fails: true,
		},
		"request is rejected and the response contains secrets": {
			faults: []fault{respond("POST", hooks, 400,
				fmt.Sprintf(`{"message": ["urlToNotify .../%s/site is wrong", "Bearer %s"]}`, victorOpsKey, key))},
			stderr: "UptimeRobot rejected the request: cannot create web-hook \"VictorOps: example.org\": POST " +
				"/integrations: status 400: urlToNotify .../(secret)/site is wrong; Bearer (secret)", fails: true,
		},
		"API redirects elsewhere": {
			faults: []fault{{
				Method: "GET", Path: monitors, Times: 1, Status: 302, Header: map[string]string{"Location": "http://example.org/"},
			}},
			stderr: "cannot list the monitors: GET /monitors: status 302", fails: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := serve(t)
			d.Fail(test.faults...)
			if test.prepare != nil {
				test.prepare(t, d)
			}
			apiKey := key
			if test.key != "" {
				apiKey = test.key
			}
			result := program.runWith(t, d.url+"/v3", apiKey, d.webhook, "create", site(monitoredURL), "")
			require.Contains(t, result.stderr, test.stderr)
			if !test.fails {
				require.NoError(t, result.err, result.stderr)
				requireCreatedOnce(t, d)
				return
			}
			require.Error(t, result.err)
			require.Empty(t, result.stdout)
			if test.prepare != nil {
				return // the cause persists
			}
			d.Fail()
			next := program.run(t, d, "create", site(monitoredURL), "")
			require.NoError(t, next.err, next.stderr)
			requireCreatedOnce(t, d)
		})
	}
}

func TestDeleteSurvivesAPIFailures(t *testing.T) {
	t.Parallel()
	program := buildProgram(t)
	d := serve(t)
	first := program.run(t, d, "create", site(monitoredURL), "")
	require.NoError(t, first.err, first.stderr)
	d.Fail(
		fault{Method: "DELETE", Path: "/v3/psps", Times: 1, Cut: true, CarriedOut: true},
		fault{Method: "DELETE", Path: "/v3/monitors", Times: 1, Status: 502},
		fault{Method: "DELETE", Path: "/v3/integrations", Times: 1, Status: 410, CarriedOut: true},
	)
	deleted := program.run(t, d, "delete", site(monitoredURL), first.stdout)
	require.NoError(t, deleted.err, deleted.stderr)
	state := d.State()
	require.Empty(t, state.Monitors)
	require.Empty(t, state.Integrations)
	require.Empty(t, state.Pages)
}

func TestStaleListIsNotDrift(t *testing.T) {
	t.Parallel()
	program := buildProgram(t)
	d := serve(t)
	first := program.run(t, d, "create", site(monitoredURL), "")
	require.NoError(t, first.err, first.stderr)
	d.Fail(fault{Method: "GET", Path: "/v3/monitors", Times: 1, Stale: true})
	read := program.run(t, d, "read", site(monitoredURL), "")
	require.NoError(t, read.err, read.stderr)
	require.Empty(t, read.stdout)
	require.False(t, strings.Contains(read.stderr, key))
}
