package history

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Data implements handover.Data for the history.
type Data struct {
	Backup      Backup
	Restoring   Restore
	Stop, Start func(ctx context.Context) error
	// Collect allows Prometheus to collect from its next start on.
	Collect func() error
	// Note receives the result; it may be nil.
	Note func(Result)
	// Out receives a line about what was restored.
	Out io.Writer
}

// Release stops Prometheus, which then writes all of its data, and uploads what the bucket lacks.
func (d Data) Release(ctx context.Context) error {
	if err := d.Stop(ctx); err != nil {
		return err
	}
	_, err := d.Backup.Last(ctx)
	return err
}

// Resume makes Prometheus collect. It restarts a running Prometheus, which checks only at its start whether it may
// collect.
func (d Data) Resume(ctx context.Context) error {
	if err := d.Stop(ctx); err != nil {
		return err
	}
	return d.collect(ctx)
}

func (d Data) collect(ctx context.Context) error {
	if err := d.Collect(); err != nil {
		return err
	}
	return d.Start(ctx)
}

// Restore downloads the data of the previous server, and makes Prometheus continue with it. If the download fails,
// Prometheus runs as before and collects nothing.
func (d Data) Restore(ctx context.Context) error {
	if err := d.Stop(ctx); err != nil {
		return err
	}
	result, err := d.Restoring.Run(ctx)
	if err != nil {
		return errors.Join(err, d.Start(ctx))
	}
	fmt.Fprintf(d.Out, "restored: %s\n", result)
	if d.Note != nil {
		d.Note(result)
	}
	return d.collect(ctx)
}
