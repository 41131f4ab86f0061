// Package hostnet prepares this machine's own network for localcloud: the blackhole route that
// keeps stray traffic of "the internet" of localcloud on the machine, the firewall table, IP
// forwarding, and the names of the hosted zone. Undo puts everything back.
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
	Range  = "198.18.0.0/15" // the benchmarking range of RFC 2544, which no network routes
	Bridge = "localcloud"    // the host's interface on localcloud's network
	// noTable removes the host's table, if there is one.
	noTable = "table ip localcloud\ndelete table ip localcloud\n"

	forwarding = "/proc/sys/net/ipv4/ip_forward"
	// ownerFile names the home that has the network, until the machine restarts.
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
	owner  string // file, see ownerFile
	hosts  string // file, see hosts(5)
}

// before is what Prepare found and Undo restores.
type before struct {
	IPForward string
}

// New returns the host's network as seen from one home.
func New(h state.Home, runner run.Runner) *Host {
	return &Host{home: h, runner: runner, owner: ownerFile, hosts: hostsFile}
}

// Prepare sets everything up. translate says whether localcloud has to
// translate addresses towards the internet itself, because the engine does not.
//
// There is one such network on a machine: another local cloud that has it is
// an error that names its home.
func (h *Host) Prepare(ctx context.Context, translate bool) error {
	if err := h.claim(); err != nil {
		return err
	}
	if err := h.enableForwarding(); err != nil {
		return err
	}
	// The connected network is more specific, so only traffic to unused addresses ends here.
	_, err := h.runner.Run(ctx, run.IP("route", "replace", "blackhole", Range))
	if err == nil {
		err = h.load(ctx, rules(translate))
	}
	return err
}

// claim records that this home has the network.
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

// rules replaces the host's table as a whole.
func rules(translate bool) string {
	if translate {
		return table + translation
	}
	return table
}

// readOwner returns which home has the network; "" means none.
func (h *Host) readOwner() (string, error) {
	owner, err := os.ReadFile(h.owner)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("find the owner of localcloud's network: %w", err)
	}
	return strings.TrimSpace(string(owner)), nil
}

// owned reports whether this home has the network. That another has it is an error.
func (h *Host) owned() (bool, error) {
	owner, err := h.readOwner()
	if err == nil && owner != "" && owner != h.home.String() {
		err = fmt.Errorf("another local cloud runs on this machine, with its home at %s: stop it with `make down` there",
			owner)
	}
	return owner != "", err
}

// Undo removes the names, the table and the route and restores IP forwarding.
// Undo leaves alone what is missing or belongs to another home.
func (h *Host) Undo(ctx context.Context) error {
	// Unlike the rest, the names outlive a restart of the machine.
	problems := []error{h.removeNames()}
	owner, err := h.readOwner()
	if err != nil || owner != h.home.String() {
		return errors.Join(problems[0], err)
	}
	problems = append(problems, h.load(ctx, noTable))
	routes, err := h.runner.Run(ctx, run.IP("route", "show", "type", "blackhole", Range))
	if err == nil && len(bytes.TrimSpace(routes)) > 0 {
		_, err = h.runner.Run(ctx, run.IP("route", "del", "blackhole", Range))
	}
	problems = append(problems, err)
	// An engine that was killed may have left its bridge.
	if _, err := h.runner.Run(ctx, run.IP("link", "show", "dev", Bridge)); err == nil {
		_, err = h.runner.Run(ctx, run.IP("link", "delete", "dev", Bridge))
		problems = append(problems, err)
	}
	var found before
	err = state.ReadJSON(h.recordFile(), &found)
	if err == nil {
		err = os.WriteFile(forwarding, []byte(found.IPForward+"\n"), 0o644)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		problems = append(problems, fmt.Errorf("restore IP forwarding: %w", err))
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	return os.Remove(h.owner)
}

func (h *Host) enableForwarding() error {
	current, err := os.ReadFile(forwarding)
	if err != nil {
		return fmt.Errorf("read IP forwarding: %w", err)
	}
	// The first start is the one that saw the machine untouched.
	if _, err := os.Stat(h.recordFile()); errors.Is(err, fs.ErrNotExist) {
		if err := state.WriteJSON(h.recordFile(), before{IPForward: strings.TrimSpace(string(current))}); err != nil {
			return err
		}
	}
	if err := os.WriteFile(forwarding, []byte("1\n"), 0o644); err != nil {
		return fmt.Errorf("enable IP forwarding: %w", err)
	}
	return nil
}

func (h *Host) recordFile() string { return filepath.Join(h.home.Cloud(), "host.json") }
