package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/run"
)

// record is the part of the last applied state that the next state depends on.
type record struct {
	Holders map[netip.Addr]holder // the instances by public address
	Private []netip.Addr          // the private addresses of all instances
	Windows []window              // the windows of moves, in the order of their associations
}

// holder is an instance with a public address.
type holder struct {
	InstanceID string
	PrivateIP  netip.Addr
}

// window is the time after an association during which new packets do not reach the new instance.
type window struct {
	Address netip.Addr
	Until   time.Time
	Arrive  cloud.Arrival
	From    holder // the previous instance
}

// move is the association of an address that another instance had before.
type move struct {
	address  netip.Addr
	from, to holder
}

// next returns the record of the wanted state, and the moves from the recorded state to it. Their windows start now.
//
// Associations take effect in order, each at the end of its window. If an address is moved and moved back within
// the window of the first move, it first stays where it is, then leads to the other instance for the time between
// the two associations, and then returns for good. If the window of a later association ends first, it also ends
// the earlier windows.
func (r record) next(wanted cloud.GatewayState, now time.Time) (record, []move) {
	after := record{Holders: map[netip.Addr]holder{}}
	var moves []move
	for _, eni := range wanted.Interfaces {
		after.Private = append(after.Private, eni.PrivateIP)
		if !eni.PublicIP.IsValid() {
			continue
		}
		to := holder{eni.InstanceID, eni.PrivateIP}
		after.Holders[eni.PublicIP] = to
		if from, held := r.Holders[eni.PublicIP]; held && from != to && eni.Elastic {
			moves = append(moves, move{eni.PublicIP, from, to})
		}
	}
	windows := slices.Clone(r.Windows)
	for _, m := range moves {
		until := now.Add(wanted.Move.Window)
		for i, w := range windows {
			if w.Address == m.address && w.Until.After(until) {
				windows[i].Until = until
			}
		}
		windows = append(windows, window{m.address, until, wanted.Move.Arrive, m.from})
	}
	for _, w := range windows {
		if _, held := after.Holders[w.Address]; held && w.Until.After(now) {
			after.Windows = append(after.Windows, w)
		}
	}
	return after, moves
}

// settle ends or limits the connections of the recorded addresses, after the rules of the next record are loaded.
func (r record) settle(
	ctx context.Context, runner run.Runner, after record, moves []move, lifetime time.Duration,
) error {
	for _, m := range moves {
		if err := m.settle(ctx, runner, lifetime); err != nil {
			return err
		}
	}
	for public, before := range r.Holders {
		moved := slices.ContainsFunc(moves, func(m move) bool { return m.address == public })
		if !moved && after.Holders[public] != before {
			if err := dropConnections(ctx, runner, public); err != nil {
				return err
			}
		}
	}
	for _, private := range r.Private {
		if !slices.Contains(after.Private, private) {
			if err := dropConnections(ctx, runner, private); err != nil {
				return err
			}
		}
	}
	return nil
}

// settle limits the lifetime of the address's connections to the old instance. When it ends, the kernel drops
// their entries: later packets reach the new instance, which resets the connection.
//
// A connection attempt that the old instance has not answered is not open, so its next packet arrives as a new one.
//
// A lifetime cannot be changed, so settle drops entries that have one, and their next packet creates them again.
// Connections to the new instance have a lifetime if that instance had the address before, and connections to the
// old instance have one if an earlier call was killed.
func (m move) settle(ctx context.Context, runner run.Runner, lifetime time.Duration) error {
	const fixed = "FIXED_TIMEOUT"
	type change struct {
		at   holder
		args []string
	}
	limited := []string{"--delete", "--status", fixed}
	unanswered := []string{"--delete", "--proto", "tcp", "--state", "SYN_SENT"}
	changes := []change{{m.to, limited}, {m.from, limited}, {m.from, unanswered}}
	switch lifetime {
	case cloud.UntilEnd:
	case 0:
		changes = append(changes, change{m.from, []string{"--delete"}})
	default:
		seconds := (lifetime + time.Second - 1) / time.Second
		// The command replaces the whole status, and the kernel refuses to unset the first two flags.
		changes = append(changes, change{m.from, []string{
			"--update", "--timeout", strconv.FormatInt(int64(seconds), 10), "--status", "SEEN_REPLY,ASSURED," + fixed,
		}})
	}
	for _, c := range changes {
		public, private := m.address.String(), c.at.PrivateIP.String()
		for _, direction := range [][]string{
			{"--orig-dst", public, "--reply-src", private}, // inbound connections
			{"--orig-src", private, "--reply-dst", public}, // outbound connections
		} {
			if err := conntrack(ctx, runner, slices.Concat(c.args, direction)...); err != nil {
				return err
			}
		}
	}
	return nil
}

// closeTimeout is the kernel's setting of how long the entry of a reset connection lasts, in seconds. The kernel would
// use the entry for a new connection from the same port, which would reach the instance that had the address when the
// first one began. 0 also applies to resets after which the kernel is not certain that the connection ended.
const closeTimeout = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close"

// forgetResets drops the entry of each connection that is reset at an instance that no longer has the address, until
// ctx ends: closeTimeout does not apply to connections that have a lifetime.
//
// The kernel drops events that are not read in time. Therefore, the ruleset limits them to marks (ct event).
func forgetResets(ctx context.Context, runner run.Runner) error {
	mark := strconv.Itoa(resetMark)
	_, err := runner.Run(ctx, run.Command{
		Name: "conntrack", Args: []string{"--event", "--event-mask", "UPDATES", "--mark", mark},
		Stream: writeFunc(func([]byte) error { return conntrack(ctx, runner, "--delete", "--mark", mark) }),
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("no more events of connections: %w", err)
}

// writeFunc is called for each write.
type writeFunc func(p []byte) error

func (f writeFunc) Write(p []byte) (int, error) { return len(p), f(p) }

// dropConnections drops the established connections of an address, inbound and outbound.
func dropConnections(ctx context.Context, runner run.Runner, address netip.Addr) error {
	for _, direction := range []string{"--orig-dst", "--reply-dst", "--orig-src", "--reply-src"} {
		if err := conntrack(ctx, runner, "--delete", direction, address.String()); err != nil {
			return err
		}
	}
	return nil
}

func conntrack(ctx context.Context, runner run.Runner, args ...string) error {
	_, err := runner.Run(ctx, run.Command{Name: "conntrack", Args: args})
	// conntrack fails when no connection matches.
	if failed, ok := errors.AsType[*run.Error](err); ok && strings.Contains(failed.Output, "0 flow entries") {
		return nil
	}
	return err
}
