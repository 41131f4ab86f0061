package gateway

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/cloud"
)

// stateWithHolder returns a state with two servers, one of which holds the Elastic IP. A server named "" has
// been terminated.
func stateWithHolder(holder, other string, move cloud.Move) cloud.GatewayState {
	state := cloud.GatewayState{Move: move}
	private := map[string]string{"i-old": "10.42.1.10", "i-new": "10.42.1.11"}
	for _, id := range []string{holder, other} {
		if id == "" {
			continue
		}
		eni := cloud.NetworkInterface{
			InstanceID: id, PrivateIP: netip.MustParseAddr(private[id]),
			Ingress: []cloud.Rule{{Protocol: "-1", CIDRs: prefixes("0.0.0.0/0")}},
			Egress:  []cloud.Rule{{Protocol: "-1", CIDRs: prefixes("0.0.0.0/0")}},
		}
		if id == holder {
			eni.PublicIP, eni.Elastic = vip(), true
		}
		state.Interfaces = append(state.Interfaces, eni)
	}
	return state
}

func vip() netip.Addr { return netip.MustParseAddr("198.18.1.1") }

// prerouting returns the rules of the chain that selects the destination of new packets, and the elements of its
// maps.
func prerouting(t *testing.T, state cloud.GatewayState, r record, now time.Time) []string {
	t.Helper()
	rules, err := Ruleset(config(), state, r.Windows, now)
	require.NoError(t, err)
	var lines []string
	for block := range strings.SplitSeq(rules, "\n\t}") {
		block = strings.TrimSpace(block)
		if strings.Contains(block, "window-") || strings.Contains(block, "inward") {
			for line := range strings.Lines(block) {
				if line = strings.TrimSpace(line); strings.Contains(line, "elements") || strings.Contains(line, "@") {
					lines = append(lines, line)
				}
			}
		}
	}
	return lines
}

func TestWindowShrinksWithEachApply(t *testing.T) {
	move := cloud.Move{Window: 6 * time.Second, Arrive: cloud.AtOld}
	now := time.Now()
	before, moves := record{}.next(stateWithHolder("i-old", "i-new", move), now)
	require.Empty(t, moves, "the address had no previous holder")
	require.Empty(t, before.Windows)

	moved := stateWithHolder("i-new", "i-old", move)
	after, moves := before.next(moved, now)
	require.Len(t, moves, 1)
	require.Equal(t, []string{
		"elements = { 198.18.1.1 : 10.42.1.11 }",
		"elements = { 198.18.1.1 timeout 6000ms : 10.42.1.10 }",
		"meta l4proto != tcp dnat to ip daddr map @window-0",
		"tcp flags & (fin | syn | rst | ack) == syn dnat to ip daddr map @window-0",
		"dnat to ip daddr map @inward",
	}, prerouting(t, moved, after, now))

	now = now.Add(4 * time.Second)
	later, moves := after.next(moved, now)
	require.Empty(t, moves)
	require.Contains(t, prerouting(t, moved, later, now), "elements = { 198.18.1.1 timeout 2000ms : 10.42.1.10 }")

	now = now.Add(2 * time.Second)
	later, _ = later.next(moved, now)
	require.Equal(t, []string{"elements = { 198.18.1.1 : 10.42.1.11 }", "dnat to ip daddr map @inward"},
		prerouting(t, moved, later, now))
}

func TestWindowDropsPacketsAfterOldInstanceTerminates(t *testing.T) {
	move := cloud.Move{Window: 6 * time.Second, Arrive: cloud.AtOld}
	now := time.Now()
	before, _ := record{}.next(stateWithHolder("i-old", "i-new", move), now)
	before, _ = before.next(stateWithHolder("i-new", "i-old", move), now)
	alone := stateWithHolder("i-new", "", move)
	after, _ := before.next(alone, now)
	require.Equal(t, []string{
		"elements = { 198.18.1.1 : 10.42.1.11 }", "elements = { 198.18.1.1 timeout 6000ms }", "ip daddr @window-0 drop",
		"dnat to ip daddr map @inward",
	}, prerouting(t, alone, after, now))
}

func TestAssociationsTakeEffectInOrder(t *testing.T) {
	began := time.Now()
	slow := cloud.Move{Window: 30 * time.Second, Arrive: cloud.AtOld}
	before, _ := record{}.next(stateWithHolder("i-old", "i-new", slow), began)
	moved, _ := before.next(stateWithHolder("i-new", "i-old", slow), began)

	for name, c := range map[string]struct {
		move    cloud.Move
		windows []time.Duration
	}{
		"return with the same window": {slow, []time.Duration{20 * time.Second, 30 * time.Second}},
		"return with a window that ends earlier": {
			cloud.Move{Window: time.Second, Arrive: cloud.AtOld}, []time.Duration{time.Second, time.Second},
		},
		"immediate return": {cloud.Move{Arrive: cloud.AtOld}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			now := began.Add(10 * time.Second)
			after, moves := moved.next(stateWithHolder("i-old", "i-new", c.move), now)
			require.Len(t, moves, 1)
			var left []time.Duration
			for _, w := range after.Windows {
				left = append(left, w.Until.Sub(now))
			}
			require.Equal(t, c.windows, left)
			if len(left) > 0 {
				require.Equal(t, "i-old", after.Windows[0].From.InstanceID)
				require.Equal(t, "i-new", after.Windows[1].From.InstanceID)
			}
			require.Equal(t, 20*time.Second, moved.Windows[0].Until.Sub(now), "the previous record is unchanged")
		})
	}
}

// conntrackCommands returns the conntrack commands that a move from i-old to i-new runs.
func conntrackCommands(t *testing.T, move cloud.Move, other string) []string {
	t.Helper()
	runner := &script{answer: func(line string) (string, error) {
		if strings.HasPrefix(line, "ip -json") {
			return "[]", nil
		}
		return "", nil
	}}
	now := time.Now()
	before, err := load(t.Context(), runner, config(), stateWithHolder("i-old", "i-new", move), record{}, now)
	require.NoError(t, err)
	runner.lines = nil
	_, err = load(t.Context(), runner, config(), stateWithHolder("i-new", other, move), before, now)
	require.NoError(t, err)
	loaded := slices.IndexFunc(runner.lines, func(line string) bool { return strings.HasPrefix(line, "nft ") })
	first := slices.IndexFunc(runner.lines, func(line string) bool { return strings.HasPrefix(line, "conntrack ") })
	require.Less(t, loaded, first, "connections created under the old rules must be included")
	return runner.lines[first:]
}

func TestMoveExpiresConnectionsAsConfigured(t *testing.T) {
	limited := []string{
		"conntrack --delete --status FIXED_TIMEOUT --orig-dst 198.18.1.1 --reply-src 10.42.1.11",
		"conntrack --delete --status FIXED_TIMEOUT --orig-src 10.42.1.11 --reply-dst 198.18.1.1",
		"conntrack --delete --status FIXED_TIMEOUT --orig-dst 198.18.1.1 --reply-src 10.42.1.10",
		"conntrack --delete --status FIXED_TIMEOUT --orig-src 10.42.1.10 --reply-dst 198.18.1.1",
		"conntrack --delete --proto tcp --state SYN_SENT --orig-dst 198.18.1.1 --reply-src 10.42.1.10",
		"conntrack --delete --proto tcp --state SYN_SENT --orig-src 10.42.1.10 --reply-dst 198.18.1.1",
	}
	require.Equal(t, append(slices.Clone(limited),
		"conntrack --delete --orig-dst 198.18.1.1 --reply-src 10.42.1.10",
		"conntrack --delete --orig-src 10.42.1.10 --reply-dst 198.18.1.1",
	), conntrackCommands(t, cloud.Move{}, "i-old"))
	const keep = "conntrack --update --timeout 2 --status SEEN_REPLY,ASSURED,FIXED_TIMEOUT"
	require.Equal(t, append(slices.Clone(limited),
		keep+" --orig-dst 198.18.1.1 --reply-src 10.42.1.10",
		keep+" --orig-src 10.42.1.10 --reply-dst 198.18.1.1",
	), conntrackCommands(t, cloud.Move{Connections: 1500 * time.Millisecond}, "i-old"))
	require.Equal(t, limited, conntrackCommands(t, cloud.Move{Connections: cloud.UntilEnd}, "i-old"))
}

func TestConnectionsEndWithInstance(t *testing.T) {
	lines := conntrackCommands(t, cloud.Move{Connections: cloud.UntilEnd}, "")
	for _, direction := range []string{"orig-dst", "reply-dst", "orig-src", "reply-src"} {
		require.Contains(t, lines, "conntrack --delete --"+direction+" 10.42.1.10")
	}
}
