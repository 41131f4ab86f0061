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

// between is a state with two servers, of which one has the Elastic IP. The server that is "" has ended.
func between(holder, other string, move cloud.Move) cloud.GatewayState {
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

// prerouting is the chain that decides where fresh packets arrive, with the elements of its maps.
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
	before, moves := record{}.next(between("i-old", "i-new", move), now)
	require.Empty(t, moves, "nobody held the address before")
	require.Empty(t, before.Windows)

	moved := between("i-new", "i-old", move)
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

func TestNothingArrivesInTheWindowOfAMoveFromAnInstanceThatEnded(t *testing.T) {
	move := cloud.Move{Window: 6 * time.Second, Arrive: cloud.AtOld}
	now := time.Now()
	before, _ := record{}.next(between("i-old", "i-new", move), now)
	before, _ = before.next(between("i-new", "i-old", move), now)
	alone := between("i-new", "", move)
	after, _ := before.next(alone, now)
	require.Equal(t, []string{
		"elements = { 198.18.1.1 : 10.42.1.11 }", "elements = { 198.18.1.1 timeout 6000ms }", "ip daddr @window-0 drop",
		"dnat to ip daddr map @inward",
	}, prerouting(t, alone, after, now))
}

func TestAssociationsTakeEffectInTheirOrder(t *testing.T) {
	began := time.Now()
	slow := cloud.Move{Window: 30 * time.Second, Arrive: cloud.AtOld}
	before, _ := record{}.next(between("i-old", "i-new", slow), began)
	moved, _ := before.next(between("i-new", "i-old", slow), began)

	for name, c := range map[string]struct {
		move    cloud.Move
		windows []time.Duration
	}{
		"the way back takes as long":    {slow, []time.Duration{20 * time.Second, 30 * time.Second}},
		"the way back is over before":   {cloud.Move{Window: time.Second, Arrive: cloud.AtOld}, []time.Duration{time.Second, time.Second}},
		"the way back takes effect now": {cloud.Move{Arrive: cloud.AtOld}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			now := began.Add(10 * time.Second)
			after, moves := moved.next(between("i-old", "i-new", c.move), now)
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
			require.Equal(t, 20*time.Second, moved.Windows[0].Until.Sub(now), "the record before is unchanged")
		})
	}
}

// settled are the commands for the connections, after a move from i-old to i-new.
func settled(t *testing.T, move cloud.Move, other string) []string {
	t.Helper()
	runner := &script{answer: func(line string) (string, error) {
		if strings.HasPrefix(line, "ip -json") {
			return "[]", nil
		}
		return "", nil
	}}
	now := time.Now()
	before, err := load(t.Context(), runner, config(), between("i-old", "i-new", move), record{}, now)
	require.NoError(t, err)
	runner.lines = nil
	_, err = load(t.Context(), runner, config(), between("i-new", other, move), before, now)
	require.NoError(t, err)
	loaded := slices.IndexFunc(runner.lines, func(line string) bool { return strings.HasPrefix(line, "nft ") })
	first := slices.IndexFunc(runner.lines, func(line string) bool { return strings.HasPrefix(line, "conntrack ") })
	require.Less(t, loaded, first, "a connection that the old rules made must not be left out")
	return runner.lines[first:]
}

func TestConnectionsLiveOnAsLongAsIsSet(t *testing.T) {
	limited := []string{
		"conntrack --delete --status FIXED_TIMEOUT --orig-dst 198.18.1.1 --reply-src 10.42.1.11",
		"conntrack --delete --status FIXED_TIMEOUT --orig-src 10.42.1.11 --reply-dst 198.18.1.1",
		"conntrack --delete --status FIXED_TIMEOUT --orig-dst 198.18.1.1 --reply-src 10.42.1.10",
		"conntrack --delete --status FIXED_TIMEOUT --orig-src 10.42.1.10 --reply-dst 198.18.1.1",
	}
	require.Equal(t, append(slices.Clone(limited),
		"conntrack --delete --orig-dst 198.18.1.1 --reply-src 10.42.1.10",
		"conntrack --delete --orig-src 10.42.1.10 --reply-dst 198.18.1.1",
	), settled(t, cloud.Move{}, "i-old"))
	const keep = "conntrack --update --timeout 2 --status SEEN_REPLY,ASSURED,FIXED_TIMEOUT"
	require.Equal(t, append(slices.Clone(limited),
		keep+" --orig-dst 198.18.1.1 --reply-src 10.42.1.10",
		keep+" --orig-src 10.42.1.10 --reply-dst 198.18.1.1",
	), settled(t, cloud.Move{Connections: 1500 * time.Millisecond}, "i-old"))
	require.Equal(t, limited, settled(t, cloud.Move{Connections: cloud.UntilEnd}, "i-old"))
}

func TestConnectionsEndWithTheInstance(t *testing.T) {
	lines := settled(t, cloud.Move{Connections: cloud.UntilEnd}, "")
	for _, direction := range []string{"orig-dst", "reply-dst", "orig-src", "reply-src"} {
		require.Contains(t, lines, "conntrack --delete --"+direction+" 10.42.1.10")
	}
}
