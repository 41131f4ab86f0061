package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/home"
	"immutable-infra/localcloud/internal/run"
)

// Apply brings the gateway in whose network namespace it runs to the state
// that the files describe. It is safe to repeat.
func Apply(ctx context.Context, runner run.Runner) error {
	lock, err := os.OpenFile(filepath.Join(runDir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("apply gateway state: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("apply gateway state: lock: %w", err)
	}
	if err := apply(ctx, runner); err != nil {
		return fmt.Errorf("apply gateway state: %w", err)
	}
	return nil
}

func apply(ctx context.Context, runner run.Runner) error {
	source := files{dir: cloud.GatewayDir}
	config, err := source.config()
	if err != nil {
		return err
	}
	state, err := source.state()
	if err != nil {
		return err
	}
	rules, err := Ruleset(config, state)
	if err != nil {
		return err
	}
	before, err := readMapping()
	if err != nil {
		return err
	}
	now := mapping(state)

	if err := writeLeases(config, state); err != nil {
		return err
	}
	if err := addAddresses(ctx, runner, now); err != nil {
		return err
	}
	if _, err := runner.Run(ctx, run.Command{Name: "nft", Args: []string{"-f", "-"}, Stdin: strings.NewReader(rules)}); err != nil {
		return err
	}
	if err := dropAddresses(ctx, runner, config, now); err != nil {
		return err
	}
	for public, private := range before {
		if now[public] != private {
			if err := cut(ctx, runner, public); err != nil {
				return err
			}
		}
	}
	return home.WriteJSON(mappingFile, now)
}

// mapping is which private address each public one leads to.
func mapping(state cloud.GatewayState) map[netip.Addr]netip.Addr {
	result := map[netip.Addr]netip.Addr{}
	for _, eni := range state.Interfaces {
		if eni.PublicIP.IsValid() {
			result[eni.PublicIP] = eni.PrivateIP
		}
	}
	return result
}

func readMapping() (map[netip.Addr]netip.Addr, error) {
	result := map[netip.Addr]netip.Addr{}
	if err := home.ReadJSON(mappingFile, &result); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return result, nil
}

// writeLeases rewrites what dnsmasq reads again on SIGHUP.
func writeLeases(config cloud.GatewayConfig, state cloud.GatewayState) error {
	if err := home.WriteFile(dhcpFile, []byte(dhcpHosts(state)), 0o644); err != nil {
		return err
	}
	if err := home.WriteFile(hostsFile, []byte(hosts(config, state)), 0o644); err != nil {
		return err
	}
	pid, err := home.ReadPID(dnsmasqPIDFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // not started yet: it will read them then
	}
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("reload dnsmasq: %w", err)
	}
	return nil
}

// addAddresses takes the public addresses onto the outside interface, so that
// the network finds them here.
func addAddresses(ctx context.Context, runner run.Runner, wanted map[netip.Addr]netip.Addr) error {
	for public := range wanted {
		if _, err := runner.Run(ctx, run.Command{Name: "ip", Args: []string{"address", "replace", public.String() + "/32", "dev", outside}}); err != nil {
			return err
		}
	}
	return nil
}

// dropAddresses gives up the public addresses that belong to no interface any more.
func dropAddresses(ctx context.Context, runner run.Runner, config cloud.GatewayConfig, wanted map[netip.Addr]netip.Addr) error {
	output, err := runner.Run(ctx, run.Command{Name: "ip", Args: []string{"-json", "-4", "address", "show", "dev", outside}})
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
		return fmt.Errorf("addresses of %s: %w", outside, err)
	}
	for _, link := range links {
		for _, address := range link.Addresses {
			_, keep := wanted[address.Local]
			if keep || address.Local == config.Address || address.PrefixLen != 32 {
				continue
			}
			if _, err := runner.Run(ctx, run.Command{Name: "ip", Args: []string{"address", "del", address.Local.String() + "/32", "dev", outside}}); err != nil {
				return err
			}
		}
	}
	return nil
}

// cut forgets the established connections of a public address, those that came
// to it and those that left by it.
func cut(ctx context.Context, runner run.Runner, public netip.Addr) error {
	for _, direction := range []string{"--orig-dst", "--reply-dst"} {
		_, err := runner.Run(ctx, run.Command{Name: "conntrack", Args: []string{"--delete", direction, public.String()}})
		var failed *run.Error
		// conntrack fails when there was nothing to delete.
		if errors.As(err, &failed) && strings.Contains(failed.Output, "0 flow entries") {
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}
