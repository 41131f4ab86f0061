package uptimerobot

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

const (
	typeHTTP    = "HTTP"
	typeKeyword = "KEYWORD"
	// typeHeartbeat waits for requests instead of making them.
	typeHeartbeat = "HEARTBEAT"

	keywordExists    = "ALERT_EXISTS"
	keywordNotExists = "ALERT_NOT_EXISTS"

	statusNew  = "NOT_CHECKED_YET"
	statusUp   = "UP"
	statusDown = "DOWN"

	longestInterval = 2678400
)

// monitor is a page that is asked for.
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
	// Token is the secret in the URL of a heartbeat, and Grace how many seconds one may be late.
	Token string
	Grace int
	// LastBeat is when the last heartbeat came, and Beats how many did.
	LastBeat time.Time
	Beats    int

	Status string
	Reason string
	Since  time.Time
	Checks int
	// Due is when it is asked for next, and Revision counts its changes.
	Due      time.Time
	Revision int
}

// contact is a web-hook that a monitor tells.
type contact struct {
	ID                    int64
	Threshold, Recurrence int
}

func (s *Server) monitors() kind {
	return kind{
		noun: "Monitor", path: "/monitors",
		ids:   func() []int64 { return slices.Collect(maps.Keys(s.account.Monitors)) },
		told:  func(id int64) any { return s.tellMonitor(s.account.Monitors[id]) },
		write: s.writeMonitor,
		remove: func(id int64) {
			delete(s.account.Monitors, id)
			for _, p := range s.account.Pages {
				p.MonitorIDs = slices.DeleteFunc(p.MonitorIDs, func(shown int64) bool { return shown == id })
			}
		},
	}
}

func monitorRules() map[string]rule {
	return map[string]rule{
		"friendlyName":    {true, stringUpTo(250)},
		"type":            {true, oneOf(typeHTTP, typeKeyword)},
		"url":             {true, webURL},
		"interval":        {true, between(30, longestInterval)},
		"timeout":         {true, between(0, 60)},
		"httpMethodType":  {false, oneOf("HEAD", "GET")},
		"keywordType":     {false, oneOf(keywordExists, keywordNotExists)},
		"keywordCaseType": {false, between(0, 1)},
		"keywordValue":    {false, stringUpTo(500)},
		"assignedAlertContacts": {false, listOf(func(value any) string {
			object, ok := value.(map[string]any)
			if !ok {
				return "must be an object"
			}
			if err := checkFields(object, map[string]rule{
				"alertContactId": {true, stringUpTo(20)}, "threshold": {true, between(0, 60)}, "recurrence": {true, between(0, 60)},
			}, true); err != nil {
				return err.Error()
			}
			return ""
		})},
	}
}

func (s *Server) writeMonitor(id int64, body map[string]any) (int64, error) {
	if err := checkFields(body, monitorRules(), id == 0); err != nil {
		return 0, err
	}
	m := monitor{Method: "HEAD", Status: statusNew, Since: time.Now().UTC()}
	if id != 0 {
		m = *s.account.Monitors[id]
	}
	setString(body, "friendlyName", &m.FriendlyName)
	setString(body, "type", &m.Type)
	setString(body, "url", &m.URL)
	setInt(body, "interval", &m.Interval)
	setInt(body, "timeout", &m.Timeout)
	setString(body, "httpMethodType", &m.Method)
	setString(body, "keywordType", &m.KeywordType)
	setInt(body, "keywordCaseType", &m.KeywordCaseType)
	setString(body, "keywordValue", &m.KeywordValue)
	if m.Type == typeKeyword && (m.KeywordType == "" || m.KeywordValue == "" || m.Method != "GET") {
		return 0, refuse(http.StatusBadRequest, "", "a KEYWORD monitor needs keywordType, keywordValue and the httpMethodType GET")
	}
	if list, sent := body["assignedAlertContacts"].([]any); sent {
		m.Contacts = []contact{}
		for _, each := range list {
			each := each.(map[string]any)
			to, err := strconv.ParseInt(each["alertContactId"].(string), 10, 64)
			if _, ok := s.account.Integrations[to]; err != nil || !ok {
				return 0, refuse(http.StatusBadRequest, "", "alert contact %v does not exist", each["alertContactId"])
			}
			m.Contacts = append(m.Contacts, contact{to, int(each["threshold"].(float64)), int(each["recurrence"].(float64))})
		}
	}
	if m.Interval < s.settings.Plan.MinInterval {
		return 0, refuse(http.StatusForbidden, "000-003", "Your plan does not support an interval of less than %d seconds", s.settings.Plan.MinInterval)
	}
	for _, other := range s.account.Monitors {
		if other.ID != id && other.URL == m.URL && other.Type == m.Type {
			return 0, refuse(http.StatusConflict, "000-002", "Monitor already exists")
		}
	}
	if id == 0 {
		if len(s.account.Monitors) >= s.settings.Plan.Monitors {
			return 0, refuse(http.StatusForbidden, "000-003", "Your plan has %d monitors", s.settings.Plan.Monitors)
		}
		m.ID = s.account.newID()
	}
	m.Revision++
	m.Due = time.Now() // what was seen before says nothing about what is asked for now
	s.account.Monitors[m.ID] = &m
	return m.ID, nil
}

// tellMonitor is how the API tells a monitor: with texts escaped as for a web
// page, and truth values as strings.
func (s *Server) tellMonitor(m *monitor) any {
	contacts := []any{}
	for _, c := range m.Contacts {
		contacts = append(contacts, map[string]any{"alertContactId": c.ID, "threshold": c.Threshold, "recurrence": c.Recurrence})
	}
	told := map[string]any{
		"id": m.ID, "friendlyName": escaped(m.FriendlyName), "type": m.Type, "url": escaped(m.URL),
		"interval": m.Interval, "timeout": m.Timeout, "httpMethodType": m.Method, "status": m.Status,
		"keywordType": nil, "keywordCaseType": nil, "keywordValue": nil,
		"assignedAlertContacts": contacts, "followRedirections": "true", "checkSSLErrors": "true",
		"currentStateDuration": int(time.Since(m.Since).Seconds()),
	}
	if m.Type == typeHeartbeat {
		told["gracePeriod"] = m.Grace
	}
	if m.Type == typeKeyword {
		told["keywordType"], told["keywordCaseType"], told["keywordValue"] = m.KeywordType, m.KeywordCaseType, escaped(m.KeywordValue)
	}
	return told
}
