package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"
)

// settingsPath is the file to which cloud-init writes the settings of the stack.
const settingsPath = "/etc/immutable-infra/server.env"

// settings are the settings of the stack for its servers. The settings file is their only source: flags name files
// on this machine, and configure a run.
type settings struct {
	verb, path string
	values     map[string]string
	problems   []error
}

func settingsFlag(flags *flag.FlagSet) *string {
	return flags.String("env-file", settingsPath, "`file` with the settings of the stack")
}

// loadSettings reads a file of lines NAME=value. A missing file sets nothing. Arguments other than
// the flags of the verb are an errUsage.
func loadSettings(flags *flag.FlagSet, path string) (*settings, error) {
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("%w: %s: unexpected argument %q: flags only", errUsage, flags.Name(), flags.Arg(0))
	}
	s := &settings{verb: flags.Name(), path: path, values: map[string]string{}}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read the settings of the stack: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			s.values[name] = unquoted(value)
		}
	}
	return s, nil
}

// unquoted returns a value without its quotes. The writer quotes only values that need no escapes.
func unquoted(value string) string {
	for _, quote := range []string{"'", `"`} {
		if len(value) >= 2 && strings.HasPrefix(value, quote) && strings.HasSuffix(value, quote) {
			return value[1 : len(value)-1]
		}
	}
	return value
}

func (s *settings) optional(name string) string { return s.values[name] }

// required returns a setting, and adds a problem if it is missing.
func (s *settings) required(name string) string {
	if s.values[name] == "" {
		s.problems = append(s.problems, fmt.Errorf("%s does not set %s", s.path, name))
	}
	return s.values[name]
}

// atLeast returns an integer setting, and adds a problem if it is missing, invalid or below least.
func (s *settings) atLeast(least int, name string) int {
	text := s.required(name)
	number, err := strconv.Atoi(text)
	if text != "" && (err != nil || number < least) {
		s.problems = append(s.problems, fmt.Errorf("%s is %q: expected %d or more", name, text, least))
	}
	return number
}

func (s *settings) atLeastDuration(least time.Duration, name string) time.Duration {
	text := s.required(name)
	duration, err := time.ParseDuration(text)
	if text != "" && (err != nil || duration < least) {
		s.problems = append(s.problems, fmt.Errorf("%s is %q: expected %s or more", name, text, least))
	}
	return duration
}

// err returns all problems as one errUsage.
func (s *settings) err() error {
	if len(s.problems) == 0 {
		return nil
	}
	text := strings.ReplaceAll(errors.Join(s.problems...).Error(), "\n", "; ")
	return fmt.Errorf("%w: %s: %s", errUsage, s.verb, text)
}
