// Package hostnet prepares this machine's network for localcloud: the blackhole route that keeps stray traffic to
// localcloud's "internet" on the machine, the firewall table, IP forwarding, and the names of the hosted zone.
// Undo restores the previous state.
package hostnet

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"immutable-infra/localcloud/internal/run"
	"immutable-infra/localcloud/internal/state"
)

const (
	Range  = "198.18.0.0/15" // the benchmarking range of RFC 2544, which is not routed on the internet
	Bridge = "localcloud"    // the host's interface on localcloud's network
	// noTable deletes the host's table, if it exists.
	noTable = "table ip localcloud\ndelete table ip localcloud\n"

	forwarding = "/proc/sys/net/ipv4/ip_forward"
	// ownerFile contains the home that owns the network. A restart of the machine deletes it.
	ownerFile = "/run/localcloud.home"
	hostsFile = "/etc/hosts"
)

var (
	//go:embed table.nft
	table string
	//go:embed translation.nft
	translation string
)

// Host is this machine's network.
type Host struct {
	home   state.Home
	runner run.Runner
	owner  string // path, see ownerFile
	hosts  string // path, see hosts(5)
}

// savedSettings are the settings that Prepare saves and Undo restores.
type savedSettings struct {
	IPForward string
}

// New returns the host's network for one home.
func New(h state.Home, runner run.Runner) *Host {
	return &Host{home: h, runner: runner, owner: ownerFile, hosts: hostsFile}
}

// Prepare sets everything up. translate says whether localcloud must translate addresses towards the internet
// itself, because the engine does not.
//
// A machine has only one such network. If another local cloud owns it, the error names that local cloud's home.
func (h *Host) Prepare(ctx context.Context, translate bool) error {
	if err := h.claim(); err != nil {
		return err
	}
	if err := h.enableForwarding(); err != nil {
		return err
	}
	// The connected network's route is more specific, so this one only drops traffic to unused addresses.
	_, err := h.runner.Run(ctx, run.IP("route", "replace", "blackhole", Range))
	if err == nil {
		err = h.load(ctx, rules(translate))
	}
	return err
}

// claim records this home as the network's owner.
func (h *Host) claim() error {
	if _, err := h.owned(); err != nil {
		return err
	}
	return state.WriteFile(h.owner, []byte(h.home.String()+"\n"), 0o644)
}

func (h *Host) load(ctx context.Context, rules string) error {
	_, err := h.runner.Run(ctx, run.Command{Name: "nft", Args: []string{"-f", "-"}, Stdin: strings.NewReader(rules)})
	return err
}

// rules returns the ruleset that replaces the host's table.
func rules(translate bool) string {
	if translate {
		return table + translation
	}
	return table
}

// readOwner returns the home that owns the network, or "" if there is none.
func (h *Host) readOwner() (string, error) {
	owner, err := os.ReadFile(h.owner)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("cannot find the owner of localcloud's network: %w", err)
	}
	return strings.TrimSpace(string(owner)), nil
}

// owned reports whether this home owns the network. It returns an error if another home does.
func (h *Host) owned() (bool, error) {
	owner, err := h.readOwner()
	if err == nil && owner != "" && owner != h.home.String() {
		err = fmt.Errorf("another local cloud runs on this machine, at %s: stop it with `make down` there", owner)
	}
	return owner != "", err
}

// Undo removes the names, the table and the route, and restores IP forwarding. It ignores what is missing or
// belongs to another home.
func (h *Host) Undo(ctx context.Context) error {
	// Always remove the names, because they survive a restart of the machine, unlike the rest.
	errs := []error{h.removeNames()}
	owner, err := h.readOwner()
	if err != nil || owner != h.home.String() {
		return errors.Join(errs[0], err)
	}
	errs = append(errs, h.load(ctx, noTable))
	routes, err := h.runner.Run(ctx, run.IP("route", "show", "type", "blackhole", Range))
	if err == nil && len(bytes.TrimSpace(routes)) > 0 {
		_, err = h.runner.Run(ctx, run.IP("route", "del", "blackhole", Range))
	}
	errs = append(errs, err)
	// A killed engine may have left its bridge behind.
	if _, err := h.runner.Run(ctx, run.IP("link", "show", "dev", Bridge)); err == nil {
		_, err = h.runner.Run(ctx, run.IP("link", "delete", "dev", Bridge))
		errs = append(errs, err)
	}
	var saved savedSettings
	err = state.ReadJSON(h.recordFile(), &saved)
	if err == nil {
		err = os.WriteFile(forwarding, []byte(saved.IPForward+"\n"), 0o644)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, fmt.Errorf("cannot restore IP forwarding: %w", err))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return os.Remove(h.owner)
}

func (h *Host) enableForwarding() error {
	current, err := os.ReadFile(forwarding)
	if err != nil {
		return fmt.Errorf("cannot read IP forwarding: %w", err)
	}
	// Keep the value from the first start, which is the machine's original one.
	if _, err := os.Stat(h.recordFile()); errors.Is(err, fs.ErrNotExist) {
		if err := state.WriteJSON(h.recordFile(), savedSettings{IPForward: strings.TrimSpace(string(current))}); err != nil {
			return err
		}
	}
	if err := os.WriteFile(forwarding, []byte("1\n"), 0o644); err != nil {
		return fmt.Errorf("cannot enable IP forwarding: %w", err)
	}
	return nil
}

func (h *Host) recordFile() string { return filepath.Join(h.home.Cloud(), "host.json") }
