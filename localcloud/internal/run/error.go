package run

import (
	"fmt"
	"strings"
)

// outputLines is how much of a failed command's output its error shows.
const outputLines = 20

// Error is a command that failed, with its command line and the last lines of its output.
type Error struct {
	Command Command
	Output  string // standard output, and standard error after it
	Err     error
}

func (e *Error) Error() string {
	text := fmt.Sprintf("%s: %v", strings.Join(append([]string{e.Command.Name}, e.Command.Args...), " "), e.Err)
	output := strings.TrimSpace(e.Output)
	if output == "" {
		return text
	}
	lines := strings.Split(output, "\n")
	return text + "\n  " + strings.Join(lines[max(0, len(lines)-outputLines):], "\n  ")
}

func (e *Error) Unwrap() error { return e.Err }
