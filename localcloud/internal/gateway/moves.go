package gateway

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/run"
)

// record is the state to which the gateway was last brought, as far as the next one depends on it.
type record struct {
	Holders map[netip.Addr]holder // the instances that public addresses lead to
	Private []netip.Addr          // the private addresses of all instances
	Windows []window              // the windows of moves, in the order of the associations
}

// holder is an instance that a public address leads to.
type holder struct {
	InstanceID string
	PrivateIP  netip.Addr
}

// window is the time after an association in which fresh packets do not reach the new instance.
type window struct {
	Address netip.Addr
	Until   time.Time
	Arrive  cloud.Arrival
	From    holder // the instance that held the address before
}

// move is an association of an address that another instance held.
type move struct {
	address  netip.Addr
	from, to holder
}

// next returns the record of a state, and the moves from the recorded one to it. Their windows begin now.
//
// Associations take effect in their order, each at the end of its window: an address that returns within the window of
// its first move stays where it is, leads to the other instance for the time between the two associations, and returns
// for good. A later association whose window ends first ends the windows before it, too.
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

// settle deals with the connections that addresses had in the record, once the rules are those of the record after it.
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
			if err := cut(ctx, runner, public); err != nil {
				return err
			}
		}
	}
	for _, private := range r.Private {
		if !slices.Contains(after.Private, private) {
			if err := cut(ctx, runner, private); err != nil {
				return err
			}
		}
	}
	return nil
}

// settle gives the connections of the address to the old instance their lifetime. The kernel drops them at its end:
// later packets of theirs reach the new instance, which resets the connection.
//
// A lifetime cannot be changed. Connections to the new instance have one if that held the address before: they are
// dropped, and their next packet makes them again. Those to the old one have one if an earlier call was killed.
func (m move) settle(ctx context.Context, runner run.Runner, lifetime time.Duration) error {
	const fixed = "FIXED_TIMEOUT"
	type change struct {
		at   holder
		args []string
	}
	limited := []string{"--delete", "--status", fixed}
	changes := []change{{m.to, limited}, {m.from, limited}}
	switch lifetime {
	case cloud.UntilEnd:
	case 0:
		changes = append(changes, change{m.from, []string{"--delete"}})
	default:
		seconds := (lifetime + time.Second - 1) / time.Second
		// The command sets the status as a whole, and the kernel refuses to unset the first two.
		changes = append(changes, change{m.from, []string{
			"--update", "--timeout", strconv.FormatInt(int64(seconds), 10), "--status", "SEEN_REPLY,ASSURED," + fixed,
		}})
	}
	for _, c := range changes {
		public, private := m.address.String(), c.at.PrivateIP.String()
		for _, direction := range [][]string{
			{"--orig-dst", public, "--reply-src", private}, // those that came to the address
			{"--orig-src", private, "--reply-dst", public}, // those that left by it
		} {
			if err := conntrack(ctx, runner, slices.Concat(c.args, direction)...); err != nil {
				return err
			}
		}
	}
	return nil
}

// cut forgets the established connections of an address: those that came to it and those that left by it.
func cut(ctx context.Context, runner run.Runner, address netip.Addr) error {
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
