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

// page is a page that answers as a test says.
type page struct {
	url   string
	text  atomic.Value // string; "" is an error
	asked atomic.Int64
	// failing is how many of the next requests fail, whatever text is.
	failing atomic.Int64
}

func servePage(t *testing.T) *page {
	t.Helper()
	p := &page{}
	p.text.Store(`{"release": "0123456789abcdef"}`)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.asked.Add(1)
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

// watched is a double that watches a page for this repository's program.
func watches(t *testing.T, page string) *double {
	t.Helper()
	d := serve(t)
	result := buildProgram(t).run(t, d, "create", site(page), "")
	require.NoError(t, result.err, result.stderr)
	d.start(t)
	d.is(t, "UP")
	return d
}

// is waits until the monitor has a state.
func (d *double) is(t *testing.T, status string) {
	t.Helper()
	eventually(t, func() bool { return d.State().Monitors[0].Status == status }, "it is "+status)
}

// told is what VictorOps heard, in order.
func (d *double) told() []string {
	types := []string{}
	for _, message := range d.alerts.Messages() {
		types = append(types, message.Type)
	}
	return types
}

func TestAnOutageIsToldToVictorOpsAndSoIsItsEnd(t *testing.T) {
	t.Parallel()
	page := servePage(t)
	d := watches(t, page.url)
	require.Empty(t, d.told(), "that it is up for the first time is no news")

	page.text.Store("")
	eventually(t, func() bool { return len(d.told()) == 1 }, "the outage is told")
	require.Equal(t, "DOWN", d.State().Monitors[0].Status)
	page.text.Store("a page that is another's")
	asked := page.asked.Load()
	eventually(t, func() bool { return page.asked.Load() > asked+2 }, "it is asked for some times more")
	require.Equal(t, "DOWN", d.State().Monitors[0].Status, "a page without the keyword is an outage as well")
	require.Equal(t, "Keyword not found", d.State().Monitors[0].Reason)
	page.text.Store(`{"release": "fedcba9876543210"}`)
	eventually(t, func() bool { return len(d.told()) == 2 }, "its end is told")
	require.Equal(t, []string{"CRITICAL", "RECOVERY"}, d.told())

	messages := d.alerts.Messages()
	require.Equal(t, messages[0].EntityID, messages[1].EntityID, "of the same incident")
	require.Equal(t, "site", messages[0].RoutingKey)
	require.Equal(t, "example.org", messages[0].Fields["entity_display_name"])
	require.Equal(t, "HTTP 502 - Bad Gateway", messages[0].Fields["state_message"])
	for _, notice := range d.State().Notices {
		require.Empty(t, notice.Error)
	}
}

func TestAMomentWithoutAnAnswerIsNoOutage(t *testing.T) {
	t.Parallel()
	page := servePage(t)
	d := watches(t, page.url)
	for range 5 {
		page.failing.Store(2) // and the third answers
		eventually(t, func() bool { return page.failing.Load() < 0 }, "it was asked until it answered")
	}
	require.Equal(t, "UP", d.State().Monitors[0].Status)
	require.Empty(t, d.told())
}

func TestAPageThatDoesNotAnswerInTimeIsAnOutage(t *testing.T) {
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
	d.created(t, "/v3/monitors",
		fmt.Sprintf(`{"friendlyName": "slow", "type": "HTTP", "url": %q, "interval": 30, "timeout": 1}`, server.URL))
	d.start(t)
	d.is(t, "DOWN")
	require.Equal(t, "Connection Timeout", d.State().Monitors[0].Reason)
}

func TestAPageOfAnUnknownAuthorityIsAnOutage(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	d := serve(t)
	d.created(t, "/v3/monitors",
		fmt.Sprintf(`{"friendlyName": "theirs", "type": "HTTP", "url": %q, "interval": 30, "timeout": 30}`, server.URL))
	d.start(t)
	d.is(t, "DOWN")
	require.Contains(t, d.State().Monitors[0].Reason, "certificate")
}

func TestAMonitorThatIsChangedIsAskedForAtOnce(t *testing.T) {
	t.Parallel()
	page := servePage(t)
	d := serve(t)
	id := d.created(t, "/v3/monitors",
		fmt.Sprintf(`{"friendlyName": "m", "type": "HTTP", "url": %q, "interval": 2678400, "timeout": 30}`, page.url))
	d.start(t)
	d.is(t, "UP")
	status, text := d.ask(t, http.MethodPatch, fmt.Sprintf("/v3/monitors/%d", id), key,
		`{"type": "KEYWORD", "httpMethodType": "GET", "keywordType": "ALERT_EXISTS", "keywordCaseType": 1, "keywordValue": "RELEASE"}`)
	require.Equal(t, http.StatusOK, status, text)
	d.is(t, "DOWN")
	require.Equal(t, "Keyword found", d.State().Monitors[0].Reason)
}

func TestAWebHookHasItsTemplateFilledInAndIsCalledAgainWhenItFails(t *testing.T) {
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
	contact := d.created(t, "/v3/integrations", fmt.Sprintf(`{"type": "Webhook", "data": {"urlToNotify": %q, "postValue": "%s", "sendAsJSON": true, "enableNotificationsFor": "Down"}}`, hook.URL, template))
	d.created(t, "/v3/monitors", fmt.Sprintf(`{"friendlyName": "a \"b\"", "type": "HTTP", "url": %q, "interval": 30, "timeout": 30, "assignedAlertContacts": [{"alertContactId": "%d", "threshold": 0, "recurrence": 0}]}`, page.url, contact))
	d.start(t)
	d.is(t, "UP")
	page.text.Store("")
	select {
	case body := <-bodies:
		require.Equal(t, `application/json  a "b" is Down (1): HTTP 502 - Bad Gateway *unknown*`, body)
	case <-time.After(20 * time.Second):
		require.Fail(t, "the web-hook was not called")
	}
	page.text.Store("back")
	d.is(t, "UP")
	require.Empty(t, bodies, "it wants to hear of outages alone")
	require.Equal(t, []string{"Down"}, types(d.State().Notices))
}

func types(notices []uptimerobot.Notice) []string {
	var all []string
	for _, notice := range notices {
		all = append(all, notice.Type)
	}
	return all
}
