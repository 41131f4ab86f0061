package uptimerobot_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/uptimerobot"
)

// page is a page whose responses a test controls.
type page struct {
	url      string
	text     atomic.Value // string; "" is an error
	requests atomic.Int64 // total
	failing  atomic.Int64 // how many of the next requests fail, regardless of text
}

func servePage(t *testing.T) *page {
	t.Helper()
	p := &page{}
	p.text.Store(`{"release": "0123456789abcdef"}`)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.requests.Add(1)
		text := p.text.Load().(string)
		if text == "" || p.failing.Add(-1) >= 0 {
			http.Error(w, "no such thing as a page", http.StatusBadGateway)
			return
		}
		_, _ = w.Write([]byte(text))
	}))
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

// monitorPage returns a running double on which this repository's client has created a monitor for the page.
func monitorPage(t *testing.T, page string) *double {
	t.Helper()
	d := serve(t)
	result := buildProgram(t).run(t, d, "create", site(page), "")
	require.NoError(t, result.err, result.stderr)
	d.start(t)
	d.awaitStatus(t, "UP")
	return d
}

// awaitStatus waits until the monitor has the given status.
func (d *double) awaitStatus(t *testing.T, status string) {
	t.Helper()
	eventually(t, func() bool { return d.State().Monitors[0].Status == status }, "the monitor is "+status)
}

// alertTypes returns the types of the messages that VictorOps received, in order.
func (d *double) alertTypes() []string {
	types := []string{}
	for _, message := range d.alerts.Messages() {
		types = append(types, message.Type)
	}
	return types
}

func TestOutageAndRecoveryNotifyVictorOps(t *testing.T) {
	t.Parallel()
	page := servePage(t)
	d := monitorPage(t, page.url)
	require.Empty(t, d.alertTypes(), "the first successful check is not reported")

	page.text.Store("")
	eventually(t, func() bool { return len(d.alertTypes()) == 1 }, "the outage is reported")
	require.Equal(t, "DOWN", d.State().Monitors[0].Status)
	page.text.Store("a page that is another's")
	requests := page.requests.Load()
	eventually(t, func() bool { return page.requests.Load() > requests+2 }, "the page is probed several more times")
	require.Equal(t, "DOWN", d.State().Monitors[0].Status, "a page without the keyword is also an outage")
	require.Equal(t, "Keyword not found", d.State().Monitors[0].Reason)
	page.text.Store(`{"release": "fedcba9876543210"}`)
	eventually(t, func() bool { return len(d.alertTypes()) == 2 }, "the recovery is reported")
	require.Equal(t, []string{"CRITICAL", "RECOVERY"}, d.alertTypes())

	messages := d.alerts.Messages()
	require.Equal(t, messages[0].EntityID, messages[1].EntityID, "both belong to the same incident")
	require.Equal(t, "site", messages[0].RoutingKey)
	require.Equal(t, "example.org", messages[0].Fields["entity_display_name"])
	require.Equal(t, "HTTP 502 - Bad Gateway", messages[0].Fields["state_message"])
	for _, notice := range d.State().Notices {
		require.Empty(t, notice.Error)
	}
}

func TestTransientProbeFailureIsNotAnOutage(t *testing.T) {
	t.Parallel()
	page := servePage(t)
	d := monitorPage(t, page.url)
	for range 5 {
		page.failing.Store(2) // the third request succeeds
		eventually(t, func() bool { return page.failing.Load() < 0 }, "the page is probed until it responds")
	}
	require.Equal(t, "UP", d.State().Monitors[0].Status)
	require.Empty(t, d.alertTypes())
}

func TestTimeoutIsAnOutage(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(hang) })
	d := serve(t)
	d.create(t, "/v3/monitors",
		fmt.Sprintf(`{"friendlyName": "slow", "type": "HTTP", "url": %q, "interval": 30, "timeout": 1}`, server.URL))
	d.start(t)
	d.awaitStatus(t, "DOWN")
	require.Equal(t, "Connection Timeout", d.State().Monitors[0].Reason)
}

func TestUntrustedCertificateIsAnOutage(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	d := serve(t)
	d.create(t, "/v3/monitors",
		fmt.Sprintf(`{"friendlyName": "theirs", "type": "HTTP", "url": %q, "interval": 30, "timeout": 30}`, server.URL))
	d.start(t)
	d.awaitStatus(t, "DOWN")
	require.Contains(t, d.State().Monitors[0].Reason, "certificate")
}

func TestChangedMonitorIsCheckedImmediately(t *testing.T) {
	t.Parallel()
	page := servePage(t)
	d := serve(t)
	id := d.create(t, "/v3/monitors",
		fmt.Sprintf(`{"friendlyName": "m", "type": "HTTP", "url": %q, "interval": 2678400, "timeout": 30}`, page.url))
	d.start(t)
	d.awaitStatus(t, "UP")
	status, text := d.request(t, http.MethodPatch, fmt.Sprintf("/v3/monitors/%d", id), key,
		`{"type": "KEYWORD", "httpMethodType": "GET", "keywordType": "ALERT_EXISTS", "keywordCaseType": 1, "keywordValue": "RELEASE"}`)
	require.Equal(t, http.StatusOK, status, text)
	d.awaitStatus(t, "DOWN")
	require.Equal(t, "Keyword found", d.State().Monitors[0].Reason)
}

func TestWebhookTemplateIsFilledInAndFailedCallsAreRetried(t *testing.T) {
	t.Parallel()
	page := servePage(t)
	bodies := make(chan string, 10)
	var failing atomic.Int64
	failing.Store(2)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if failing.Add(-1) >= 0 {
			http.Error(w, "later", http.StatusServiceUnavailable)
			return
		}
		var body map[string]any
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		bodies <- fmt.Sprint(r.Header.Get("Content-Type"), " ", r.URL.RawQuery, " ", body["text"])
	}))
	t.Cleanup(hook.Close)
	d := serve(t)
	template := `{\"text\": \"*monitorFriendlyName* is *alertTypeFriendlyName* (*alertType*): *alertDetails* *unknown*\"}`
	contact := d.create(t, "/v3/integrations", fmt.Sprintf(`{"type": "Webhook", "data": {"urlToNotify": %q, "postValue": "%s", "sendAsJSON": true, "enableNotificationsFor": "Down"}}`, hook.URL, template))
	d.create(t, "/v3/monitors", fmt.Sprintf(`{"friendlyName": "a \"b\"", "type": "HTTP", "url": %q, "interval": 30, "timeout": 30, "assignedAlertContacts": [{"alertContactId": "%d", "threshold": 0, "recurrence": 0}]}`, page.url, contact))
	d.start(t)
	d.awaitStatus(t, "UP")
	page.text.Store("")
	select {
	case body := <-bodies:
		require.Equal(t, `application/json  a "b" is Down (1): HTTP 502 - Bad Gateway *unknown*`, body)
	case <-time.After(20 * time.Second):
		require.Fail(t, "the webhook was not called")
	}
	page.text.Store("back")
	d.awaitStatus(t, "UP")
	require.Empty(t, bodies, "this contact is only notified of outages")
	require.Equal(t, []string{"Down"}, noticeTypes(d.State().Notices))
}

func noticeTypes(notices []uptimerobot.Notice) []string {
	var types []string
	for _, notice := range notices {
		types = append(types, notice.Type)
	}
	return types
}
