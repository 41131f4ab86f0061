package victorops_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/victorops"
)

const key = "5a3c1e70-secret"

func serve(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(victorops.New(key))
	t.Cleanup(server.Close)
	return server
}

// send sends a request and returns the status and, if it is JSON, the body.
func send(t *testing.T, method, url, body string) (status int, answer map[string]any) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	if response.Header.Get("Content-Type") == "application/json" {
		require.NoError(t, json.Unmarshal(text, &answer), string(text))
	}
	return response.StatusCode, answer
}

func received(t *testing.T, url string) (messages []victorops.Message) {
	t.Helper()
	response, err := http.Get(url + "/localcloud/alerts")
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NotContains(t, string(text), key)
	require.NoError(t, json.Unmarshal(text, &messages), string(text))
	return messages
}

const alerts = "/integrations/generic/20131114/alert/"

func TestAlertsAreStoredVerbatimInOrder(t *testing.T) {
	url := serve(t).URL
	require.Empty(t, received(t, url))
	for _, body := range []string{
		`{"message_type": "CRITICAL", "entity_id": "disk/i-1", "state_message": "5 % left", "server": "i-1"}`,
		`{"message_type": "recovery", "entity_id": "disk/i-1"}`,
	} {
		status, answer := send(t, http.MethodPost, url+alerts+key+"/site", body)
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, map[string]any{"result": "success", "entity_id": "disk/i-1"}, answer)
	}
	messages := received(t, url)
	require.Len(t, messages, 2)
	require.Equal(t, "CRITICAL", messages[0].Type)
	require.Equal(t, "site", messages[0].RoutingKey)
	require.Equal(t, "5 % left", messages[0].Fields["state_message"])
	require.Equal(t, "i-1", messages[0].Fields["server"], "custom fields are accepted")
	require.Equal(t, "RECOVERY", messages[1].Type, "lower case is accepted")
	require.False(t, messages[1].Received.Before(messages[0].Received))
}

func TestMissingEntityIDIsGenerated(t *testing.T) {
	url := serve(t).URL
	_, first := send(t, http.MethodPost, url+alerts+key+"/site", `{"message_type": "INFO"}`)
	_, second := send(t, http.MethodPost, url+alerts+key+"/site", `{"message_type": "INFO"}`)
	require.NotEmpty(t, first["entity_id"])
	require.NotEqual(t, first["entity_id"], second["entity_id"])
	require.Equal(t, first["entity_id"], received(t, url)[0].EntityID)
}

func TestInvalidAlertsAreRejected(t *testing.T) {
	url := serve(t).URL
	for name, test := range map[string]struct {
		method, path, body string
		status             int
		message            string
	}{
		"wrong key": {http.MethodPost, alerts + "5a3c1e71-secret/site", `{"message_type": "CRITICAL"}`,
			http.StatusNotFound, "no such API key"},
		"not JSON": {http.MethodPost, alerts + key + "/site", `message_type=CRITICAL`, http.StatusBadRequest,
			"not a JSON object"},
		"null": {http.MethodPost, alerts + key + "/site", `null`, http.StatusBadRequest, "not a JSON object: it is null"},
		"no message type": {http.MethodPost, alerts + key + "/site", `{"entity_id": "a"}`, http.StatusBadRequest,
			"message_type is missing: write one of CRITICAL,"},
		"unknown message type": {http.MethodPost, alerts + key + "/site", `{"message_type": "PANIC"}`, http.StatusBadRequest,
			`message_type is "PANIC"`},
		"numeric entity ID": {http.MethodPost, alerts + key + "/site", `{"message_type": "INFO", "entity_id": 7}`,
			http.StatusBadRequest, "entity_id is not a string"},
		"no routing key": {http.MethodPost, alerts + key + "/", `{"message_type": "INFO"}`, http.StatusNotFound, ""},
		"GET":            {http.MethodGet, alerts + key + "/site", ``, http.StatusMethodNotAllowed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			status, answer := send(t, test.method, url+test.path, test.body)
			require.Equal(t, test.status, status)
			if test.message != "" {
				require.Equal(t, "failure", answer["result"])
				require.Contains(t, answer["message"], test.message)
			}
		})
	}
	require.Empty(t, received(t, url), "rejected alerts are not stored")
}

const fromUptimeRobot = "/integrations/uptimerobot/20131114/alert/"

func TestUptimeRobotOutageIsOneIncident(t *testing.T) {
	url := serve(t).URL
	const monitor = "?monitorID=800000001&monitorFriendlyName=example.org&monitorURL=https%3A%2F%2Fexample.org%2F"
	for _, alert := range []string{"&alertType=1&alertDetails=HTTP+502", "&alertType=2&alertDetails=OK",
		"&alertType=3&alertDetails=30+days"} {
		status, answer := send(t, http.MethodPost, url+fromUptimeRobot+key+"/site"+monitor+alert, "")
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, map[string]any{"result": "success", "entity_id": "uptimerobot/800000001"}, answer)
	}
	messages := received(t, url)
	var types []string
	for _, message := range messages {
		types = append(types, message.Type)
		require.Equal(t, "site", message.RoutingKey)
		require.Equal(t, "example.org", message.Fields["entity_display_name"])
	}
	require.Equal(t, []string{"CRITICAL", "RECOVERY", "WARNING"}, types)
	require.Equal(t, "HTTP 502", messages[0].Fields["state_message"])
}

func TestWebhookWithoutVariablesIsRejected(t *testing.T) {
	url := serve(t).URL
	for query, reason := range map[string]string{
		"":             "monitorID is missing",
		"?monitorID=1": "monitorFriendlyName is missing",
		"?monitorID=1&monitorFriendlyName=a&alertType=Down": "not 1, 2 or 3",
	} {
		status, answer := send(t, http.MethodPost, url+fromUptimeRobot+key+"/site"+query,
			`{"monitorID": "1", "alertType": "1"}`)
		require.Equal(t, http.StatusBadRequest, status)
		require.Contains(t, answer["message"], reason)
	}
	status, _ := send(t, http.MethodPost, url+fromUptimeRobot+"another/site?monitorID=1&monitorFriendlyName=a&alertType=1",
		"")
	require.Equal(t, http.StatusNotFound, status)
	require.Empty(t, received(t, url))
}
