package proc

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestErrorContainsTheCommandAndItsOutput(t *testing.T) {
	for name, test := range map[string]struct {
		script string
		want   string
	}{
		"with output":    {"echo 'no daemon' >&2; exit 3", "exit status 3: no daemon"},
		"without output": {"exit 3", "exit status 3"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := System{}.Run(t.Context(), Command{Args: []string{"sh", "-c", test.script}})
			require.EqualError(t, err, "sh -c "+test.script+": "+test.want)
		})
	}
	_, err := System{}.Run(t.Context(), Command{Args: []string{"no-such-program"}})
	require.ErrorContains(t, err, `no-such-program: exec: "no-such-program": executable file not found`)
}

func TestHangingCommandEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the check is over"))
	_, err := System{}.Run(ctx, Command{Args: []string{"sleep", "60"}})
	require.EqualError(t, err, "sleep 60: the check is over")
}

func TestOutputContainsStderrOnRequest(t *testing.T) {
	script := Command{Dir: t.TempDir(), Args: []string{"sh", "-c", "pwd; echo error >&2"}, WithStderr: true}
	output, err := System{}.Run(t.Context(), script)
	require.NoError(t, err)
	require.Equal(t, script.Dir+"\nerror\n", string(output))

	script.WithStderr = false
	output, err = System{}.Run(t.Context(), script)
	require.NoError(t, err)
	require.Equal(t, script.Dir+"\n", string(output))
}
