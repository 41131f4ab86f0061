package uptimerobot_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/uptimerobot"
)

const (
	goodMonitor = `{"friendlyName": "a & b", "type": "KEYWORD", "url": "https://example.org/?a=1&b=2", "interval": 30, "timeout": 10, "httpMethodType": "GET", "keywordType": "ALERT_NOT_EXISTS", "keywordCaseType": 0, "keywordValue": "\"release\""}`
	goodHook    = `{"type": "Webhook", "data": {"friendlyName": "hook", "urlToNotify": "https://alert.example/?", "postValue": "{}", "sendAsQueryString": true}}`
	goodPage    = `{"friendlyName": "page", "customDomain": "status.example.org", "monitorIds": [0]}`
)

func TestInvalidRequestsAreRejected(t *testing.T) {
	d := serve(t)
	monitor := d.create(t, "/v3/monitors", goodMonitor)
	hook := d.create(t, "/v3/integrations", goodHook)
	d.create(t, "/v3/psps", goodPage)
	with := func(body, old, new string) string {
		require.Contains(t, body, old)
		return strings.Replace(body, old, new, 1)
	}
	for name, test := range map[string]struct {
		method, path, body string
		status             int
		message            string
	}{
		"missing fields": {"POST", "/v3/monitors", `{"type": "HTTP"}`, 400, `["friendlyName should not be empty","interval should not be empty","timeout should not be empty","url should not be empty"]`},
		"unknown field": {"POST", "/v3/monitors", with(goodMonitor, "friendlyName", "friendly_name"), 400,
			"property friendly_name should not exist"},
		"interval too short": {"POST", "/v3/monitors", with(goodMonitor, `"interval": 30`, `"interval": 29`), 400,
			"interval must not be less than 30"},
		"interval as a string": {"POST", "/v3/monitors", with(goodMonitor, `"interval": 30`, `"interval": "30"`), 400,
			"interval must be an integer number"},
		"timeout too long": {"POST", "/v3/monitors", with(goodMonitor, `"timeout": 10`, `"timeout": 61`), 400,
			"timeout must not be greater than 60"},
		"unknown type": {"POST", "/v3/monitors", with(goodMonitor, "KEYWORD", "keyword"), 400,
			"type must be one of the following values"},
		"invalid URL": {"POST", "/v3/monitors", with(goodMonitor, "https://", ""), 400, "url must be a URL address"},
		"boolean as a string": {"POST", "/v3/integrations", with(goodHook, "true", `"true"`), 400,
			"sendAsQueryString must be a boolean value"},
		"name too long": {"POST", "/v3/monitors", with(goodMonitor, "a & b", strings.Repeat("a", 251)), 400,
			"friendlyName must be shorter than or equal to 250 characters"},
		"number instead of a list": {"POST", "/v3/psps", with(goodPage, "[0]", "0"), 400, "monitorIds must be an array"},
		"number instead of a URL": {"PATCH", fmt.Sprintf("/v3/integrations/%d", hook),
			`{"type": "Webhook", "data": {"urlToNotify": 1}}`, 400, "urlToNotify must be a string"},
		"keyword type without a value": {"POST", "/v3/monitors",
			with(goodMonitor, `, "keywordValue": "\"release\""`, ""), 400, "needs keywordType, keywordValue"},
		"unknown alert contact": {"POST", "/v3/monitors",
			with(goodMonitor, "{", `{"assignedAlertContacts": [{"alertContactId": "1", "threshold": 0, "recurrence": 0}],`), 400,
			"alert contact 1 does not exist"},
		"incomplete alert contact": {"POST", "/v3/monitors", with(goodMonitor, "{",
			`{"assignedAlertContacts": [{"alertContactId": "1"}],`), 400, "threshold should not be empty"},
		"duplicate monitor":         {"POST", "/v3/monitors", goodMonitor, 409, "Monitor already exists"},
		"list instead of an object": {"POST", "/v3/monitors", `[]`, 400, "not a JSON object"},
		"webhook without a URL": {"POST", "/v3/integrations", `{"type": "Webhook", "data": {"postValue": "{}"}}`, 400,
			"urlToNotify should not be empty"},
		"template is not JSON": {"POST", "/v3/integrations",
			`{"type": "Webhook", "data": {"postValue": "a", "urlToNotify": "https://a.example/"}}`, 400,
			"postValue must be a json string"},
		"query URL without a question mark": {"POST", "/v3/integrations", with(goodHook, "example/?", "example/"), 400,
			"must end with ? or &"},
		"unsupported integration": {"POST", "/v3/integrations", `{"type": "Slack", "data": {}}`, 400, "type must be one of"},
		"duplicate webhook":       {"POST", "/v3/integrations", goodHook, 409, "Integration already exists"},
		"update without a type": {"PATCH", fmt.Sprintf("/v3/integrations/%d", hook), `{"data": {"friendlyName": "b"}}`,
			400, "type should not be empty"},
		"unknown monitor on a page": {"POST", "/v3/psps", `{"friendlyName": "b", "monitorIds": [7]}`, 400,
			"monitor 7 does not exist"},
		"duplicate domain": {"POST", "/v3/psps", goodPage, 409, "already in use"},
		"unknown monitor":  {"GET", "/v3/monitors/7", "", 404, `{"code":"000-004","message":"Monitor not found"}`},
		"non-numeric ID":   {"GET", "/v3/monitors/seven", "", 400, "numeric string is expected"},
		"unknown filter":   {"GET", "/v3/monitors?limit=5", "", 400, "property limit should not exist"},
		"unknown path":     {"GET", "/v3/user/me", "", 404, "Cannot GET /v3/user/me"},
	} {
		t.Run(name, func(t *testing.T) {
			status, text := d.request(t, test.method, test.path, key, test.body)
			require.Equal(t, test.status, status, text)
			require.Contains(t, strings.ReplaceAll(text, `\u0026`, "&"), test.message)
		})
	}
	status, text := d.request(t, http.MethodGet, "/v3/monitors", "another", "")
	require.Equal(t, http.StatusUnauthorized, status)
	require.JSONEq(t, `{"message": "Unauthorized", "code": "003-005"}`, text)
	status, text = d.request(t, http.MethodPatch, fmt.Sprintf("/v3/monitors/%d", monitor), key, `{"interval": 60}`)
	require.Equal(t, http.StatusOK, status, text)
	require.Contains(t, text, `"friendlyName":"a \u0026amp; b"`, "names are HTML-escaped")
	require.Contains(t, text, `"followRedirections":"true"`, "booleans are returned as strings")
}

func TestListIsPaginated(t *testing.T) {
	d := serve(t)
	for i := range 5 {
		d.create(t, "/v3/monitors",
			fmt.Sprintf(`{"friendlyName": "m%d", "type": "HTTP", "url": "https://example.org/%d", "interval": 30, "timeout": 1}`,
				i, i))
	}
	var names []string
	for path := "/v3/monitors"; path != ""; {
		status, text := d.request(t, http.MethodGet, path, key, "")
		require.Equal(t, http.StatusOK, status, text)
		var list struct {
			Data     []struct{ FriendlyName string }
			NextLink string
		}
		require.NoError(t, json.Unmarshal([]byte(text), &list))
		require.LessOrEqual(t, len(list.Data), 2)
		for _, monitor := range list.Data {
			names = append(names, monitor.FriendlyName)
		}
		_, path, _ = strings.Cut(list.NextLink, "/v3/")
		if path != "" {
			path = "/v3/" + path
		}
	}
	require.Equal(t, []string{"m0", "m1", "m2", "m3", "m4"}, names)
}

func TestRequestsAboveRateLimitAreRejected(t *testing.T) {
	d := serve(t, func(s *uptimerobot.Settings) { s.RequestsPerMinute = 3 })
	for range 3 {
		status, _ := d.request(t, http.MethodGet, "/v3/psps", key, "")
		require.Equal(t, http.StatusOK, status)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.url+"/v3/psps", nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+key)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusTooManyRequests, response.StatusCode)
	require.Equal(t, "ThrottlerException: Too Many Requests", string(text))
	require.Equal(t, "0", response.Header.Get("X-RateLimit-Remaining"))
	require.Regexp(t, `^([1-9]|[1-5]\d|60)$`, response.Header.Get("X-RateLimit-Reset"))
}

func TestAccountSurvivesRestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "account.json")
	withFile := func(s *uptimerobot.Settings) { s.File = file }
	d := serve(t, withFile)
	id := d.create(t, "/v3/monitors", goodMonitor)
	state := d.State()
	restarted := serve(t, withFile)
	require.Equal(t, state, restarted.State())
	require.Greater(t, restarted.create(t, "/v3/integrations", goodHook), id, "IDs are not reused")
}

func TestMonitorsAbovePlanLimitAreRejected(t *testing.T) {
	d := serve(t, func(s *uptimerobot.Settings) { s.RequestsPerMinute = 1000 })
	monitor := func(i int) string {
		return fmt.Sprintf(
			`{"friendlyName": "m", "type": "HTTP", "url": "https://example.org/%d", "interval": 30, "timeout": 1}`, i)
	}
	for i := range 50 {
		d.create(t, "/v3/monitors", monitor(i))
	}
	status, text := d.request(t, http.MethodPost, "/v3/monitors", key, monitor(50))
	require.Equal(t, http.StatusForbidden, status)
	require.JSONEq(t, `{"message": "Your plan has 50 monitors", "code": "000-003"}`, text)
}
