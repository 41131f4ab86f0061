package readiness

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"immutable-infra/server/report"
)

// Report describes whether a server is ready, and why not.
type Report struct {
	Ready bool `json:"ready"`
	// Server is the EC2 instance id, or the host name if there is none.
	Server string `json:"server"`
	// Release is the id of the server's release, or "".
	Release string         `json:"release"`
	Checks  []report.Check `json:"checks"`
	// Logs are the last lines of the logs of failing checks, by service or unit.
	Logs map[string][]string `json:"logs,omitempty"`
}

// word returns the state of a check as reports show it.
func word(check report.Check) string {
	if check.OK {
		return "ok"
	}
	return "not ok"
}

// WriteJSON writes the report as one JSON object.
func (r Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(r); err != nil {
		return fmt.Errorf("cannot write the report: %w", err)
	}
	return nil
}

// WriteText writes the report for people: a table, and the logs below it.
func (r Report) WriteText(w io.Writer) error {
	var text strings.Builder
	ready, current := "ready", r.Release
	if !r.Ready {
		ready = "not ready"
	}
	if current == "" {
		current = "none"
	}
	fmt.Fprintf(&text, "%s: server %s, release %s\n\n", ready, r.Server, current)
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "CHECK\tSTATE\tSINCE\tDETAIL")
	for _, check := range r.Checks {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", check.Name, word(check), check.Since.Format(time.RFC3339), check.Detail)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("cannot write the report: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Logs)) {
		fmt.Fprintf(&text, "\nlast lines of the log of %s:\n%s", name, indented(r.Logs[name]))
	}
	if _, err := io.WriteString(w, text.String()); err != nil {
		return fmt.Errorf("cannot write the report: %w", err)
	}
	return nil
}

func indented(lines []string) string {
	if len(lines) == 0 {
		return "  (empty)\n"
	}
	var text strings.Builder
	for _, line := range lines {
		fmt.Fprintf(&text, "  %s\n", line)
	}
	return text.String()
}
