package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/run"
	"immutable-infra/localcloud/internal/state"
)

// Apply configures the gateway in the current network namespace as its state file describes. It is idempotent.
func Apply(ctx context.Context, runner run.Runner) (err error) {
	defer run.Wrap(&err, "apply gateway state")
	unlock, err := state.Lock(filepath.Join(runDir, "lock"), 0)
	if err != nil {
		return err
	}
	defer unlock()
	config, err := readConfig()
	if err != nil {
		return err
	}
	wanted, err := readState()
	if err != nil {
		return err
	}
	var before record
	if err := state.ReadJSON(recordFile, &before); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeLeases(wanted); err != nil {
		return err
	}
	after, err := load(ctx, runner, config, wanted, before, time.Now())
	if err != nil {
		return err
	}
	return state.WriteJSON(recordFile, after)
}

// load configures the kernel for the wanted state, starting from the recorded state before. It returns the new record.
func load(
	ctx context.Context, runner run.Runner, config cloud.GatewayConfig, wanted cloud.GatewayState, before record,
	now time.Time,
) (record, error) {
	after, moves := before.next(wanted, now)
	rules, err := Ruleset(config, wanted, after.Windows, now)
	if err != nil {
		return record{}, err
	}
	// The outside interface needs the public addresses, so that the gateway answers ARP for them.
	for public := range after.Holders {
		if _, err := runner.Run(ctx, run.IP("address", "replace", public.String()+"/32", "dev", outside)); err != nil {
			return record{}, err
		}
	}
	load := run.Command{Name: "nft", Args: []string{"-f", "-"}, Stdin: strings.NewReader(rules)}
	if _, err := runner.Run(ctx, load); err != nil {
		return record{}, err
	}
	// The kernel has this setting once a ruleset with connections is loaded.
	forget := run.Command{Name: "tee", Args: []string{closeTimeout}, Stdin: strings.NewReader("0")}
	if _, err := runner.Run(ctx, forget); err != nil {
		return record{}, err
	}
	if err := dropAddresses(ctx, runner, after.Holders); err != nil {
		return record{}, err
	}
	return after, before.settle(ctx, runner, after, moves, wanted.Move.Connections)
}

// writeLeases writes the DHCP and hosts files of dnsmasq and makes it reload them.
func writeLeases(wanted cloud.GatewayState) error {
	if err := errors.Join(state.WriteFile(dhcpFile, []byte(dhcpHosts(wanted)), 0o644),
		state.WriteFile(hostsFile, []byte(hosts(wanted)), 0o644)); err != nil {
		return err
	}
	pid, err := state.ReadPID(dnsmasqPIDFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // dnsmasq has not started yet, and will read them when it does
	}
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("cannot reload dnsmasq: %w", err)
	}
	return nil
}

// dropAddresses removes public addresses that no longer belong to an instance from the outside interface.
func dropAddresses(ctx context.Context, runner run.Runner, wanted map[netip.Addr]holder) error {
	output, err := runner.Run(ctx, run.IP("-json", "-4", "address", "show", "dev", outside))
	if err != nil {
		return err
	}
	var links []struct {
		Addresses []struct {
			Local     netip.Addr `json:"local"`
			PrefixLen int        `json:"prefixlen"`
		} `json:"addr_info"`
	}
	if err := json.Unmarshal(output, &links); err != nil {
		return fmt.Errorf("cannot parse the addresses of %s: %w", outside, err)
	}
	for _, link := range links {
		for _, address := range link.Addresses {
			// The gateway's own address has the network's prefix length.
			if _, keep := wanted[address.Local]; keep || address.PrefixLen != 32 {
				continue
			}
			if _, err := runner.Run(ctx, run.IP("address", "del", address.Local.String()+"/32", "dev", outside)); err != nil {
				return err
			}
		}
	}
	return nil
}
