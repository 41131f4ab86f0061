package readiness

// Verdict is what a look at a condition found.
type Verdict int

const (
	// Fails: the condition does not hold.
	Fails Verdict = iota
	// Holds: the condition holds.
	Holds
	// Undecided: it cannot be told at this moment, as while a job runs whose
	// result is asked for. What was found before still counts.
	Undecided
)

// Finding is the result of one look.
type Finding struct {
	Verdict Verdict
	// Detail is one line: what holds, or everything that does not.
	Detail string
	// Logs are where the reason of what fails is to be found.
	Logs []Log
}
