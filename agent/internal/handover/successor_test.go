package handover

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/bucket"
)

// newSuccessor returns a ready server named i-new, its data, and its output.
func newSuccessor(store *memory) (successor Successor, data *collected, out *bytes.Buffer) {
	data, out = &collected{}, &bytes.Buffer{}
	return Successor{
		Server: "i-new", Store: store, Data: data, Wait: 30 * time.Second, Window: 2 * time.Minute, Out: out,
	}, data, out
}

const oldHolds = `{"server":"i-old","since":"2026-11-23T04:39:21Z"}`

func TestOldServerHandsOverToNewServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := start(t, vip)
		defer old.stop()
		advance(1300 * time.Millisecond)
		successor, data, out := newSuccessor(old.bucket)
		begin := time.Now()
		require.NoError(t, successor.TakeOver(t.Context()))
		// 0.7 seconds until the old server's check, three for its visitors, and the rest until the new server's
		// next read.
		require.Equal(t, "handover: i-old handed over after 3.8 s\n", out.String())
		require.Equal(t, []string{"release"}, old.data.taken())
		require.Equal(t, []string{"restore"}, data.taken())
		require.Equal(t, Draining, old.proxy.current())
		announcement := stored[HandoverRequest](t, old.bucket, RequestKey)
		require.Equal(t, "i-new", announcement.Server)
		require.Equal(t, begin.UTC(), announcement.Requested)
		require.Equal(t, begin.Add(2*time.Minute).UTC(), announcement.Expires)
	})
}

func TestRepeatedRequestIsAcknowledgedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := start(t, vip)
		defer old.stop()
		successor, _, out := newSuccessor(old.bucket)
		require.NoError(t, successor.TakeOver(t.Context()))
		first := stored[HandoverRequest](t, old.bucket, RequestKey).ID
		out.Reset()
		require.NoError(t, successor.TakeOver(t.Context()))
		require.Contains(t, out.String(), "handover: i-old handed over after ")
		require.NotEqual(t, first, stored[HandoverRequest](t, old.bucket, RequestKey).ID)
	})
}

func TestFirstServerDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		successor, data, out := newSuccessor(store)
		begin := time.Now()
		require.NoError(t, successor.TakeOver(t.Context()))
		require.Zero(t, time.Since(begin))
		require.Equal(t, "handover: no previous server\n", out.String())
		require.Empty(t, writes(store.takeRequests()))
		require.Equal(t, []string{"resume"}, data.taken(), "no other server collects")
	})
}

func TestServerDoesNotTakeOverFromItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		store.write(HolderKey, `{"server":"i-new","since":"2026-11-23T04:39:21Z"}`)
		successor, data, out := newSuccessor(store)
		require.NoError(t, successor.TakeOver(t.Context()))
		require.Equal(t, "handover: this server already holds the VIP\n", out.String())
		require.Empty(t, writes(store.takeRequests()))
		require.Equal(t, []string{"resume"}, data.taken(), "its own data is authoritative")
	})
}

func TestWaitForDeadServerIsBounded(t *testing.T) {
	for name, prepare := range map[string]func(*memory){
		"no acknowledgment":            func(*memory) {},
		"acknowledged another request": func(m *memory) { m.write(AckKey, `{"announcement":"i-new-1","server":"i-old"}`) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newMemory()
				store.write(HolderKey, oldHolds)
				prepare(store)
				successor, data, out := newSuccessor(store)
				begin := time.Now()
				require.NoError(t, successor.TakeOver(t.Context()))
				require.Equal(t, 30*time.Second, time.Since(begin))
				require.Equal(t, "handover: i-old did not answer within 30s: continuing without its last data\n", out.String())
				require.Equal(t, []string{"restore"}, data.taken())
			})
		})
	}
}

func TestUnreadableAcknowledgmentIsIgnoredAndReported(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(*memory)
		want    string
	}{
		"unreachable": {func(m *memory) { m.fail("GET "+AckKey, errors.New("no route to host")) }, "no route to host"},
		"invalid": {
			func(m *memory) { m.write(AckKey, "{}") }, "handover/answer.json is invalid: a required field is missing",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newMemory()
				store.write(HolderKey, oldHolds)
				test.prepare(store)
				successor, _, out := newSuccessor(store)
				require.NoError(t, successor.TakeOver(t.Context()))
				require.Equal(t, "handover: i-old did not answer within 30s: continuing without its last data ("+test.want+")\n",
					out.String())
			})
		})
	}
}

func TestTemporaryFailureOfBucketOnlyDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := start(t, vip)
		defer old.stop()
		old.bucket.fail("GET "+AckKey, errors.New("no route to host"))
		time.AfterFunc(10*time.Second, func() { old.bucket.fail("GET "+AckKey, nil) })
		successor, _, out := newSuccessor(old.bucket)
		require.NoError(t, successor.TakeOver(t.Context()))
		require.Regexp(t, `^handover: i-old handed over after 10\.\d s\n$`, out.String())
	})
}

func TestInvalidHolderRecordDoesNotPreventTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := start(t, vip)
		defer old.stop()
		old.bucket.write(HolderKey, "{}")
		successor, _, out := newSuccessor(old.bucket)
		require.NoError(t, successor.TakeOver(t.Context()))
		require.Regexp(t,
			`^handover: handover/holder\.json is invalid: a required field is missing: requesting the handover anyway
handover: the previous server handed over after \d\.\d s
$`, out.String())
	})
}

func TestErrorOfDeniedBucketNamesTheCause(t *testing.T) {
	const advice = "access denied: check what this server's role may do in the backup bucket"
	for request, want := range map[string]string{
		"GET " + HolderKey:  "cannot read which server holds the VIP: " + advice,
		"PUT " + RequestKey: "cannot request the handover: " + advice,
	} {
		t.Run(request, func(t *testing.T) {
			store := newMemory()
			store.write(HolderKey, oldHolds)
			store.fail(request, bucket.ErrDenied)
			successor, data, out := newSuccessor(store)
			require.EqualError(t, successor.TakeOver(t.Context()), want)
			require.Empty(t, out.String())
			require.Empty(t, data.taken())
		})
	}
}

func TestCancelledWaitEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		store.write(HolderKey, oldHolds)
		successor, data, _ := newSuccessor(store)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(5*time.Second, cancel)
		begin := time.Now()
		require.EqualError(t, successor.TakeOver(ctx), "cannot await the handover of i-old: context canceled")
		require.Equal(t, 5*time.Second, time.Since(begin))
		require.Empty(t, data.taken())
	})
}

func TestServerThatCannotCollectIsNotReady(t *testing.T) {
	store := newMemory()
	successor, data, _ := newSuccessor(store)
	data.onResume(func(context.Context) error { return errors.New("it is unhealthy") })
	require.EqualError(t, successor.TakeOver(t.Context()), "cannot start collecting data: it is unhealthy")
}
