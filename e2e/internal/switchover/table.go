package switchover

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"immutable-infra/e2e/internal/load"
)

// Table formats reports as a table with a line for each kind of visitor. It shows the failures that the move
// excuses, and all others, by kind.
func Table(reports []Report) string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "MOVE\tREPLACEMENTS\tVISITORS\tREQUESTS\tFAILED AT THE MOVE\tFAILED OTHERWISE\tLONGEST GAP\t"+
		"RECONNECTS")
	for _, report := range reports {
		for _, row := range []struct {
			visitors string
			visits   Visits
		}{{"fresh", report.Fresh}, {"kept", report.KeepAlive}} {
			fmt.Fprintf(table, "%s\t%d\t%s\t%d\t%s\t%s\t%.0f ms\t%d\n", report.Move, report.Replacements, row.visitors,
				row.visits.Requests, load.Kinds(row.visits.InFlight), load.Kinds(row.visits.Other), row.visits.LongestGapMs,
				row.visits.Reconnects)
		}
	}
	table.Flush()
	return text.String()
}
