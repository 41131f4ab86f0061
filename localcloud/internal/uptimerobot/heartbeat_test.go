package uptimerobot_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/uptimerobot"
)

const token = "m800000001-10ca1c10bd"

func withHeartbeat(settings *uptimerobot.Settings) { settings.Heartbeat = token }

// sendHeartbeat sends a heartbeat and returns the status. Heartbeats need no API key.
func (d *double) sendHeartbeat(t *testing.T, method, token string) int {
	t.Helper()
	status, _ := d.request(t, method, "/heartbeat/"+token, "", "")
	return status
}

// attachWebhook makes the heartbeat monitor call a webhook, as its owner does by hand.
func (d *double) attachWebhook(t *testing.T, hook string) {
	t.Helper()
	contact := d.create(t, "/v3/integrations", fmt.Sprintf(
		`{"type": "Webhook", "data": {"urlToNotify": %q, "postValue": "{}", "sendAsQueryString": true}}`, hook))
	status, text := d.request(t, http.MethodPatch, fmt.Sprintf("/v3/monitors/%d", d.State().Heartbeats[0].ID), key,
		fmt.Sprintf(`{"assignedAlertContacts": [{"alertContactId": "%d", "threshold": 0, "recurrence": 0}]}`, contact))
	require.Equal(t, http.StatusOK, status, text)
}

func TestMissedHeartbeatAlertsUntilNextOne(t *testing.T) {
	t.Parallel()
	d := serve(t, withHeartbeat)
	d.attachWebhook(t, d.webhook)
	d.start(t)
	status := func() string { return d.State().Heartbeats[0].Status }

	require.Equal(t, http.StatusOK, d.sendHeartbeat(t, http.MethodPost, token))
	eventually(t, func() bool { return status() == "UP" }, "the first heartbeat is seen")
	require.Empty(t, d.alertTypes(), "the first heartbeat is not reported")
	last := d.State().Heartbeats[0].Last
	eventually(t, func() bool { return len(d.alertTypes()) == 1 }, "the missed heartbeat is reported")
	require.GreaterOrEqual(t, time.Since(last), 120*second, "not before the interval and the grace period are over")
	require.Equal(t, "DOWN", status())
	require.Equal(t, http.StatusOK, d.sendHeartbeat(t, http.MethodHead, token))
	eventually(t, func() bool { return len(d.alertTypes()) >= 2 }, "the recovery is reported")
	require.Equal(t, []string{"CRITICAL", "RECOVERY"}, d.alertTypes()[:2])
	require.Equal(t, 2, d.State().Heartbeats[0].Beats)
}

func TestHeartbeatMonitorIsSilentBeforeFirstHeartbeat(t *testing.T) {
	t.Parallel()
	page := servePage(t)
	d := serve(t, withHeartbeat)
	d.attachWebhook(t, d.webhook)
	d.create(t, "/v3/monitors", fmt.Sprintf(
		`{"friendlyName": "page", "type": "HTTP", "url": %q, "interval": 30, "timeout": 30}`, page.url))
	d.start(t)
	require.Equal(t, http.StatusNotFound, d.sendHeartbeat(t, http.MethodPost, token+"0"), "unknown token")
	require.Equal(t, http.StatusMethodNotAllowed, d.sendHeartbeat(t, http.MethodPut, token))
	// Meanwhile the heartbeat monitor's own deadline passes.
	eventually(t, func() bool { return d.State().Monitors[0].Checks > 6 }, "the other monitor is checked")
	require.Equal(t, "NOT_CHECKED_YET", d.State().Heartbeats[0].Status)
	require.Zero(t, d.State().Heartbeats[0].Beats)
	require.Empty(t, d.alertTypes())
}

func TestHeartbeatMonitorSurvivesRestart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "account.json")
	withFile := func(settings *uptimerobot.Settings) { settings.Heartbeat, settings.File = token, file }
	before := serve(t, withFile)
	require.Equal(t, http.StatusOK, before.sendHeartbeat(t, http.MethodGet, token))
	after := serve(t, withFile)
	require.Equal(t, before.State().Heartbeats, after.State().Heartbeats)
	require.Len(t, after.State().Heartbeats, 1)
}

func TestClientCreatesMonitorsAlongsideHeartbeatMonitor(t *testing.T) {
	t.Parallel()
	page := servePage(t)
	d := serve(t, withHeartbeat)
	result := buildProgram(t).run(t, d, "create", site(page.url), "")
	require.NoError(t, result.err, result.stderr)
	require.Len(t, d.State().Monitors, 1)
	require.Equal(t, "heartbeat", d.State().Heartbeats[0].Name)
	status, text := d.request(t, http.MethodGet, "/v3/monitors", key, "")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, text, `"type":"HEARTBEAT"`, "the list that the client reads includes it")
}
