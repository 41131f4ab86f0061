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

	maxMonitors = 50 // of the account's plan
)

// monitor is a page that is asked for. The names of the fields are those of the API but for case.
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
	Token           string    // the secret in the URL of a heartbeat
	Grace           int       // how many seconds a heartbeat may be late
	LastBeat        time.Time // of the last heartbeat
	Beats           int       // how many heartbeats came

	Status   string
	Reason   string
	Since    time.Time
	Checks   int
	Due      time.Time // when it is asked for next
	Revision int       // counts its changes
}

// contact is a web-hook that a monitor tells.
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
	// SendAsQuery adds all variables to the URL; SendAsJSON sends PostValue as it
	// is, and not as the fields of a form.
	SendAsQuery, SendAsJSON bool
}

type page struct {
	ID           int64
	FriendlyName string
	CustomDomain string
	MonitorIDs   []int64 // those that it shows; a single 0 shows all
}

func (s *Server) kinds() []kind {
	a := &s.account
	return []kind{
		newKind("Monitor", "/monitors", a.Monitors, (*monitor).tell, s.writeMonitor, func(id int64) {
			for _, p := range a.Pages {
				p.MonitorIDs = slices.DeleteFunc(slices.Clone(p.MonitorIDs), func(shown int64) bool { return shown == id })
			}
		}),
		newKind("Integration", "/integrations", a.Integrations, (*integration).tell, s.writeIntegration, func(id int64) {
			for _, m := range a.Monitors {
				m.Contacts = slices.DeleteFunc(m.Contacts, func(c contact) bool { return c.ID == id })
			}
		}),
		newKind("PSP", "/psps", a.Pages, (*page).tell, s.writePage, func(int64) {}),
	}
}

// newKind is a kind of the objects in byID; forget takes one out of the others.
func newKind[T any](
	noun, path string, byID map[int64]*T, tell func(*T) any,
	write func(int64, []byte) (int64, error), forget func(int64),
) kind {
	return kind{
		noun: noun, path: path, write: write,
		ids:    func() []int64 { return slices.Sorted(maps.Keys(byID)) },
		tell:   func(id int64) any { return tell(byID[id]) },
		remove: func(id int64) { delete(byID, id); forget(id) },
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
		return 0, invalid(err.Error())
	}
	if m.Type == typeKeyword && (m.KeywordType == "" || m.KeywordValue == "" || m.Method != "GET") {
		return 0, invalid("a KEYWORD monitor needs keywordType, keywordValue and the httpMethodType GET")
	}
	if request.AssignedAlertContacts != nil {
		m.Contacts = []contact{}
		for _, c := range *request.AssignedAlertContacts {
			to, err := strconv.ParseInt(c.AlertContactID, 10, 64)
			if _, ok := s.account.Integrations[to]; err != nil || !ok {
				return 0, invalid(fmt.Sprintf("alert contact %s does not exist", c.AlertContactID))
			}
			m.Contacts = append(m.Contacts, contact{to, c.Threshold, c.Recurrence})
		}
	}
	for _, other := range s.account.Monitors {
		if other.ID != id && other.URL == m.URL && other.Type == m.Type {
			return 0, refuse(http.StatusConflict, "000-002", "Monitor already exists")
		}
	}
	if id == 0 {
		if len(s.account.Monitors) >= maxMonitors {
			return 0, refuse(http.StatusForbidden, "000-003", "Your plan has %d monitors", maxMonitors)
		}
		m.ID = s.account.newID()
	}
	m.Revision++
	m.Due = time.Now() // what was seen before says nothing about what is asked for now
	s.account.Monitors[m.ID] = &m
	return m.ID, nil
}

// tell is a monitor in the API's form: with texts escaped as for a web page, and booleans as strings.
func (m *monitor) tell() any {
	contacts := []any{}
	for _, c := range m.Contacts {
		contacts = append(contacts,
			map[string]any{"alertContactId": c.ID, "threshold": c.Threshold, "recurrence": c.Recurrence})
	}
	told := map[string]any{
		"id": m.ID, "friendlyName": html.EscapeString(m.FriendlyName), "type": m.Type, "url": html.EscapeString(m.URL),
		"interval": m.Interval, "timeout": m.Timeout, "httpMethodType": m.Method, "status": m.Status,
		"keywordType": nil, "keywordCaseType": nil, "keywordValue": nil,
		"assignedAlertContacts": contacts, "followRedirections": "true", "checkSSLErrors": "true",
		"currentStateDuration": int(time.Since(m.Since).Seconds()),
	}
	if m.Type == typeKeyword {
		told["keywordType"], told["keywordCaseType"] = m.KeywordType, m.KeywordCaseType
		told["keywordValue"] = html.EscapeString(m.KeywordValue)
	}
	return told
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
		return 0, invalid(err.Error())
	}
	if i.SendAsQuery && !strings.HasSuffix(i.URL, "?") && !strings.HasSuffix(i.URL, "&") {
		return 0, invalid("urlToNotify must end with ? or &")
	}
	for _, other := range s.account.Integrations {
		if other.ID != id && other.URL == i.URL {
			return 0, refuse(http.StatusConflict, "000-002", "Integration already exists")
		}
	}
	if id == 0 {
		i.ID = s.account.newID()
	}
	s.account.Integrations[i.ID] = &i
	return i.ID, nil
}

// tell is a web-hook in the API's form: its settings are a string of JSON, with booleans as digits.
func (i *integration) tell() any {
	digit := map[bool]int{true: 1}
	return map[string]any{
		"id": i.ID, "friendlyName": html.EscapeString(i.FriendlyName), "type": typeWebhook, "status": "Active",
		"enableNotificationsFor": i.Notify, "sslExpirationReminder": "false", "value": html.EscapeString(i.URL),
		"customValue": fmt.Sprintf(`{"postValue":"%s","sendJSON":"%d","sendQuery":"%d"}`,
			inJSON(i.PostValue), digit[i.SendAsJSON], digit[i.SendAsQuery]),
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
		return 0, invalid(err.Error())
	}
	for _, shown := range p.MonitorIDs {
		if _, ok := s.account.Monitors[shown]; !ok && shown != 0 {
			return 0, invalid(fmt.Sprintf("monitor %d does not exist", shown))
		}
	}
	for _, other := range s.account.Pages {
		if other.ID != id && p.CustomDomain != "" && other.CustomDomain == p.CustomDomain {
			return 0, refuse(http.StatusConflict, "000-002", "Custom domain is already in use")
		}
	}
	if id == 0 {
		p.ID = s.account.newID()
	}
	s.account.Pages[p.ID] = &p
	return p.ID, nil
}

func (p *page) tell() any {
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

// inJSON is a text within a string of JSON.
func inJSON(text string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		return "" // no string fails
	}
	return string(quoted[1 : len(quoted)-1])
}
