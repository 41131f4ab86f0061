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

// shortly is how long a test watches for an event that must not happen.
const shortly = 300 * time.Millisecond

func writeAll(t *testing.T, target io.Writer, chunks ...string) {
	t.Helper()
	for _, chunk := range chunks {
		written, err := target.Write([]byte(chunk))
		require.NoError(t, err)
		require.Equal(t, len(chunk), written)
	}
}

// outputs are those of a command that succeeded.
func outputs(t *testing.T, out *output) CommandOutputs {
	t.Helper()
	all, err := out.finish("", nil)
	require.NoError(t, err)
	return all
}

func TestOutputIsShownLineByLineWithoutCarriageReturns(t *testing.T) {
	shown := captureLog(t)
	out := newOutput(t.Context(), nil)
	writeAll(t, out.stdout, "one\ntw", "o\r\n", "\nlast")
	outputs(t, out)
	require.Equal(t, []string{"one", "two", "", "last"}, shown())
	require.Equal(t, "one\ntwo\r\n\nlast", outputs(t, out).Stdout)
}

func TestLoggingChoosesWhatIsShown(t *testing.T) {
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
		outputs(t, out)
		require.Equal(t, test.shown, shown())
	}
}

func TestHiddenOutputIsStillReturnedAndInTheError(t *testing.T) {
	none := LogNone
	out := newOutput(t.Context(), &none)
	writeAll(t, out.stdout, "result\n\n")
	outputs(t, out)
	require.Equal(t, "result\n", outputs(t, out).Stdout)
	_, failure := out.finish("make", errors.New("exit status 2"))
	require.EqualError(t, failure, "exit status 2: running \"make\":\nresult\n\n")
}

func TestALineOf64KiBBlocksWhatWritesForGood(t *testing.T) {
	for _, test := range []struct {
		name   string
		chunk  string
		blocks bool
	}{
		{"the longest line that is shown", strings.Repeat("x", 64<<10-1) + "\n", false},
		{"a line of 64 KiB", strings.Repeat("x", 64<<10) + "\n", true},
		{"a progress bar", strings.Repeat("100 %\r", 64<<10/6+1), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			captureLog(t)
			ctx, cancel := context.WithCancel(t.Context())
			out := newOutput(ctx, nil)
			// Lets what blocks go when the test ends.
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
			<-out.shown
			select {
			case err := <-written:
				require.Fail(t, "written", err)
			case <-time.After(shortly):
			}
		})
	}
}

func TestAnUnshownLineOf64KiBBlocksNothing(t *testing.T) {
	none := LogNone
	out := newOutput(t.Context(), &none)
	line := strings.Repeat("x", 64<<10)
	writeAll(t, out.stdout, line, "\n")
	outputs(t, out)
	require.Equal(t, line, outputs(t, out).Stdout)
}
