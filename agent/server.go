package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	// serverEnvPath is the file that cloud-init writes, which tells a server what
	// it has to know of its stack. The units read it as their EnvironmentFile.
	serverEnvPath = "/etc/immutable-infra/server.env"

	// instanceIDPath is where cloud-init notes the EC2 instance id.
	instanceIDPath = "/var/lib/cloud/data/instance-id"

	// holderPath is where `agent watch` as a unit has its holder file.
	holderPath = "/run/agent-watch/holder"
)

// readServerEnv reads a file of lines NAME=value. Without the file there are no
// values: the verbs' flags say the same.
func readServerEnv(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the server's environment: %w", err)
	}
	values := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[name] = value
		}
	}
	return values, nil
}

// serverName is the EC2 instance id, by which everybody else knows this server,
// or the host name where cloud-init noted none.
func serverName(instanceIDPath string) (string, error) {
	id, err := os.ReadFile(instanceIDPath)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("find the instance id: %w", err)
	}
	if name := strings.TrimSpace(string(id)); name != "" {
		return name, nil
	}
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("find the host name: %w", err)
	}
	return name, nil
}

// runtimeFile is the path of a file in the runtime directory that systemd gives
// a unit and names in RUNTIME_DIRECTORY, or "" without one. A boot empties it.
func runtimeFile(runtimeDirectory, name string) string {
	// systemd joins several runtime directories by colons; the first is ours.
	directories := filepath.SplitList(runtimeDirectory)
	if len(directories) == 0 {
		return ""
	}
	return filepath.Join(directories[0], name)
}
