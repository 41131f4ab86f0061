// Package report is the format in which a server that has just got the VIP reports how its visitors fare. The agent
// writes it, the bake reads it.
package report

import "time"

// Key is the key of the report in the backup bucket.
const Key = "handover/report.json"

// Report is the state of a server. Durations are in seconds, shares between 0 and 1.
type Report struct {
	// Server is the id of the instance, Time its clock.
	Server string    `json:"server"`
	Time   time.Time `json:"time"`
	// Last says that no further report follows.
	Last bool `json:"last,omitempty"`
	// Checks are those of `agent ready`.
	Checks []Check `json:"checks"`
	// Figures are those of this server and of the one before it, by their ids. A figure that was not measured is nil.
	Figures map[string]Figures `json:"figures"`
	// Missing says why there are no figures; "" otherwise.
	Missing string `json:"missing,omitempty"`
	// Logs are the last lines of the logs of what fails, by service.
	Logs map[string][]string `json:"logs,omitempty"`
}

// Check is one condition of readiness.
type Check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Since is when the check came into this state, to the second, in UTC.
	Since  time.Time `json:"since"`
	Detail string    `json:"detail"`
}

// Figures are what a server measures.
type Figures struct {
	// Errors is the share of responses with a status of 5xx, Latency the 95th percentile of response times.
	Errors  *float64 `json:"errors,omitempty"`
	Latency *float64 `json:"latency,omitempty"`
	// Memory and Disk are the shares that are available.
	Memory *float64 `json:"memory,omitempty"`
	Disk   *float64 `json:"disk,omitempty"`
	// Restarts is how often containers were restarted since they were created.
	Restarts *float64 `json:"restarts,omitempty"`
}
