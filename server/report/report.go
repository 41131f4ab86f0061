// Package report is the format in which a server that has just received the VIP reports how its visitors fare, and in
// which its predecessor signals that it still runs. The agent writes both, the bake reads them.
package report

import "time"

// Key is the key of the report in the backup bucket.
const Key = "handover/report.json"

// StandbyKey is the key of the sign of life that a server sends every StandbyPause once the VIP has moved to its
// successor.
const StandbyKey, StandbyPause = "handover/standby.json", 5 * time.Second

// Standby is a sign of life.
type Standby struct {
	// Server is the id of the instance, Time the time by its clock.
	Server string    `json:"server"`
	Time   time.Time `json:"time"`
}

// Report is the state of a server. Durations are in seconds, shares between 0 and 1.
type Report struct {
	// Server is the id of the instance, Time the time by its clock.
	Server string    `json:"server"`
	Time   time.Time `json:"time"`
	// Last is true if no further report follows.
	Last bool `json:"last,omitempty"`
	// Checks has the results of `agent ready`.
	Checks []Check `json:"checks"`
	// Figures has the figures of this server and of the previous one, by their ids. A figure that was not measured is nil.
	Figures map[string]Figures `json:"figures"`
	// Missing is why there are no figures; "" otherwise.
	Missing string `json:"missing,omitempty"`
	// Logs has the last log lines of each failing service.
	Logs map[string][]string `json:"logs,omitempty"`
}

// Check is the result of one readiness check.
type Check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Since is when the check last changed its state, in UTC, with a precision of one second.
	Since  time.Time `json:"since"`
	Detail string    `json:"detail"`
}

// Figures has the measurements of a server.
type Figures struct {
	// Errors is the share of responses with a 5xx status, Latency the 95th percentile of response times.
	Errors  *float64 `json:"errors,omitempty"`
	Latency *float64 `json:"latency,omitempty"`
	// Memory and Disk are the available shares.
	Memory *float64 `json:"memory,omitempty"`
	Disk   *float64 `json:"disk,omitempty"`
	// Restarts is how often containers have restarted since they were created.
	Restarts *float64 `json:"restarts,omitempty"`
}
