package cmd

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"text/tabwriter"

	"immutable-infra/localcloud/internal/cloud"
)

// statusVerb shows what runs and the memory it uses.
func statusVerb(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("status", flag.ContinueOnError)
	asJSON := flags.Bool("json", false, "print JSON")
	p, err := openProject(flags, args)
	if err != nil {
		return err
	}
	status, err := p.local.Status(ctx)
	if err != nil {
		return err
	}
	if *asJSON {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(status)
	}
	return printStatus(status)
}

func printStatus(status cloud.Status) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "WHAT\tCONTAINER\tSTATE\tMEMORY\tLIMIT")
	for _, c := range status.Containers {
		limit := "-"
		if c.MemoryLimit > 0 {
			limit = mebibytes(c.MemoryLimit)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", c.Role, c.Name, c.State, mebibytes(c.Memory), limit)
	}
	if status.EngineMemory > 0 {
		fmt.Fprintf(table, "engine\tdockerd\trunning\t%s\t-\n", mebibytes(status.EngineMemory))
	}
	fmt.Fprintf(table, "total\t\t\t%s\t\n", mebibytes(status.Memory))
	return table.Flush()
}

func mebibytes(bytes int64) string { return fmt.Sprintf("%.0f MiB", float64(bytes)/(1<<20)) }
