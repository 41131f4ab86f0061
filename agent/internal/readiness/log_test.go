package readiness

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/proc"
)

// answers is a Runner that responds to each command, as it would be typed, with a text. An unknown command fails.
type answers map[string]string

func (a answers) Run(_ context.Context, command proc.Command) ([]byte, error) {
	text, ok := a[command.String()]
	if !ok {
		return nil, fmt.Errorf("%s: exec: %q: executable file not found in $PATH", command, command.Args[0])
	}
	return []byte(text), nil
}

// fails is a Runner whose commands all fail in the same way.
type fails string

func (f fails) Run(_ context.Context, command proc.Command) ([]byte, error) {
	return nil, fmt.Errorf("%s: exit status 1: %s", command, string(f))
}

func logNames(result Result) []string {
	var names []string
	for _, log := range result.Logs {
		names = append(names, log.Name)
	}
	return names
}

func TestLogHasItsLastLinesWithoutControlSequences(t *testing.T) {
	log := unitLog("agent-pull.service")
	lines := strings.Repeat("old\n", 30) + "\x1b[2K\x1b[31mweb-1  | \x1b[0mred\r\n\nlast\xff"
	read := log.tail(t.Context(), answers{log.Command.String(): lines})
	require.Len(t, read, logLines)
	require.Equal(t, []string{"old", "web-1  | red", "last\uFFFD"}, read[logLines-3:])
}

func TestEmptyLogIsAnEmptyList(t *testing.T) {
	log := unitLog("agent-pull.service")
	require.Equal(t, []string{}, log.tail(t.Context(), answers{log.Command.String(): "\n"}))
}

func TestUnreadableLogIsReported(t *testing.T) {
	require.Equal(t, []string{
		"cannot read this log: journalctl --unit x.service --no-pager --lines 20 --output cat: exit status 1: no journal",
	},
		unitLog("x.service").tail(t.Context(), fails("no journal\n")))
}
