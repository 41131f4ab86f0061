package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"

	"immutable-infra/agent/internal/history"
)

var errNoBackup = errors.New("no history was backed up yet")

// verify runs `agent verify`: it restores the history into an empty directory, and prints a
// description of it on stdout, as JSON.
func verify(ctx context.Context, args []string, stdout, stderr io.Writer, log *slog.Logger) error {
	flags := flag.NewFlagSet("agent verify", flag.ContinueOnError)
	var (
		bucket  backupBucket
		envFile = settingsFlag(flags)
		dir     = flags.String("dir", "", "empty `directory` to restore into (required)")
	)
	if err := parseFlags(flags, args, "usage: agent verify --dir DIRECTORY [flags]", stderr); err != nil {
		return err
	}
	settings, err := loadSettings(flags, *envFile)
	if err != nil {
		return err
	}
	bucket.load(settings)
	stack := settings.required("STACK")
	if err := settings.err(); err != nil {
		return err
	}
	if *dir == "" {
		return fmt.Errorf("%w: agent verify: --dir is missing: give an empty directory", errUsage)
	}
	entries, err := os.ReadDir(*dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty: give an empty directory, so that everything in it afterwards is from the backup",
			*dir)
	}
	store, _, err := bucket.open(ctx)
	if err != nil {
		return err
	}
	result, err := history.Restore{Store: store, Stack: stack, Dir: *dir, Log: log}.Run(ctx)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(stdout)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(result); err != nil {
		return err
	}
	if result.Lost() {
		return fmt.Errorf("none of the %d backups in the bucket is usable: see the log above for the reasons",
			result.Fallbacks)
	}
	if !result.Found {
		return errNoBackup
	}
	return nil
}
