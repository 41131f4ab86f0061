package uptime

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// resource is a resource at UptimeRobot.
type resource interface {
	id() int64
	name() string
}

const (
	monitorsPath     = "/monitors"
	integrationsPath = "/integrations"
	pagesPath        = "/psps"
)

// monitor is a monitor in responses of the API.
type monitor struct {
	ID              number `json:"id"`
	FriendlyName    text   `json:"friendlyName"`
	Type            text   `json:"type"`
	URL             text   `json:"url"`
	Interval        number `json:"interval"`
	Timeout         number `json:"timeout"`
	HTTPMethodType  text   `json:"httpMethodType"`
	KeywordType     text   `json:"keywordType"`
	KeywordCaseType number `json:"keywordCaseType"`
	KeywordValue    text   `json:"keywordValue"`
	Contacts        []struct {
		ID number `json:"alertContactId"`
	} `json:"assignedAlertContacts"`
}

func (m monitor) id() int64    { return int64(m.ID) }
func (m monitor) name() string { return string(m.FriendlyName) }

const (
	// alertNotExists is the type of a keyword whose absence is an outage.
	alertNotExists = "ALERT_NOT_EXISTS"
	caseSensitive  = 0
)

// monitorRequest is a monitor in requests to the API.
type monitorRequest struct {
	FriendlyName    string           `json:"friendlyName"`
	Type            string           `json:"type"`
	URL             string           `json:"url"`
	Interval        int              `json:"interval"`
	Timeout         int              `json:"timeout"`
	HTTPMethodType  string           `json:"httpMethodType"`
	KeywordType     string           `json:"keywordType,omitempty"`
	KeywordCaseType *int             `json:"keywordCaseType,omitempty"`
	KeywordValue    string           `json:"keywordValue,omitempty"`
	Contacts        []contactRequest `json:"assignedAlertContacts"`
}

type contactRequest struct {
	ID         string `json:"alertContactId"`
	Threshold  int    `json:"threshold"`
	Recurrence int    `json:"recurrence"`
}

// wantedMonitor returns the desired state of a monitor, which alerts a contact immediately and once; 0 is no contact.
func wantedMonitor(m Monitor, contact int64) wanted[monitor] {
	request := monitorRequest{
		FriendlyName: m.Name, Type: "HTTP", URL: m.URL, Interval: m.Interval, Timeout: m.Timeout,
		// The keyword is in the body, which HEAD would not return.
		HTTPMethodType: "GET",
		Contacts:       []contactRequest{},
	}
	if m.Keyword != "" {
		sensitive := caseSensitive
		request.Type, request.KeywordType, request.KeywordCaseType, request.KeywordValue = "KEYWORD", alertNotExists,
			&sensitive, m.Keyword
	}
	if contact != 0 {
		request.Contacts = append(request.Contacts, contactRequest{ID: strconv.FormatInt(contact, 10)})
	}
	return wanted[monitor]{
		noun: "monitor", path: monitorsPath, name: m.Name, request: request,
		differs: func(actual monitor) []string {
			var d differences
			d.compare("name", string(actual.FriendlyName), m.Name)
			d.compare("type", string(actual.Type), request.Type)
			d.compare("url", strings.TrimSuffix(string(actual.URL), "/"), strings.TrimSuffix(m.URL, "/"))
			d.compare("interval", int(actual.Interval), m.Interval)
			d.compare("timeout", int(actual.Timeout), m.Timeout)
			d.compare("httpMethodType", string(actual.HTTPMethodType), request.HTTPMethodType)
			if m.Keyword != "" {
				d.compare("keywordType", string(actual.KeywordType), request.KeywordType)
				d.compare("keywordCaseType", int(actual.KeywordCaseType), caseSensitive)
				d.compare("keywordValue", string(actual.KeywordValue), m.Keyword)
			}
			var contacts []int64
			for _, each := range actual.Contacts {
				contacts = append(contacts, int64(each.ID))
			}
			// Contacts that were added by hand stay until another setting changes.
			if contact != 0 && !slices.Contains(contacts, contact) {
				d = append(d, "does not alert the web-hook")
			}
			return d
		},
	}
}

// integration is a web-hook in responses of the API.
type integration struct {
	ID           number `json:"id"`
	FriendlyName text   `json:"friendlyName"`
	Type         text   `json:"type"`
	Value        text   `json:"value"`
	CustomValue  text   `json:"customValue"`
	Notify       text   `json:"enableNotificationsFor"`
}

func (i integration) id() int64    { return int64(i.ID) }
func (i integration) name() string { return string(i.FriendlyName) }

// webhookSettings is the customValue of an integration.
type webhookSettings struct {
	SendQuery flag `json:"sendQuery"`
}

const (
	webhookType = "Webhook"
	upAndDown   = "UpAndDown"
)

// variables returns the names of the variables that UptimeRobot fills in for an alert.
func variables() []string {
	return []string{
		"monitorID", "monitorURL", "monitorFriendlyName", "alertType", "alertTypeFriendlyName", "alertDetails",
		"alertDateTime",
	}
}

// wantedContact returns the desired state of a web-hook, as Splunk On-Call documents it for UptimeRobot: the
// variables are in the query, which is why the URL ends with a question mark. The API also requires a body, which has
// the same variables.
func wantedContact(name, webhook string) (wanted[integration], error) {
	body := map[string]string{}
	for _, variable := range variables() {
		body[variable] = "*" + variable + "*"
	}
	encoded, err := json.Marshal(body)
	if err != nil {
		return wanted[integration]{}, fmt.Errorf("cannot encode the web-hook's body: %w", err)
	}
	type data struct {
		FriendlyName      string `json:"friendlyName"`
		Notify            string `json:"enableNotificationsFor"`
		URL               string `json:"urlToNotify"`
		PostValue         string `json:"postValue"`
		SendAsQueryString bool   `json:"sendAsQueryString"`
		SendAsJSON        bool   `json:"sendAsJSON"`
	}
	return wanted[integration]{
		noun: "web-hook", path: integrationsPath, name: name,
		request: struct {
			Type string `json:"type"`
			Data data   `json:"data"`
		}{webhookType, data{name, upAndDown, webhook, string(encoded), true, false}},
		differs: func(actual integration) []string {
			var d differences
			d.compare("name", string(actual.FriendlyName), name)
			d.compare("type", string(actual.Type), webhookType)
			d.compare("enableNotificationsFor", string(actual.Notify), upAndDown)
			if string(actual.Value) != webhook {
				d = append(d, "has another URL") // the URL is a secret
			}
			var settings webhookSettings
			if actual.CustomValue != "" && json.Unmarshal([]byte(actual.CustomValue), &settings) == nil &&
				!bool(settings.SendQuery) {
				d = append(d, "sends no query string")
			}
			return d
		},
	}, nil
}

// page is a public status page in responses of the API.
type page struct {
	ID           number   `json:"id"`
	FriendlyName text     `json:"friendlyName"`
	CustomDomain text     `json:"customDomain"`
	MonitorIDs   []number `json:"monitorIds"`
}

func (p page) id() int64    { return int64(p.ID) }
func (p page) name() string { return string(p.FriendlyName) }

// wantedPage returns the desired state of a status page that shows these monitors.
func wantedPage(p Page, monitors map[string]int64) wanted[page] {
	shown := slices.Sorted(maps.Values(monitors))
	return wanted[page]{
		noun: "status page", path: pagesPath, name: p.Name,
		request: struct {
			FriendlyName string  `json:"friendlyName"`
			CustomDomain string  `json:"customDomain"`
			MonitorIDs   []int64 `json:"monitorIds"`
		}{p.Name, p.Domain, shown},
		differs: func(actual page) []string {
			var d differences
			d.compare("name", string(actual.FriendlyName), p.Name)
			d.compare("customDomain", strings.ToLower(string(actual.CustomDomain)), p.Domain)
			var shows []int64
			for _, id := range actual.MonitorIDs {
				shows = append(shows, int64(id))
			}
			slices.Sort(shows)
			d.compare("monitorIds", shows, shown)
			return d
		},
	}
}

// differences has a description for each setting that differs.
type differences []string

func (d *differences) compare(setting string, actual, wanted any) {
	if is, should := fmt.Sprint(actual), fmt.Sprint(wanted); is != should {
		*d = append(*d, fmt.Sprintf("%s is %s and should be %s", setting, is, should))
	}
}
