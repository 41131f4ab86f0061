// Package uptime reconciles what one stack has at UptimeRobot: its monitors, the web-hook that receives outages, and a
// public status page. It speaks the part of version 3 of the API that this takes.
package uptime

import "slices"

// Desired is the desired state. It holds no secret. A resource at UptimeRobot with one of its names belongs to the
// stack.
type Desired struct {
	Monitors []Monitor `json:"monitors"`
	// Contact is the name of the web-hook that receives the outages of all monitors. Optional:
	// without it, no alert is sent.
	Contact string `json:"contact,omitempty"`
	// Page is the public status page. Optional.
	Page *Page `json:"page,omitempty"`
}

// Monitor is a page that UptimeRobot requests with GET, again and again.
type Monitor struct {
	// Key identifies the monitor within the stack, and Name labels it for people.
	Key  string `json:"key"`
	Name string `json:"name"`
	URL  string `json:"url"`
	// Keyword is a text that the page must contain, case-sensitively. Optional: without it, any
	// page that is no error is accepted.
	Keyword string `json:"keyword,omitempty"`
	// Interval is how many seconds pass between two requests, Timeout how many a response may take.
	Interval int `json:"interval"`
	Timeout  int `json:"timeout"`
}

// Page shows the state of all monitors to everybody.
type Page struct {
	Name string `json:"name"`
	// Domain is the page's name, with a CNAME record to PageHost.
	Domain string `json:"domain"`
}

const (
	// API is the URL of UptimeRobot's API.
	API = "https://api.uptimerobot.com/v3"
	// PageHost is the host that shows status pages under their owners' names.
	PageHost = "stats.uptimerobot.com"
)

// IDs are those of the resources that were created. By them, resources that were renamed since are found.
type IDs struct {
	Contact int64 `json:"contact,omitempty"`
	// Monitors are by the monitors' keys.
	Monitors map[string]int64 `json:"monitors,omitempty"`
	Page     int64            `json:"page,omitempty"`
}

// wantsMonitor reports whether a monitor with that key is desired.
func (d Desired) wantsMonitor(key string) bool {
	return slices.ContainsFunc(d.Monitors, func(m Monitor) bool { return m.Key == key })
}
