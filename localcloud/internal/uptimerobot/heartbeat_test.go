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

// beat sends a heartbeat, which needs no key.
func (d *double) beat(t *testing.T, method, token string) int {
	t.Helper()
	status, _ := d.ask(t, method, "/heartbeat/"+token, "", "")
	return status
}

// tell makes the heartbeat monitor call a web-hook, as its owner does by hand.
func (d *double) tell(t *testing.T, hook string) {
	t.Helper()
	contact := d.created(t, "/v3/integrations", fmt.Sprintf(
		`{"type": "Webhook", "data": {"urlToNotify": %q, "postValue": "{}", "sendAsQueryString": true}}`, hook))
	status, text := d.ask(t, http.MethodPatch, fmt.Sprintf("/v3/monitors/%d", d.State().Heartbeats[0].ID), key,
		fmt.Sprintf(`{"assignedAlertContacts": [{"alertContactId": "%d", "threshold": 0, "recurrence": 0}]}`, contact))
	require.Equal(t, http.StatusOK, status, text)
}

func TestMissingHeartbeatRaisesTheAlarmAndTheNextOneEndsIt(t *testing.T) {
	t.Parallel()
	d := serve(t, withHeartbeat)
	d.tell(t, d.webhook)
	d.start(t)
	status := func() string { return d.State().Heartbeats[0].Status }

	require.Equal(t, http.StatusOK, d.beat(t, http.MethodPost, token))
	eventually(t, func() bool { return status() == "UP" }, "the first heartbeat is seen")
	require.Empty(t, d.told(), "the first heartbeat is no news")
	last := d.State().Heartbeats[0].Last
	eventually(t, func() bool { return len(d.told()) == 1 }, "the absence is noticed")
	require.GreaterOrEqual(t, time.Since(last), 120*second, "not before the interval and the grace are over")
	require.Equal(t, "DOWN", status())
	require.Equal(t, http.StatusOK, d.beat(t, http.MethodHead, token))
	eventually(t, func() bool { return len(d.told()) >= 2 }, "the end is told")
	require.Equal(t, []string{"CRITICAL", "RECOVERY"}, d.told()[:2])
	require.Equal(t, 2, d.State().Heartbeats[0].Beats)
}

func TestHeartbeatMonitorThatNoHeartbeatReachedStaysSilent(t *testing.T) {
	t.Parallel()
	page := servePage(t)
	d := serve(t, withHeartbeat)
	d.tell(t, d.webhook)
	d.created(t, "/v3/monitors", fmt.Sprintf(
		`{"friendlyName": "page", "type": "HTTP", "url": %q, "interval": 30, "timeout": 30}`, page.url))
	d.start(t)
	require.Equal(t, http.StatusNotFound, d.beat(t, http.MethodPost, token+"0"), "of nobody")
	require.Equal(t, http.StatusMethodNotAllowed, d.beat(t, http.MethodPut, token))
	// The monitor's own time limit passes meanwhile.
	eventually(t, func() bool { return d.State().Monitors[0].Checks > 6 }, "the other monitor works")
	require.Equal(t, "NOT_CHECKED_YET", d.State().Heartbeats[0].Status)
	require.Zero(t, d.State().Heartbeats[0].Beats)
	require.Empty(t, d.told())
}

func TestHeartbeatMonitorOutlivesARestart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "account.json")
	keep := func(settings *uptimerobot.Settings) { settings.Heartbeat, settings.File = token, file }
	before := serve(t, keep)
	require.Equal(t, http.StatusOK, before.beat(t, http.MethodGet, token))
	after := serve(t, keep)
	require.Equal(t, before.State().Heartbeats, after.State().Heartbeats)
	require.Len(t, after.State().Heartbeats, 1)
}

func TestOwnMonitorsAreMadeBesideTheHeartbeatMonitor(t *testing.T) {
	t.Parallel()
	page := servePage(t)
	d := serve(t, withHeartbeat)
	result := buildProgram(t).run(t, d, "create", site(page.url), "")
	require.NoError(t, result.err, result.stderr)
	require.Len(t, d.State().Monitors, 1)
	require.Equal(t, "heartbeat", d.State().Heartbeats[0].Name)
	status, text := d.ask(t, http.MethodGet, "/v3/monitors", key, "")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, text, `"type":"HEARTBEAT"`, "the program saw it")
}
