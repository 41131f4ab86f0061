package uptimerobot

import (
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	typeKeyword   = "KEYWORD"
	typeHeartbeat = "HEARTBEAT" // waits for requests instead of making them
	typeWebhook   = "Webhook"

	keywordNotExists = "ALERT_NOT_EXISTS"

	statusNew  = "NOT_CHECKED_YET"
	statusUp   = "UP"
	statusDown = "DOWN"

	notifyBoth = "UpAndDown"
	notifyDown = "Down"
	notifyUp   = "Up"

	maxMonitors = 50 // the limit of the account's plan
)

// monitor is a probed page or a heartbeat monitor. Where the API has a field, the name differs in case only.
type monitor struct {
	ID              int64
	FriendlyName    string
	Type            string
	URL             string
	Interval        int
	Timeout         int
	Method          string
	KeywordType     string
	KeywordCaseType int
	KeywordValue    string
	Contacts        []contact
	Token           string    // the secret in the heartbeat URL
	Grace           int       // how late a heartbeat may be, in seconds
	LastBeat        time.Time // when the last heartbeat arrived
	Beats           int       // the number of heartbeats received

	Status   string
	Reason   string
	Since    time.Time
	Checks   int
	Due      time.Time // when the next check is due
	Revision int       // incremented by every change
}

// contact assigns an integration to a monitor, which alerts it.
type contact struct {
	ID                    int64
	Threshold, Recurrence int
}

type integration struct {
	ID           int64
	FriendlyName string
	Notify       string
	URL          string
	PostValue    string
	// SendAsQuery appends all variables to the URL. SendAsJSON sends PostValue as JSON instead of as form fields.
	SendAsQuery, SendAsJSON bool
}

type page struct {
	ID           int64
	FriendlyName string
	CustomDomain string
	MonitorIDs   []int64 // the monitors on the page; a single 0 stands for all
}

func (s *Server) kinds() []kind {
	a := &s.account
	return []kind{
		newKind("Monitor", "/monitors", a.Monitors, (*monitor).toAPI, s.writeMonitor, func(id int64) {
			for _, p := range a.Pages {
				p.MonitorIDs = slices.DeleteFunc(slices.Clone(p.MonitorIDs), func(m int64) bool { return m == id })
			}
		}),
		newKind("Integration", "/integrations", a.Integrations, (*integration).toAPI, s.writeIntegration, func(id int64) {
			for _, m := range a.Monitors {
				m.Contacts = slices.DeleteFunc(m.Contacts, func(c contact) bool { return c.ID == id })
			}
		}),
		newKind("PSP", "/psps", a.Pages, (*page).toAPI, s.writePage, func(int64) {}),
	}
}

// newKind returns the kind of the objects in byID. unlink removes all references to a deleted object.
func newKind[T any](
	noun, path string, byID map[int64]*T, toAPI func(*T) any,
	write func(int64, []byte) (int64, error), unlink func(int64),
) kind {
	return kind{
		noun: noun, path: path, write: write,
		ids:    func() []int64 { return slices.Sorted(maps.Keys(byID)) },
		toAPI:  func(id int64) any { return toAPI(byID[id]) },
		remove: func(id int64) { delete(byID, id); unlink(id) },
	}
}

func (s *Server) writeMonitor(id int64, content []byte) (int64, error) {
	m := monitor{Method: "HEAD", Status: statusNew, Since: time.Now().UTC()}
	if id != 0 {
		m = *s.account.Monitors[id]
	}
	request := struct {
		*monitor
		HTTPMethodType        *string
		AssignedAlertContacts *[]struct {
			AlertContactID        string
			Threshold, Recurrence int
		}
	}{monitor: &m, HTTPMethodType: &m.Method}
	if err := json.Unmarshal(content, &request); err != nil {
		return 0, badRequest(err.Error())
	}
	if m.Type == typeKeyword && (m.KeywordType == "" || m.KeywordValue == "" || m.Method != "GET") {
		return 0, badRequest("a KEYWORD monitor needs keywordType, keywordValue and the httpMethodType GET")
	}
	if request.AssignedAlertContacts != nil {
		m.Contacts = []contact{}
		for _, c := range *request.AssignedAlertContacts {
			contactID, err := strconv.ParseInt(c.AlertContactID, 10, 64)
			if _, ok := s.account.Integrations[contactID]; err != nil || !ok {
				return 0, badRequest(fmt.Sprintf("alert contact %s does not exist", c.AlertContactID))
			}
			m.Contacts = append(m.Contacts, contact{contactID, c.Threshold, c.Recurrence})
		}
	}
	for _, other := range s.account.Monitors {
		if other.ID != id && other.URL == m.URL && other.Type == m.Type {
			return 0, apiErrorf(http.StatusConflict, "000-002", "Monitor already exists")
		}
	}
	if id == 0 {
		if len(s.account.Monitors) >= maxMonitors {
			return 0, apiErrorf(http.StatusForbidden, "000-003", "Your plan has %d monitors", maxMonitors)
		}
		m.ID = s.account.newID()
	}
	m.Revision++
	m.Due = time.Now() // earlier results do not apply to the changed monitor: check it again at once
	s.account.Monitors[m.ID] = &m
	return m.ID, nil
}

// toAPI returns the monitor as the API encodes it: strings are HTML-escaped, and booleans are strings.
func (m *monitor) toAPI() any {
	contacts := []any{}
	for _, c := range m.Contacts {
		contacts = append(contacts,
			map[string]any{"alertContactId": c.ID, "threshold": c.Threshold, "recurrence": c.Recurrence})
	}
	fields := map[string]any{
		"id": m.ID, "friendlyName": html.EscapeString(m.FriendlyName), "type": m.Type, "url": html.EscapeString(m.URL),
		"interval": m.Interval, "timeout": m.Timeout, "httpMethodType": m.Method, "status": m.Status,
		"keywordType": nil, "keywordCaseType": nil, "keywordValue": nil,
		"assignedAlertContacts": contacts, "followRedirections": "true", "checkSSLErrors": "true",
		"currentStateDuration": int(time.Since(m.Since).Seconds()),
	}
	if m.Type == typeKeyword {
		fields["keywordType"], fields["keywordCaseType"] = m.KeywordType, m.KeywordCaseType
		fields["keywordValue"] = html.EscapeString(m.KeywordValue)
	}
	return fields
}

func (s *Server) writeIntegration(id int64, content []byte) (int64, error) {
	i := integration{Notify: notifyBoth}
	if id != 0 {
		i = *s.account.Integrations[id]
	}
	type data struct {
		*integration
		EnableNotificationsFor, URLToNotify *string
		SendAsQueryString                   *bool
	}
	request := struct{ Data data }{data{&i, &i.Notify, &i.URL, &i.SendAsQuery}}
	if err := json.Unmarshal(content, &request); err != nil {
		return 0, badRequest(err.Error())
	}
	if i.SendAsQuery && !strings.HasSuffix(i.URL, "?") && !strings.HasSuffix(i.URL, "&") {
		return 0, badRequest("urlToNotify must end with ? or &")
	}
	for _, other := range s.account.Integrations {
		if other.ID != id && other.URL == i.URL {
			return 0, apiErrorf(http.StatusConflict, "000-002", "Integration already exists")
		}
	}
	if id == 0 {
		i.ID = s.account.newID()
	}
	s.account.Integrations[i.ID] = &i
	return i.ID, nil
}

// toAPI returns the webhook as the API encodes it: its settings are a JSON string, with booleans as digits.
func (i *integration) toAPI() any {
	digit := map[bool]int{true: 1}
	return map[string]any{
		"id": i.ID, "friendlyName": html.EscapeString(i.FriendlyName), "type": typeWebhook, "status": "Active",
		"enableNotificationsFor": i.Notify, "sslExpirationReminder": "false", "value": html.EscapeString(i.URL),
		"customValue": fmt.Sprintf(`{"postValue":"%s","sendJSON":"%d","sendQuery":"%d"}`,
			escapeJSON(i.PostValue), digit[i.SendAsJSON], digit[i.SendAsQuery]),
		"customValue2": nil, "customValue3": nil, "customValue4": nil,
	}
}

func (s *Server) writePage(id int64, content []byte) (int64, error) {
	p := page{MonitorIDs: []int64{0}}
	if id != 0 {
		p = *s.account.Pages[id]
		p.MonitorIDs = slices.Clone(p.MonitorIDs)
	}
	if err := json.Unmarshal(content, &p); err != nil {
		return 0, badRequest(err.Error())
	}
	for _, monitorID := range p.MonitorIDs {
		if _, ok := s.account.Monitors[monitorID]; !ok && monitorID != 0 {
			return 0, badRequest(fmt.Sprintf("monitor %d does not exist", monitorID))
		}
	}
	for _, other := range s.account.Pages {
		if other.ID != id && p.CustomDomain != "" && other.CustomDomain == p.CustomDomain {
			return 0, apiErrorf(http.StatusConflict, "000-002", "Custom domain is already in use")
		}
	}
	if id == 0 {
		p.ID = s.account.newID()
	}
	s.account.Pages[p.ID] = &p
	return p.ID, nil
}

func (p *page) toAPI() any {
	var domain any
	if p.CustomDomain != "" {
		domain = p.CustomDomain
	}
	return map[string]any{
		"id": p.ID, "friendlyName": html.EscapeString(p.FriendlyName), "customDomain": domain, "isPasswordSet": "false",
		"monitorIds": p.MonitorIDs, "monitorsCount": len(p.MonitorIDs), "status": "ENABLED",
		"urlKey": "k" + strconv.FormatInt(p.ID, 36), "noIndex": "false", "hideUrlLinks": "false",
	}
}

// escapeJSON escapes text for use inside a JSON string.
func escapeJSON(text string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		return "" // marshaling a string never fails
	}
	return string(quoted[1 : len(quoted)-1])
}
