// Package uptime keeps what one stack has at UptimeRobot as it should be: its
// monitors, the web-hook that is told of outages, and a public status page. It
// speaks version 3 of the API, and as much of it as that takes.
package uptime

import "slices"

// Desired is what a stack wants to have. It holds no secret. What is at
// UptimeRobot under one of its names is taken for the stack's own.
type Desired struct {
	Monitors []Monitor `json:"monitors"`
	// Contact is the name of the web-hook that all monitors tell of outages.
	// Optional: without it, nobody is told.
	Contact string `json:"contact,omitempty"`
	// Page is the public status page. Optional.
	Page *Page `json:"page,omitempty"`
}

// Monitor is a page that is asked for again and again, with GET.
type Monitor struct {
	// Key tells the monitors of a stack apart, whatever they are called.
	Key string `json:"key"`
	// Name is what people see of it.
	Name string `json:"name"`
	URL  string `json:"url"`
	// Keyword is what the page must have in it, in these letters. Optional:
	// without it, any page that is no error will do.
	Keyword string `json:"keyword,omitempty"`
	// Interval is how many seconds pass between two questions, and Timeout how
	// many an answer may take.
	Interval int `json:"interval"`
	Timeout  int `json:"timeout"`
}

// Page shows the state of all monitors to everybody.
type Page struct {
	Name string `json:"name"`
	// Domain is where it is shown: a name with a CNAME record to PageHost.
	Domain string `json:"domain"`
}

const (
	// API is where UptimeRobot's is.
	API = "https://api.uptimerobot.com/v3"
	// PageHost is the host that shows status pages under their owners' names.
	PageHost = "stats.uptimerobot.com"
)

// Made are the ids of what was made. They find what was renamed since.
type Made struct {
	Contact int64 `json:"contact,omitempty"`
	// Monitors are by the monitors' keys.
	Monitors map[string]int64 `json:"monitors,omitempty"`
	Page     int64            `json:"page,omitempty"`
}

// wantsMonitor says whether a monitor with that key is desired.
func (d Desired) wantsMonitor(key string) bool {
	return slices.ContainsFunc(d.Monitors, func(m Monitor) bool { return m.Key == key })
}
