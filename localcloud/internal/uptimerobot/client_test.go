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

const watched = "https://example.org/.well-known/release"

// once requires that everything is there and was made once.
func once(t *testing.T, d *double) uptimerobot.State {
	t.Helper()
	state := d.State()
	require.Len(t, state.Monitors, 1)
	require.Len(t, state.Integrations, 1)
	require.Len(t, state.Pages, 1)
	require.Equal(t, []int64{state.Monitors[0].ID}, state.Pages[0].Monitors)
	require.Equal(t, map[string]int{"/monitors": 1, "/integrations": 1, "/psps": 1}, state.Created)
	return state
}

func TestWhatIsDesiredIsMadeOnceAndTakenAway(t *testing.T) {
	t.Parallel()
	program := buildProgram(t)
	d := serve(t)
	before := program.run(t, d, "read", site(watched), "")
	require.NoError(t, before.err, before.stderr)
	require.Equal(t, "there is no web-hook \"VictorOps: example.org\"\nthere is no monitor \"example.org\"\nthere is "+
		"no status page \"example.org\"", before.stdout)

	first := program.run(t, d, "create", site(watched), "")
	require.NoError(t, first.err, first.stderr)
	state := once(t, d)
	require.Equal(t, "status.example.org", state.Pages[0].Domain)

	for _, before := range []string{"", first.stdout} {
		again := program.run(t, d, "create", site(watched), before)
		require.NoError(t, again.err, again.stderr)
		require.JSONEq(t, first.stdout, again.stdout)
	}
	update := program.run(t, d, "update", site(watched), first.stdout)
	require.NoError(t, update.err, update.stderr)
	require.Empty(t, once(t, d).Changed, "nothing differed")
	read := program.run(t, d, "read", site(watched), "")
	require.NoError(t, read.err, read.stderr)
	require.Empty(t, read.stdout, "nor does it later")

	for range 2 {
		gone := program.run(t, d, "delete", site(watched), first.stdout)
		require.NoError(t, gone.err, gone.stderr)
		state := d.State()
		require.Empty(t, state.Monitors)
		require.Empty(t, state.Integrations)
		require.Empty(t, state.Pages)
	}
}

func TestAChangedNameIsChangedInPlace(t *testing.T) {
	t.Parallel()
	program := buildProgram(t)
	d := serve(t)
	first := program.run(t, d, "create", site(watched), "")
	require.NoError(t, first.err, first.stderr)
	was := once(t, d)

	renamed := site(watched)
	renamed["contact"] = "Ada"
	renamed["monitors"].([]any)[0].(object)["name"] = `Ada & Bob's "site" <1>`
	renamed["page"].(object)["name"] = "Ada & Bob"
	// A change that fails, or whose answer is lost, is made again.
	d.Fail(
		fault{Method: "PATCH", Path: "/v3/monitors", Times: 1, Status: 503},
		fault{Method: "PATCH", Path: "/v3/psps", Times: 1, Cut: true, CarriedOut: true},
	)
	update := program.run(t, d, "update", renamed, first.stdout)
	require.NoError(t, update.err, update.stderr)
	require.JSONEq(t, first.stdout, update.stdout)
	is := once(t, d)
	require.Equal(t, was.Monitors[0].ID, is.Monitors[0].ID)
	require.Equal(t, `Ada & Bob's "site" <1>`, is.Monitors[0].Name)
	require.Equal(t, []string{"Ada"}, is.Integrations)
	require.Equal(t, "Ada & Bob", is.Pages[0].Name)

	// Names that the API escapes are the same names.
	again := program.run(t, d, "update", renamed, "")
	require.NoError(t, again.err, again.stderr)
	require.Equal(t, is.Changed, once(t, d).Changed)
	read := program.run(t, d, "read", renamed, "")
	require.NoError(t, read.err, read.stderr)
	require.Empty(t, read.stdout)
}

func TestWhatSomebodyChangedOrDeletedByHandIsFoundAndPutBack(t *testing.T) {
	t.Parallel()
	program := buildProgram(t)
	d := serve(t)
	first := program.run(t, d, "create", site(watched), "")
	require.NoError(t, first.err, first.stderr)
	var made struct {
		Contact, Page int64
		Monitors      map[string]int64
	}
	require.NoError(t, json.Unmarshal([]byte(first.stdout), &made))

	status, text := d.ask(t, http.MethodDelete, fmt.Sprintf("/v3/monitors/%d", made.Monitors["site"]), key, "")
	require.Equal(t, http.StatusOK, status, text)
	status, text = d.ask(t, http.MethodPatch, fmt.Sprintf("/v3/psps/%d", made.Page), key,
		`{"customDomain": "elsewhere.example.org"}`)
	require.Equal(t, http.StatusOK, status, text)
	read := program.run(t, d, "read", site(watched), "")
	require.NoError(t, read.err, read.stderr)
	require.Contains(t, read.stdout, `there is no monitor "example.org"`)
	require.Contains(t, read.stdout, "customDomain is elsewhere.example.org and should be status.example.org")

	update := program.run(t, d, "update", site(watched), first.stdout)
	require.NoError(t, update.err, update.stderr)
	state := d.State()
	require.Len(t, state.Monitors, 1)
	require.Equal(t, []int64{state.Monitors[0].ID}, state.Pages[0].Monitors)
	require.Equal(t, "status.example.org", state.Pages[0].Domain)
	read = program.run(t, d, "read", site(watched), "")
	require.NoError(t, read.err, read.stderr)
	require.Empty(t, read.stdout)
}

func TestWhatIsNoLongerDesiredIsDeleted(t *testing.T) {
	t.Parallel()
	program := buildProgram(t)
	d := serve(t)
	more := site(watched)
	more["monitors"] = append(more["monitors"].([]any), object{
		"key": "monitoring", "name": "monitoring.example.org", "url": "https://monitoring.example.org/api/health",
		"interval": 60, "timeout": 30,
	})
	first := program.run(t, d, "create", more, "")
	require.NoError(t, first.err, first.stderr)
	require.Len(t, d.State().Monitors, 2)
	require.Len(t, d.State().Pages[0].Monitors, 2)

	less := site(watched)
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

func TestWhatIsOnALaterPageOfAListIsFound(t *testing.T) {
	t.Parallel()
	program := buildProgram(t)
	d := serve(t)
	for i := range 5 {
		d.created(t, "/v3/monitors", fmt.Sprintf(`{"friendlyName": "other %d", "type": "HTTP", "url": "https://example.org/%d", "interval": 60, "timeout": 30}`, i, i))
	}
	first := program.run(t, d, "create", site(watched), "")
	require.NoError(t, first.err, first.stderr)
	again := program.run(t, d, "create", site(watched), "")
	require.NoError(t, again.err, again.stderr)
	require.JSONEq(t, first.stdout, again.stdout)
	require.Equal(t, 6, d.State().Created["/monitors"])
	gone := program.run(t, d, "delete", site(watched), "")
	require.NoError(t, gone.err, gone.stderr)
	require.Len(t, d.State().Monitors, 5, "what others made stays")
}

// TestFailuresOfTheAPI is the table of what may go wrong, with what becomes of it.
func TestFailuresOfTheAPI(t *testing.T) {
	t.Parallel()
	const (
		notFound  = `{"message": "Monitor not found", "code": "000-004"}`
		throttled = "ThrottlerException: Too Many Requests"
		monitors  = "/v3/monitors"
		hooks     = "/v3/integrations"
		pages     = "/v3/psps"
	)
	program := buildProgram(t)
	answers := func(method, path string, status int, body string) fault {
		return fault{Method: method, Path: path, Times: 1, Status: status, Body: body}
	}
	// lacks are the refusals of what the account's plan has not.
	lacks := func(path, message string) []fault {
		return []fault{{Method: "POST", Path: path, Times: 100, Status: 403,
			Body: fmt.Sprintf(`{"message": %q, "code": "000-003"}`, message)}}
	}
	soon := map[string]string{"X-RateLimit-Reset": "1"}
	for name, test := range map[string]struct {
		faults []fault
		// prepare makes something before.
		prepare func(t *testing.T, d *double)
		key     string
		// told is what the program says. failed is that an error is left, until the next run
		// without the failure.
		told   string
		failed bool
	}{
		"a rate limit, when it lists": {
			faults: []fault{{Method: "GET", Path: monitors, Times: 2, Status: 429, Header: soon, Body: throttled}},
			told:   "UptimeRobot's rate limit is exhausted for 1",
		},
		"a rate limit, when it creates": {
			faults: []fault{{Method: "POST", Path: monitors, Times: 1, Status: 429, Header: soon, Body: throttled}},
			told:   "UptimeRobot's rate limit is exhausted for 1",
		},
		"a rate limit for longer than there is time": {
			faults: []fault{{Method: "POST", Path: pages, Times: 1, Status: 429,
				Header: map[string]string{"X-RateLimit-Reset": "3600"}, Body: throttled}},
			told: "which is longer than the time that is left: retry later", failed: true,
		},
		"a list fails twice": {
			faults: []fault{{Method: "GET", Path: monitors, Times: 2, Status: 503, Body: "upstream connect error"}},
			told:   "status 503: upstream connect error; retrying",
		},
		"a list fails for good": {
			faults: []fault{{Method: "GET", Path: hooks, Times: 100, Status: 500,
				Body: `{"message": "Internal server error", "statusCode": 500}`}},
			told: "cannot list the web-hooks: 5 attempts failed, the last with: GET /integrations: status 500: Internal " +
				"server error", failed: true,
		},
		"a list's connection is cut": {
			faults: []fault{{Method: "GET", Path: pages, Times: 1, Cut: true}},
			told:   `created status page "example.org"`,
		},
		"a list is no JSON": {
			faults: []fault{answers("GET", monitors, 200, "<html>")},
			told:   "the response is not what the API documents",
		},
		"a creation answers 404 though it was made": {
			faults: []fault{
				{Method: "POST", Path: monitors, Times: 1, Status: 404, Body: notFound, CarriedOut: true},
			},
			told: `monitor "example.org" exists`,
		},
		"a creation answers 404 though it was made, and the list is behind": {
			faults: []fault{
				{Method: "POST", Path: monitors, Times: 1, Status: 404, Body: notFound, CarriedOut: true},
				{Method: "GET", Path: monitors, Times: 3, Stale: true},
			},
			told: `monitor "example.org" exists`,
		},
		"a creation fails with 500 though it was made": {
			faults: []fault{{Method: "POST", Path: hooks, Times: 1, Status: 500, Body: "{}", CarriedOut: true}},
			told:   `web-hook "VictorOps: example.org" exists`,
		},
		"a creation's connection is cut though it was made": {
			faults: []fault{{Method: "POST", Path: pages, Times: 1, Cut: true, CarriedOut: true}},
			told:   `status page "example.org" exists`,
		},
		"a creation is answered by something else though it was made": {
			faults: []fault{{Method: "POST", Path: monitors, Times: 1, Status: 200, Body: "{}", CarriedOut: true}},
			told:   "it has no id",
		},
		"a creation's connection is cut before": {
			faults: []fault{{Method: "POST", Path: monitors, Times: 1, Cut: true}},
			told:   `created monitor "example.org"`,
		},
		"a list is behind, and the creation is a duplicate": {
			prepare: func(t *testing.T, d *double) {
				d.created(t, hooks, fmt.Sprintf(`{"type": "Webhook", "data": {"friendlyName": "VictorOps: example.org", "urlToNotify": %q, "postValue": "{}"}}`, d.webhook))
				d.Fail(fault{Method: "GET", Path: hooks, Times: 2, Stale: true})
			},
			told: `web-hook "VictorOps: example.org" exists`,
		},
		"another web-hook has the URL": {
			prepare: func(t *testing.T, d *double) {
				d.created(t, hooks, fmt.Sprintf(`{"type": "Webhook", "data": {"friendlyName": "by hand", "urlToNotify": %q, "postValue": "{}"}}`, d.webhook))
			},
			told: "UptimeRobot already has an equal resource under another name", failed: true,
		},
		"the key is refused": {
			key:  "u7654321-fedcba98765432100123456789",
			told: "UptimeRobot rejected the API key: set a main API key of the account", failed: true,
		},
		"the plan has no web-hooks": {
			faults: lacks(hooks, "Your plan does not support Webhook integrations"),
			told:   `uptimeRobotWebhook`, failed: true,
		},
		"the plan has no domains of one's own": {
			faults: lacks(pages, "Your plan does not support custom domains"),
			told:   `create status page "example.org": POST /psps: status 403, code 000-003: Your plan does not support custom domains`, failed: true,
		},
		"the plan has longer intervals only": {
			faults: lacks(monitors, "Your plan does not support an interval of less than 300 seconds"),
			told:   "uptimeRobotInterval", failed: true,
		},
		"the plan has no monitor left": {
			faults: lacks(monitors, "Your plan has 0 monitors"),
			told:   "Your plan has 0 monitors", failed: true,
		},
		"it is taken for wrong, and the answer has the secrets": {
			faults: []fault{answers("POST", hooks, 400,
				fmt.Sprintf(`{"message": ["urlToNotify .../%s/site is wrong", "Bearer %s"]}`, victorOpsKey, key))},
			told: "UptimeRobot rejected the request: cannot create web-hook \"VictorOps: example.org\": POST " +
				"/integrations: status 400: urlToNotify .../(secret)/site is wrong; Bearer (secret)", failed: true,
		},
		"it leads elsewhere": {
			faults: []fault{{
				Method: "GET", Path: monitors, Times: 1, Status: 302, Header: map[string]string{"Location": "http://example.org/"},
			}},
			told: "cannot list the monitors: GET /monitors: status 302", failed: true,
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
			result := program.runWith(t, d.url+"/v3", apiKey, d.webhook, "create", site(watched), "")
			require.Contains(t, result.stderr, test.told)
			if !test.failed {
				require.NoError(t, result.err, result.stderr)
				once(t, d)
				return
			}
			require.Error(t, result.err)
			require.Empty(t, result.stdout)
			if test.prepare != nil {
				return // as long as it is so
			}
			d.Fail()
			next := program.run(t, d, "create", site(watched), "")
			require.NoError(t, next.err, next.stderr)
			once(t, d)
		})
	}
}

func TestFailuresWhileItIsTakenAway(t *testing.T) {
	t.Parallel()
	program := buildProgram(t)
	d := serve(t)
	first := program.run(t, d, "create", site(watched), "")
	require.NoError(t, first.err, first.stderr)
	d.Fail(
		fault{Method: "DELETE", Path: "/v3/psps", Times: 1, Cut: true, CarriedOut: true},
		fault{Method: "DELETE", Path: "/v3/monitors", Times: 1, Status: 502},
		fault{Method: "DELETE", Path: "/v3/integrations", Times: 1, Status: 410, CarriedOut: true},
	)
	gone := program.run(t, d, "delete", site(watched), first.stdout)
	require.NoError(t, gone.err, gone.stderr)
	state := d.State()
	require.Empty(t, state.Monitors)
	require.Empty(t, state.Integrations)
	require.Empty(t, state.Pages)
}

func TestAListThatIsBehindIsNoDifference(t *testing.T) {
	t.Parallel()
	program := buildProgram(t)
	d := serve(t)
	first := program.run(t, d, "create", site(watched), "")
	require.NoError(t, first.err, first.stderr)
	d.Fail(fault{Method: "GET", Path: "/v3/monitors", Times: 1, Stale: true})
	read := program.run(t, d, "read", site(watched), "")
	require.NoError(t, read.err, read.stderr)
	require.Empty(t, read.stdout)
	require.False(t, strings.Contains(read.stderr, key))
}
