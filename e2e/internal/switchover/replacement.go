// Package switchover evaluates replacements of the server by their externally visible effects and reports the figures.
package switchover

import (
	"fmt"
	"time"

	"immutable-infra/e2e/internal/engine"
	"immutable-infra/e2e/internal/load"
)

// GapLimit is the maximum time without a correct response for any visitor, not counting the delay with which this
// machine sent requests.
const GapLimit = 250 * time.Millisecond

// NextRequest is the maximum time after a move until a visitor who keeps a connection sends the next request, and then
// notices that the connection was cut.
const NextRequest = 500 * time.Millisecond

// associationType is the type of the resource whose creation moves the VIP.
const associationType = "aws:ec2/eipAssociation:EipAssociation"

// Replacement is an update that created a new server, with its effects.
type Replacement struct {
	Generation int
	// Move is how the VIP moved.
	Move Move
	// Began and Ended are the times of the whole `pulumi up`.
	Began, Ended time.Time
	Engine       engine.Log
	Load         load.Report
	Logins       []Login
}

// Login is an SSH login that runs a no-op.
type Login struct {
	At     time.Time
	Took   time.Duration
	Status int
	Stderr string
}

// moves returns the steps that moved the VIP.
func (r Replacement) moves() []engine.Step {
	var moves []engine.Step
	for _, step := range r.Engine.Steps {
		if step.Creates() && step.Type == associationType && !step.Ended.IsZero() {
			moves = append(moves, step)
		}
	}
	return moves
}

// inFlight reports whether a request that was sent at a time and took some time was in progress while the VIP moved,
// while packets were lost, or within a grace period after that. A connection that a move cuts gets no response. A move
// that loses nothing excuses no failure.
func (r Replacement) inFlight(at time.Time, took, grace time.Duration) bool {
	if !r.Move.Loses() {
		return false
	}
	for _, move := range r.moves() {
		if !at.After(move.Ended.Add(r.Move.Lost()+grace)) && !at.Add(took).Before(move.Began) {
			return true
		}
	}
	return false
}

// moved returns how long it took until the VIP was at the new server, or zero.
func (r Replacement) moved() time.Duration {
	moves := r.moves()
	if len(moves) == 0 {
		return 0
	}
	return moves[len(moves)-1].Ended.Sub(r.Began)
}

// split divides failures into those in flight at a move, which are its price, and others. A reset within a grace period
// after the move also counts as in flight.
func (r Replacement) split(failures []load.Failure, grace time.Duration) (inFlight, others []load.Failure) {
	for _, failure := range failures {
		grace := grace
		if failure.Kind != "reset" {
			grace = 0
		}
		if r.inFlight(failure.At, failure.Took, grace) {
			inFlight = append(inFlight, failure)
		} else {
			others = append(others, failure)
		}
	}
	return inFlight, others
}

// Problems returns the effects that visitors or admins noticed but should not have. It should be empty.
func (r Replacement) Problems() []string {
	var problems []string
	if len(r.moves()) != 1 {
		problems = append(problems, fmt.Sprintf("the VIP moved %d times", len(r.moves())))
	}
	for _, visitors := range []struct {
		name    string
		summary load.Summary
		grace   time.Duration
	}{{"a fresh visitor", r.Load.Fresh, 0}, {"a visitor with a connection", r.Load.KeepAlive, NextRequest}} {
		_, others := r.split(visitors.summary.Failures, visitors.grace)
		for _, failure := range others {
			problems = append(problems, fmt.Sprintf("%s had %q for %s, sent %s, after %s, not while the VIP moved: %s",
				visitors.name, failure.Kind, failure.Page, r.clock(failure.At), failure.Took.Round(time.Millisecond),
				failure.Detail))
		}
	}
	limit := r.Move.Lost() + GapLimit
	if gap, behind := r.Load.Fresh.LongestGap, r.Load.Fresh.Behind; gap-behind >= limit {
		problems = append(problems,
			fmt.Sprintf("no fresh visitor got an answer for %s, beginning %s; the limit is %s plus %s, by which this machine "+
				"was late",
				gap.Round(time.Millisecond), r.clock(r.Load.Fresh.GapAt), limit, behind.Round(time.Millisecond)))
	}
	if len(r.Logins) == 0 {
		problems = append(problems, "no login was attempted")
	}
	for _, login := range r.Logins {
		switch {
		case login.Status == 0 && login.Stderr != "":
			problems = append(problems,
				fmt.Sprintf("a login %s printed an unexpected message: %s", r.clock(login.At), login.Stderr))
		case login.Status != 0 && !r.inFlight(login.At, login.Took, 0):
			problems = append(problems, fmt.Sprintf("a login %s failed with status %d after %s, not while the VIP moved: %s",
				r.clock(login.At), login.Status, login.Took.Round(time.Millisecond), login.Stderr))
		}
	}
	return problems
}

// clock formats a time relative to the beginning of the update.
func (r Replacement) clock(at time.Time) string {
	return fmt.Sprintf("%.1f s after the update began", at.Sub(r.Began).Seconds())
}
