// Package packages installs the Debian packages that localcloud needs on this machine.
package packages

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"immutable-infra/localcloud/internal/run"
)

// requirement is a program that must be installed.
type requirement struct {
	program string
	debian  string // the Debian package
	purpose string
}

func requirements() []requirement {
	return []requirement{
		{"docker", "docker.io", "Docker's client"},
		{"dockerd", "docker.io", "Docker's engine"},
		{"mmdebstrap", "mmdebstrap", "builds the servers' root file system"},
		{"nft", "nftables", "the host's firewall table"},
		{"ip", "iproute2", "network devices and routes"},
		{"nsenter", "util-linux", "work in a gateway's network namespace"},
		{"jekyll", "jekyll", "builds the site"},
	}
}

// Install installs missing programs with apt on Debian, as root. Otherwise, the error says what to install.
// engineRuns says whether a Docker engine is running already, which makes dockerd unnecessary.
func Install(ctx context.Context, runner run.Runner, engineRuns bool) error {
	var missing []requirement
	for _, need := range requirements() {
		if need.program == "dockerd" && engineRuns {
			continue
		}
		if _, err := run.Find(need.program); err != nil {
			missing = append(missing, need)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	release, _ := os.ReadFile("/etc/os-release") // missing on systems other than Debian
	if !strings.Contains("\n"+string(release), "\nID=debian\n") || os.Geteuid() != 0 {
		return errors.New(instructions(missing))
	}
	install := []string{"install", "--yes", "--quiet", "--no-install-recommends"}
	for _, need := range missing {
		install = append(install, need.debian)
	}
	for _, args := range [][]string{{"update", "--quiet"}, install} {
		command := run.Command{Name: "apt-get", Args: args, Env: []string{"DEBIAN_FRONTEND=noninteractive"}}
		if _, err := runner.Run(ctx, command); err != nil {
			return err
		}
	}
	return nil
}

func instructions(missing []requirement) string {
	var text strings.Builder
	text.WriteString("programs are missing: install them (on Debian, `make up` as root does):")
	for _, need := range missing {
		fmt.Fprintf(&text, "\n  %s: %s (Debian package %s)", need.program, need.purpose, need.debian)
	}
	return text.String()
}
