package pause

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSwitchWaitsUntilRequestIsFulfilled(t *testing.T) {
	for name, request := range map[string]func(Switch, context.Context) error{
		"pause": Switch.Pause, "resume": Switch.Resume,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				time.AfterFunc(3*time.Second, func() { require.NoError(t, os.Remove(filepath.Join(dir, name))) })
				begin := time.Now()
				require.NoError(t, request(Switch{Dir: dir, Timeout: time.Minute}, t.Context()))
				require.InDelta(t, 3, time.Since(begin).Seconds(), 0.1)
			})
		})
	}
}

func TestErrorNamesTheUnitThatDoesNotRespond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		err := Switch{Dir: dir, Timeout: time.Minute}.Pause(t.Context())
		require.EqualError(t, err,
			"cannot pause: "+dir+"/pause still exists after 1m0s: check the systemd unit that waits for it")
		// The response comes late: only the last request matters.
		time.AfterFunc(time.Second, func() { require.NoError(t, os.Remove(filepath.Join(dir, "resume"))) })
		require.NoError(t, Switch{Dir: dir, Timeout: time.Minute}.Resume(t.Context()))
		require.NoFileExists(t, filepath.Join(dir, "pause"))
	})
}

func TestCancelledWaitEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, Switch{Dir: t.TempDir(), Timeout: time.Minute}.Pause(ctx), context.Canceled)
	require.ErrorContains(t, Switch{Dir: filepath.Join(t.TempDir(), "missing"), Timeout: time.Minute}.Pause(t.Context()),
		"cannot pause: ")
}
