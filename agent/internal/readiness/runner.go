package readiness

import "context"

// Runner runs commands. It is how this package asks Docker and systemd, and
// where tests answer in their place.
type Runner interface {
	// Run returns what the command wrote on stdout. The error of a command
	// that fails names the command and what it wrote on stderr.
	Run(ctx context.Context, command Command) ([]byte, error)
}
