// Package uptime reconciles the resources of a stack at UptimeRobot: monitors, the web-hook that is notified of
// outages, and a public status page. It implements the required part of version 3 of the API.
package uptime

import "slices"

// Desired is the desired state. It contains no secret. A resource at UptimeRobot with one of its names belongs to the
// stack.
type Desired struct {
	Monitors []Monitor `json:"monitors"`
	// Contact is the name of the web-hook that is notified of the outages of all monitors. Optional: without it, no alert
	// is sent.
	Contact string `json:"contact,omitempty"`
	// Page is the public status page. Optional.
	Page *Page `json:"page,omitempty"`
}

// Monitor is a page that UptimeRobot probes periodically with GET.
type Monitor struct {
	// Key identifies the monitor within the stack, Name is its display name.
	Key  string `json:"key"`
	Name string `json:"name"`
	URL  string `json:"url"`
	// Keyword is a text that the page must contain, case-sensitively. Optional: without it, any response that is not an
	// error is accepted.
	Keyword string `json:"keyword,omitempty"`
	// Interval is the time between two probes, Timeout the time that a response may take, in seconds.
	Interval int `json:"interval"`
	Timeout  int `json:"timeout"`
}

// Page is a public status page that shows the state of all monitors.
type Page struct {
	Name string `json:"name"`
	// Domain is the page's domain name, which has a CNAME record to PageHost.
	Domain string `json:"domain"`
}

const (
	// API is the URL of UptimeRobot's API.
	API = "https://api.uptimerobot.com/v3"
	// PageHost is the host that serves status pages under custom domains.
	PageHost = "stats.uptimerobot.com"
)

// IDs are the ids of the created resources. They identify resources that were renamed since.
type IDs struct {
	Contact int64 `json:"contact,omitempty"`
	// Monitors maps the monitors' keys to their ids.
	Monitors map[string]int64 `json:"monitors,omitempty"`
	Page     int64            `json:"page,omitempty"`
}

// wantsMonitor reports whether a monitor with this key is desired.
func (d Desired) wantsMonitor(key string) bool {
	return slices.ContainsFunc(d.Monitors, func(m Monitor) bool { return m.Key == key })
}
