package readiness

import "context"

// Check is one of the conditions that must hold before visitors are sent to
// this server.
type Check interface {
	// Name is the check's name in reports: one word.
	Name() string
	// Look finds out whether the condition holds now. Whatever keeps it from
	// finding out is a finding as well: the condition then does not hold.
	Look(ctx context.Context) Finding
}
