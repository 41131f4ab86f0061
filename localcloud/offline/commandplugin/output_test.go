package commandplugin

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// quietPeriod is how long a test waits to see that an event does not happen.
const quietPeriod = 300 * time.Millisecond

func writeAll(t *testing.T, target io.Writer, chunks ...string) {
	t.Helper()
	for _, chunk := range chunks {
		written, err := target.Write([]byte(chunk))
		require.NoError(t, err)
		require.Equal(t, len(chunk), written)
	}
}

// finishOutput returns the outputs of a command that succeeded.
func finishOutput(t *testing.T, out *output) CommandOutputs {
	t.Helper()
	all, err := out.finish("", nil)
	require.NoError(t, err)
	return all
}

func TestOutputIsShownLineByLineWithoutCarriageReturns(t *testing.T) {
	shown := captureLog(t)
	out := newOutput(t.Context(), nil)
	writeAll(t, out.stdout, "one\ntw", "o\r\n", "\nlast")
	finishOutput(t, out)
	require.Equal(t, []string{"one", "two", "", "last"}, shown())
	require.Equal(t, "one\ntwo\r\n\nlast", finishOutput(t, out).Stdout)
}

func TestLoggingSelectsShownOutput(t *testing.T) {
	value := func(logging Logging) *Logging { return &logging }
	for _, test := range []struct {
		logging *Logging
		shown   []string
	}{
		{nil, []string{"out", "err"}},
		{value(LogStdoutAndStderr), []string{"out", "err"}},
		{value(LogStdout), []string{"out"}},
		{value(LogStderr), []string{"err"}},
		{value(LogNone), nil},
		{value("everything"), nil},
	} {
		shown := captureLog(t)
		out := newOutput(t.Context(), test.logging)
		writeAll(t, out.stdout, "out\n")
		writeAll(t, out.stderr, "err\n")
		finishOutput(t, out)
		require.Equal(t, test.shown, shown())
	}
}

func TestHiddenOutputIsReturnedAndInError(t *testing.T) {
	none := LogNone
	out := newOutput(t.Context(), &none)
	writeAll(t, out.stdout, "result\n\n")
	finishOutput(t, out)
	require.Equal(t, "result\n", finishOutput(t, out).Stdout)
	_, failure := out.finish("make", errors.New("exit status 2"))
	require.EqualError(t, failure, "exit status 2: running \"make\":\nresult\n\n")
}

func TestLineOf64KiBBlocksWriterForever(t *testing.T) {
	for _, test := range []struct {
		name   string
		chunk  string
		blocks bool
	}{
		{"longest line that is shown", strings.Repeat("x", 64<<10-1) + "\n", false},
		{"line of 64 KiB", strings.Repeat("x", 64<<10) + "\n", true},
		{"progress bar", strings.Repeat("100 %\r", 64<<10/6+1), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			captureLog(t)
			ctx, cancel := context.WithCancel(t.Context())
			out := newOutput(ctx, nil)
			// Unblocks the writer when the test ends.
			t.Cleanup(func() { _ = out.lines.CloseWithError(errors.New("test over")) })
			written := make(chan error, 1)
			go func() {
				_, err := io.WriteString(out.stdout, test.chunk)
				if err == nil {
					_, err = io.WriteString(out.stdout, "what comes then\n")
				}
				written <- err
			}()
			cancel()
			if !test.blocks {
				require.NoError(t, <-written)
				return
			}
			<-out.done
			select {
			case err := <-written:
				require.Fail(t, "the write did not block", err)
			case <-time.After(quietPeriod):
			}
		})
	}
}

func TestHiddenLineOf64KiBDoesNotBlock(t *testing.T) {
	none := LogNone
	out := newOutput(t.Context(), &none)
	line := strings.Repeat("x", 64<<10)
	writeAll(t, out.stdout, line, "\n")
	finishOutput(t, out)
	require.Equal(t, line, finishOutput(t, out).Stdout)
}
