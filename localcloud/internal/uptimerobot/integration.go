package uptimerobot

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
)

const (
	typeWebhook = "Webhook"

	notifyBoth = "UpAndDown"
	notifyDown = "Down"
	notifyUp   = "Up"
	notifyNone = "None"
)

// integration is a web-hook.
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

func (s *Server) integrations() kind {
	return kind{
		noun: "Integration", path: "/integrations",
		ids:   func() []int64 { return slices.Collect(maps.Keys(s.account.Integrations)) },
		told:  func(id int64) any { return tellIntegration(s.account.Integrations[id]) },
		write: s.writeIntegration,
		remove: func(id int64) {
			delete(s.account.Integrations, id)
			for _, m := range s.account.Monitors {
				m.Contacts = slices.DeleteFunc(m.Contacts, func(c contact) bool { return c.ID == id })
			}
		},
	}
}

func integrationRules() map[string]rule {
	return map[string]rule{
		"friendlyName":           {false, stringUpTo(60)},
		"enableNotificationsFor": {false, oneOf(notifyBoth, notifyDown, notifyUp, notifyNone)},
		"urlToNotify": {true, func(value any) string {
			if problem := stringUpTo(1500)(value); problem != "" {
				return problem
			}
			return webURL(value)
		}},
		"postValue": {true, func(value any) string {
			text, ok := value.(string)
			if !ok || !json.Valid([]byte(text)) {
				return "must be a json string"
			}
			return ""
		}},
		"sendAsQueryString": {false, boolean},
		"sendAsJSON":        {false, boolean},
	}
}

func (s *Server) writeIntegration(id int64, body map[string]any) (int64, error) {
	if err := checkFields(body, map[string]rule{
		"type": {true, oneOf(typeWebhook)},
		"data": {true, func(value any) string {
			if _, ok := value.(map[string]any); !ok {
				return "must be an object"
			}
			return ""
		}},
	}, true); err != nil { // a change repeats the type
		return 0, err
	}
	data := body["data"].(map[string]any)
	if err := checkFields(data, integrationRules(), id == 0); err != nil {
		return 0, err
	}
	i := integration{Notify: notifyBoth}
	if id != 0 {
		i = *s.account.Integrations[id]
	}
	setString(data, "friendlyName", &i.FriendlyName)
	setString(data, "enableNotificationsFor", &i.Notify)
	setString(data, "urlToNotify", &i.URL)
	setString(data, "postValue", &i.PostValue)
	setBool(data, "sendAsQueryString", &i.SendAsQuery)
	setBool(data, "sendAsJSON", &i.SendAsJSON)
	if i.SendAsQuery && !strings.HasSuffix(i.URL, "?") && !strings.HasSuffix(i.URL, "&") {
		return 0, refuse(http.StatusBadRequest, "", "urlToNotify must end with ? or &")
	}
	if !s.settings.Plan.Webhooks {
		return 0, refuse(http.StatusForbidden, "000-003", "Your plan does not support Webhook integrations")
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

// tellIntegration is how the API tells a web-hook: its settings are a string of
// JSON, with truth values as digits.
func tellIntegration(i *integration) any {
	digit := map[bool]string{true: "1", false: "0"}
	settings, err := json.Marshal(map[string]string{
		"postValue": i.PostValue, "sendQuery": digit[i.SendAsQuery], "sendJSON": digit[i.SendAsJSON],
	})
	if err != nil {
		settings = []byte("{}") // no map of strings fails
	}
	return map[string]any{
		"id": i.ID, "friendlyName": escaped(i.FriendlyName), "type": typeWebhook, "status": "Active",
		"enableNotificationsFor": i.Notify, "sslExpirationReminder": "false",
		"value": escaped(i.URL), "customValue": string(settings), "customValue2": nil, "customValue3": nil, "customValue4": nil,
	}
}
