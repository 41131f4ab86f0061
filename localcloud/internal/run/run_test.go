package run_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/run"
)

func TestErrorShowsCommandLineAndOutput(t *testing.T) {
	_, err := run.Exec{}.Run(t.Context(), run.Command{Name: "sh", Args: []string{"-c", "echo good; echo bad >&2; exit 3"}})
	require.EqualError(t, err, "sh -c echo good; echo bad >&2; exit 3: exit status 3\n  good\n  bad")
}

func TestStderrIsNotPartOfOutput(t *testing.T) {
	var stream bytes.Buffer
	output, err := run.Exec{}.Run(t.Context(), run.Command{
		Name: "sh", Args: []string{"-c", "cat; echo $NAME; echo warning >&2"},
		Env: []string{"NAME=value"}, Stdin: strings.NewReader("input\n"), Stream: &stream,
	})
	require.NoError(t, err)
	require.Equal(t, "input\nvalue\n", string(output))
	require.Contains(t, stream.String(), "warning")
}

func TestCanceledCommandIsInterruptedAndCanCleanUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	started := writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil })
	output, err := run.Exec{Grace: 10 * time.Second}.Run(ctx, run.Command{
		Name: "bash", Args: []string{"-c",
			`sleep 60 >/dev/null & trap 'kill $!; echo ended; exit 1' INT; echo started; wait`}, Stream: started,
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, "started\nended\n", string(output))
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
