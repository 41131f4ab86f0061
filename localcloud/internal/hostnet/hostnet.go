// Package hostnet prepares this machine's own network for localcloud: the
// blackhole route that keeps stray traffic of "the internet" of localcloud on
// the machine, the firewall table, IP forwarding, and the names of the hosted
// zone. Undo puts everything back.
package hostnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"immutable-infra/localcloud/internal/home"
	"immutable-infra/localcloud/internal/run"
)

const (
	// Range is the benchmarking range of RFC 2544, which no network routes.
	Range = "198.18.0.0/15"
	// Bridge is the host's interface on localcloud's network.
	Bridge = "localcloud"
	// table is the host's nftables table.
	table = "localcloud"

	forwarding = "/proc/sys/net/ipv4/ip_forward"
	// ownerFile names the home that has the network, until the machine restarts.
	ownerFile = "/run/localcloud.home"
	hostsFile = "/etc/hosts"
)

// Host is this machine's network.
type Host struct {
	home   home.Home
	runner run.Runner
	owner  string // file, see ownerFile
	hosts  string // file, see hosts(5)
}

// before is what Prepare found and Undo restores.
type before struct {
	IPForward string
}

// New returns the host's network as seen from one home.
func New(h home.Home, runner run.Runner) *Host {
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
	// The connected network is more specific, so only what belongs to nobody ends here.
	if _, err := h.runner.Run(ctx, run.Command{Name: "ip", Args: []string{"route", "replace", "blackhole", Range}}); err != nil {
		return err
	}
	_, err := h.runner.Run(ctx, run.Command{Name: "nft", Args: []string{"-f", "-"}, Stdin: strings.NewReader(rules(translate))})
	return err
}

// rules replaces the host's table as a whole. Instances reach no service of
// this machine, except its DNS resolver, where that is its own. Only this machine
// opens connections to the range.
func rules(translate bool) string {
	var text bytes.Buffer
	fmt.Fprintf(&text, "table ip %s\ndelete table ip %s\ntable ip %s {\n", table, table, table)
	fmt.Fprintf(&text, "\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n")
	fmt.Fprintf(&text, "\t\tiifname %q ct state new meta l4proto { tcp, udp } th dport 53 accept\n", Bridge)
	fmt.Fprintf(&text, "\t\tiifname %q ct state new drop\n\t}\n", Bridge)
	fmt.Fprintf(&text, "\tchain forward {\n\t\ttype filter hook forward priority mangle; policy accept;\n")
	fmt.Fprintf(&text, "\t\tiifname %q tcp flags syn tcp option maxseg size set rt mtu\n", Bridge)
	// Forwarding is on: a neighbour on the LAN could route to the range through this machine.
	fmt.Fprintf(&text, "\t\toifname %q iifname != %q ct state != { established, related } drop\n\t}\n", Bridge, Bridge)
	if translate {
		fmt.Fprintf(&text, "\tchain postrouting {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n")
		fmt.Fprintf(&text, "\t\tip saddr %s oifname != %q masquerade\n\t}\n", Range, Bridge)
	}
	fmt.Fprintf(&text, "}\n")
	return text.String()
}

// claim records that this home has the network.
func (h *Host) claim() error {
	if _, err := h.owned(); err != nil {
		return err
	}
	return home.WriteFile(h.owner, []byte(h.home.String()+"\n"), 0o644)
}

// owned says whether this home has the network. That another has it is an error.
func (h *Host) owned() (bool, error) {
	owner, err := os.ReadFile(h.owner)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("who has localcloud's network: %w", err)
	}
	other := strings.TrimSpace(string(owner))
	if other != "" && other != h.home.String() {
		return false, fmt.Errorf("another local cloud runs on this machine, with its home at %s: stop it with `make down` there", other)
	}
	return other != "", nil
}

// Undo removes the names, the table and the route and restores IP forwarding.
// What is not there, or belongs to another home, is left alone.
func (h *Host) Undo(ctx context.Context) error {
	// Unlike the rest, the names outlive a restart of the machine.
	namesErr := h.removeNames()
	owner, err := os.ReadFile(h.owner)
	if errors.Is(err, fs.ErrNotExist) {
		return namesErr
	}
	if err != nil {
		return errors.Join(namesErr, fmt.Errorf("who has localcloud's network: %w", err))
	}
	if strings.TrimSpace(string(owner)) != h.home.String() {
		return namesErr
	}
	var problems []error
	if namesErr != nil {
		problems = append(problems, namesErr)
	}
	if _, err := h.runner.Run(ctx, run.Command{Name: "nft", Args: []string{"-f", "-"}, Stdin: strings.NewReader(
		fmt.Sprintf("table ip %s\ndelete table ip %s\n", table, table))}); err != nil {
		problems = append(problems, err)
	}
	routes, err := h.runner.Run(ctx, run.Command{Name: "ip", Args: []string{"route", "show", "type", "blackhole", Range}})
	if err != nil {
		problems = append(problems, err)
	} else if len(bytes.TrimSpace(routes)) > 0 {
		if _, err := h.runner.Run(ctx, run.Command{Name: "ip", Args: []string{"route", "del", "blackhole", Range}}); err != nil {
			problems = append(problems, err)
		}
	}
	// An engine that was killed may have left its bridge.
	if _, err := h.runner.Run(ctx, run.Command{Name: "ip", Args: []string{"link", "show", "dev", Bridge}}); err == nil {
		if _, err := h.runner.Run(ctx, run.Command{Name: "ip", Args: []string{"link", "delete", "dev", Bridge}}); err != nil {
			problems = append(problems, err)
		}
	}
	var found before
	err = home.ReadJSON(h.recordFile(), &found)
	switch {
	case err == nil:
		if err := os.WriteFile(forwarding, []byte(found.IPForward+"\n"), 0o644); err != nil {
			problems = append(problems, fmt.Errorf("restore IP forwarding: %w", err))
		}
	case !errors.Is(err, fs.ErrNotExist):
		problems = append(problems, err)
	}
	if len(problems) == 0 {
		problems = append(problems, os.Remove(h.owner))
	}
	return errors.Join(problems...)
}

func (h *Host) enableForwarding() error {
	current, err := os.ReadFile(forwarding)
	if err != nil {
		return fmt.Errorf("read IP forwarding: %w", err)
	}
	// The first start is the one that saw the machine untouched.
	if _, err := os.Stat(h.recordFile()); errors.Is(err, fs.ErrNotExist) {
		if err := home.WriteJSON(h.recordFile(), before{IPForward: strings.TrimSpace(string(current))}); err != nil {
			return err
		}
	}
	if err := os.WriteFile(forwarding, []byte("1\n"), 0o644); err != nil {
		return fmt.Errorf("enable IP forwarding: %w", err)
	}
	return nil
}

func (h *Host) recordFile() string { return filepath.Join(h.home.Cloud(), "host.json") }
