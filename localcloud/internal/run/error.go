package run

import (
	"fmt"
	"strings"
)

// outputLines is how much of a failed command's output its error shows.
const outputLines = 20

// Error is a command that failed, with its command line and the last lines of
// its output.
type Error struct {
	Command Command
	Output  string // standard output, and standard error after it
	Err     error
}

func (e *Error) Error() string {
	line := strings.Join(append([]string{e.Command.Name}, e.Command.Args...), " ")
	output := strings.TrimSpace(e.Output)
	if output == "" {
		return fmt.Sprintf("%s: %v", line, e.Err)
	}
	lines := strings.Split(output, "\n")
	if len(lines) > outputLines {
		lines = lines[len(lines)-outputLines:]
	}
	return fmt.Sprintf("%s: %v\n  %s", line, e.Err, strings.Join(lines, "\n  "))
}

func (e *Error) Unwrap() error { return e.Err }
