package readiness

import (
	"context"
	"strconv"
	"strings"

	"immutable-infra/agent/internal/proc"
)

const (
	// logLines is how many lines of a log a report contains.
	logLines = 20
	// containerLogLines is how many lines of a container's log are read to get that many: each check adds a line
	// for each file to the web server's log, and these are omitted.
	containerLogLines = 2000
	// UserAgent marks the agent's own requests in such a log.
	UserAgent = "agent-ready"
)

// Log is a log that helps to explain a failure.
type Log struct {
	// Name is the source of the log: a service of the compose project or a systemd unit.
	Name    string
	Command proc.Command
}

func serviceLog(project, service string) Log {
	return Log{Name: service, Command: proc.Command{
		Dir: project,
		Args: []string{
			"docker", "compose", "logs", "--no-color", "--no-log-prefix", "--tail", strconv.Itoa(containerLogLines), service,
		},
		WithStderr: true,
	}}
}

func projectLog(project string) Log {
	return Log{Name: "containers", Command: proc.Command{
		Dir:        project,
		Args:       []string{"docker", "compose", "logs", "--no-color", "--tail", strconv.Itoa(containerLogLines)},
		WithStderr: true,
	}}
}

// probeLog returns the log of a container's health check, whose output no other log contains.
func probeLog(service, container string) Log {
	return Log{Name: service + ": health check", Command: proc.Command{
		Args: []string{
			"docker", "inspect", "--format", "{{range .State.Health.Log}}exit code {{.ExitCode}}: {{println .Output}}{{end}}",
			container,
		},
	}}
}

func unitLog(unit string) Log {
	return Log{Name: unit, Command: proc.Command{
		Args: []string{"journalctl", "--unit", unit, "--no-pager", "--lines", strconv.Itoa(logLines), "--output", "cat"},
	}}
}

// tail reads the last lines of the log, without those about the agent's own requests. If the log cannot be read,
// it returns one line with the error, because that must not prevent a report.
func (l Log) tail(ctx context.Context, runner proc.Runner) []string {
	output, err := runner.Run(ctx, l.Command)
	if err != nil {
		return []string{"cannot read this log: " + oneLine(err.Error())}
	}
	lines := []string{}
	for line := range strings.Lines(string(output)) {
		if line = strings.TrimSpace(line); line != "" && !strings.Contains(line, UserAgent) {
			lines = append(lines, printable(line))
		}
	}
	return lines[max(0, len(lines)-logLines):]
}
