package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

const (
	// instanceIDPath is where cloud-init writes the EC2 instance ID.
	instanceIDPath = "/var/lib/cloud/data/instance-id"

	// holderPath exists while this server holds the VIP.
	holderPath = "/run/agent-watch/holder"
)

// serverName returns the EC2 instance ID, or the host name if cloud-init wrote no ID.
func serverName(instanceIDPath string) (string, error) {
	id, err := os.ReadFile(instanceIDPath)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("cannot read the instance ID: %w", err)
	}
	if name := strings.TrimSpace(string(id)); name != "" {
		return name, nil
	}
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("cannot get the host name: %w", err)
	}
	return name, nil
}

func siteURLFlag(flags *flag.FlagSet) *string {
	return flags.String("url", "https://127.0.0.1", "`address` of the site's web server on this server, without a path")
}

func holderFlag(flags *flag.FlagSet) *string {
	return flags.String("holder-file", holderPath, "`file` that exists while this server holds the VIP")
}

func projectFlag(flags *flag.FlagSet) *string {
	return flags.String("project", "/opt/site", "`directory` of the compose project")
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot check for a file: %w", err)
	}
	return true, nil
}
