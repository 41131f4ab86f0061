// Package steps prints the progress of a command, one line for each step.
package steps

import (
	"errors"
	"fmt"
	"io"
)

// Printer prints the results of steps.
type Printer struct {
	out io.Writer
}

// NewPrinter returns a Printer that writes to out.
func NewPrinter(out io.Writer) *Printer {
	return &Printer{out: out}
}

// Notice is an error for a step that is skipped without failing the command: the reason, and what to do instead.
type Notice string

func (n Notice) Error() string { return string(n) }

// Run runs one step and prints its result with the detail. It returns the step's error, prefixed with the step's name.
// A Notice is printed but not returned.
func (p *Printer) Run(name string, work func() (detail string, err error)) error {
	detail, err := work()
	var notice Notice
	switch {
	case errors.As(err, &notice):
		fmt.Fprintf(p.out, " – %s: %s\n", name, notice)
		return nil
	case err != nil:
		fmt.Fprintf(p.out, " ✗ %s\n", name)
		return fmt.Errorf("%s: %w", name, err)
	case detail != "":
		fmt.Fprintf(p.out, " ✓ %s: %s\n", name, detail)
	default:
		fmt.Fprintf(p.out, " ✓ %s\n", name)
	}
	return nil
}
