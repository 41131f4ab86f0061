package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// serverEnvPath is the file that cloud-init writes, which tells a server what
// it has to know of its stack. The units read it as their EnvironmentFile.
const serverEnvPath = "/etc/immutable-infra/server.env"

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
