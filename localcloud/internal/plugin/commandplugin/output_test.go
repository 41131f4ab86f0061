package commandplugin

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOutputIsShownLineByLineAsItArrives(t *testing.T) {
	var shown []string
	stream := &stream{both: &lockedBuffer{}, show: func(line string) { shown = append(shown, line) }}
	for _, chunk := range []string{"one\ntw", "o\n", "\nlast"} {
		written, err := stream.Write([]byte(chunk))
		require.NoError(t, err)
		require.Equal(t, len(chunk), written)
	}
	require.Equal(t, []string{"one", "two", ""}, shown)
	stream.end()
	require.Equal(t, []string{"one", "two", "", "last"}, shown)
	require.Equal(t, "one\ntwo\n\nlast", stream.all.String())
}

func TestLoggingChoosesWhatIsShown(t *testing.T) {
	value := func(logging Logging) *Logging { return &logging }
	for _, test := range []struct {
		logging        *Logging
		stdout, stderr bool
	}{
		{nil, true, true},
		{value(LogStdoutAndStderr), true, true},
		{value(LogStdout), true, false},
		{value(LogStderr), false, true},
		{value(LogNone), false, false},
	} {
		out := newOutput(context.Background(), test.logging)
		require.Equal(t, test.stdout, out.stdout.show != nil)
		require.Equal(t, test.stderr, out.stderr.show != nil)
	}
}

func TestHiddenOutputIsStillReturnedAndInTheError(t *testing.T) {
	none := LogNone
	out := newOutput(context.Background(), &none)
	_, err := out.stdout.Write([]byte("result\n\n"))
	require.NoError(t, err)
	require.Equal(t, "result\n", out.outputs().Stdout)
	require.EqualError(t, out.failure("make", errors.New("exit status 2")), "exit status 2: running \"make\":\nresult\n\n")
}
