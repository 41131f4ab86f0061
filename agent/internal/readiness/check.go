package readiness

import (
	"context"
	"strings"
)

// Check is a condition that must hold before the server gets visitors.
type Check interface {
	// Name is one word for reports.
	Name() string
	// Check reports whether the condition holds now. If an error prevents that, the result is a Fail.
	Check(ctx context.Context) Result
}

// Verdict is the outcome of a check.
type Verdict int

const (
	Fail Verdict = iota
	Pass
	// Undecided: the result is unknown for now, for example while the checked job runs. The
	// previous verdict stays.
	Undecided
)

// Result is what a check found.
type Result struct {
	Verdict Verdict
	// Detail is one line: the facts that passed, or all problems.
	Detail string
	// Logs may show the cause of a Fail.
	Logs []Log
}

func pass(detail string) Result { return Result{Verdict: Pass, Detail: detail} }

func fail(detail string, logs ...Log) Result { return Result{Detail: detail, Logs: logs} }

func failed(err error, logs ...Log) Result { return fail(oneLine(err.Error()), logs...) }

// parts collects the results of a check with several parts, all of which must pass.
type parts struct {
	passed, problems []string
	logs             []Log
}

func (p *parts) pass(detail string) { p.passed = append(p.passed, detail) }

func (p *parts) fail(detail string, logs ...Log) {
	p.problems, p.logs = append(p.problems, detail), append(p.logs, logs...)
}

func (p *parts) result() Result {
	if len(p.problems) > 0 {
		return fail(strings.Join(p.problems, "; "), p.logs...)
	}
	return pass(strings.Join(p.passed, "; "))
}
