package readiness

import "strings"

// Command is a program with its arguments.
type Command struct {
	// Dir is where it runs; "" is where the agent runs.
	Dir string
	// Args are the program and its arguments.
	Args []string
	// WithStderr counts what it writes on stderr as output, too.
	WithStderr bool
}

// String is the command as it would be typed.
func (c Command) String() string {
	return strings.Join(c.Args, " ")
}
